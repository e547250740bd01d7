"""SegFace as plainly as its specification reads: slow, obvious, with torchvision's encoders and the published names.

The fast model is tested and timed against this one. Its state dict is that of a published file.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

# Published encoder -> torchvision model, and after which of its parts the four maps are taken.
ENCODERS = {
    "swin_base": ("swin_b", (1, 3, 5, 7)),
    "swinv2_base": ("swin_v2_b", (1, 3, 5, 7)),
    "swinv2_small": ("swin_v2_s", (1, 3, 5, 7)),
    "swinv2_tiny": ("swin_v2_t", (1, 3, 5, 7)),
    "convnext_base": ("convnext_base", (1, 3, 5, 7)),
    "convnext_small": ("convnext_small", (1, 3, 5, 7)),
    "convnext_tiny": ("convnext_tiny", (1, 3, 5, 7)),
    "resnet": ("resnet101", (4, 5, 6, 7)),
    "mobilenet": ("mobilenet_v3_large", (3, 6, 12, 16)),
    "efficientnet": ("efficientnet_v2_m", (2, 3, 5, 8)),
}
CHANNELS = {
    "swin_base": (128, 256, 512, 1024),
    "swinv2_base": (128, 256, 512, 1024),
    "swinv2_small": (96, 192, 384, 768),
    "swinv2_tiny": (96, 192, 384, 768),
    "convnext_base": (128, 256, 512, 1024),
    "convnext_small": (96, 192, 384, 768),
    "convnext_tiny": (96, 192, 384, 768),
    "resnet": (256, 512, 1024, 2048),
    "mobilenet": (24, 40, 112, 960),
    "efficientnet": (48, 80, 176, 1280),
}


def torchvision_backbone(model: str) -> nn.Module:
    """The encoder as the published files name it."""
    name, _ = ENCODERS[model]
    whole = torchvision.models.get_model(name, weights=None)
    if "swin" in model:
        return nn.Sequential(whole.features, whole.norm)
    if "convnext" in model:
        return nn.Sequential(whole.features)
    if model == "resnet":
        return nn.Sequential(*list(whole.children())[:8])
    return whole.features


def torchvision_features(backbone: nn.Module, model: str, images: torch.Tensor) -> list[torch.Tensor]:
    parts = backbone[0] if "swin" in model or "convnext" in model else backbone
    taps, x = [], images
    for i, part in enumerate(parts):
        x = part(x)
        if i in ENCODERS[model][1]:
            taps.append(x.permute(0, 3, 1, 2) if "swin" in model else x)
    return taps


class Projection(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.proj = nn.Linear(channels, 256)


class Attention(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.q_proj = nn.Linear(256, inner)
        self.k_proj = nn.Linear(256, inner)
        self.v_proj = nn.Linear(256, inner)
        self.out_proj = nn.Linear(inner, 256)

    def forward(self, q, k, v):
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        heads = []
        for q_head, k_head, v_head in zip(q.chunk(8, -1), k.chunk(8, -1), v.chunk(8, -1), strict=True):
            weights = (q_head @ k_head.transpose(1, 2) / math.sqrt(q_head.shape[-1])).softmax(-1)
            heads.append(weights @ v_head)
        return self.out_proj(torch.cat(heads, -1))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = nn.Linear(256, 2048)
        self.lin2 = nn.Linear(2048, 256)

    def forward(self, x):
        return self.lin2(self.lin1(x).relu())


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention(256)
        self.norm1 = nn.LayerNorm(256)
        self.cross_attn_token_to_image = Attention(128)
        self.norm2 = nn.LayerNorm(256)
        self.mlp = MLP()
        self.norm3 = nn.LayerNorm(256)
        self.norm4 = nn.LayerNorm(256)
        self.cross_attn_image_to_token = Attention(128)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.final_attn_token_to_image = Attention(128)
        self.norm_final_attn = nn.LayerNorm(256)

    def forward(self, t0, f, p):
        t = t0
        for i, block in enumerate(self.layers):
            t = block.self_attn(t, t, t) if i == 0 else t + block.self_attn(t + t0, t + t0, t)
            t = block.norm1(t)
            t = block.norm2(t + block.cross_attn_token_to_image(t + t0, f + p, f))
            t = block.norm3(t + block.mlp(t))
            f = block.norm4(f + block.cross_attn_image_to_token(f + p, t + t0, t))
        t = self.norm_final_attn(t + self.final_attn_token_to_image(t + t0, f + p, f))
        return t, f


class ChannelNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64))
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).square().mean(1, keepdim=True)
        return (x - mean) / (variance + 1e-6).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class HyperMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 32)])

    def forward(self, x):
        return self.layers[2](self.layers[1](self.layers[0](x).relu()).relu())


class Decoder(nn.Module):
    def __init__(self, class_names):
        super().__init__()
        self.transformer = Transformer()
        for name in class_names:
            self.add_module(f"{name}_token", nn.Embedding(1, 256))
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(256, 64, 2, 2), ChannelNorm(), nn.GELU(), nn.ConvTranspose2d(64, 32, 2, 2), nn.GELU()
        )
        self.output_hypernetwork_mlps = HyperMLP()
        self.class_names = class_names

    def forward(self, face, p):
        b, c, h, w = face.shape
        t0 = torch.cat([getattr(self, f"{name}_token").weight for name in self.class_names])[None].repeat(b, 1, 1)
        t, f = self.transformer(t0, face.flatten(2).transpose(1, 2), p)
        u = self.output_upscaling(f.transpose(1, 2).reshape(b, c, h, w))
        return torch.einsum("bkc,bchw->bkhw", self.output_hypernetwork_mlps(t), u)


class PositionLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, 128))

    def forward(self, h, w):
        G = self.positional_encoding_gaussian_matrix
        x = (torch.arange(w, dtype=G.dtype) + 0.5) / w
        y = (torch.arange(h, dtype=G.dtype) + 0.5) / h
        centres = torch.stack([x[None, :].expand(h, w), y[:, None].expand(h, w)], -1)
        angles = 2 * math.pi * ((2 * centres - 1) @ G)
        return torch.cat([angles.sin(), angles.cos()], -1).reshape(h * w, 256)


def similarities(landmarks, R):
    """M of each face by NumPy's least squares on (a, b, x, y): float64 (B, 3, 3)."""
    points = np.array([(196, 226), (316, 226), (256, 286), (220, 360.4), (292, 360.4)])
    target = ((points / 256 - 1) + 1) * (R - 1) / 2
    matrices = []
    for face in landmarks.double().numpy():
        rows, values = [], []
        for (x, y), (u, v) in zip(face, target, strict=True):
            rows += [[x, -y, 1, 0], [y, x, 0, 1]]
            values += [u, v]
        a, b, dx, dy = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
        matrices.append([[a, -b, dx], [b, a, dy], [0, 0, 1]])
    return torch.tensor(np.array(matrices))


def warp_grids(landmarks, R):
    """The grids of warp and unwarp, float64 (B, R, R, 2), one pixel coordinate after the other."""
    w = 0.8
    M = similarities(landmarks, R)
    index = torch.arange(R, dtype=torch.float64)
    pixels = torch.stack([index[None, :].expand(R, R), index[:, None].expand(R, R), torch.ones(R, R)], -1)

    c = 2 * pixels[..., :2] / R - 1
    limit = 1 - 1e-3
    right = w * ((c - (1 - w)) / w).clamp(-limit, limit).atanh() + (1 - w)
    left = -(w * ((-c - (1 - w)) / w).clamp(-limit, limit).atanh() + (1 - w))
    c = torch.where(c > 1 - w, right, torch.where(c < -(1 - w), left, c))
    source = torch.cat([(c + 1) / 2 * R, torch.ones(R, R, 1)], -1)
    source = torch.einsum("bij,hwj->bhwi", torch.linalg.inv(M), source)[..., :2]
    warp = source / R * 2 - 1

    c = 2 * torch.einsum("bij,hwj->bhwi", M, pixels)[..., :2] / R - 1
    right = w * ((c - (1 - w)) / w).tanh() + (1 - w)
    left = -(w * ((-c - (1 - w)) / w).tanh() + (1 - w))
    unwarp = torch.where(c > 1 - w, right, torch.where(c < -(1 - w), left, c))
    return warp, unwarp


class PlainSegFace(nn.Module):
    def __init__(self, model, class_names, warp):
        super().__init__()
        self.model, self.warp = model, warp
        self.backbone = torchvision_backbone(model)
        self.linear_c = nn.ModuleList([Projection(c) for c in CHANNELS[model]])
        self.linear_fuse = nn.Conv2d(1024, 256, 1, bias=False)
        self.pe_layer = PositionLayer()
        self.face_decoder = Decoder(class_names)

    def forward(self, images, landmarks=None):
        if self.warp:
            warp, unwarp = (grid.to(images.dtype) for grid in warp_grids(landmarks, images.shape[-1]))
            images = F.grid_sample(images, warp, mode="bilinear", padding_mode="zeros", align_corners=False)
        maps = torchvision_features(self.backbone, self.model, images)
        size = maps[0].shape[2:]
        levels = []
        for projection, x in zip(self.linear_c, maps, strict=True):
            x = projection.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            levels.append(F.interpolate(x, size=size, mode="bilinear", align_corners=False))
        face = self.linear_fuse(torch.cat(levels[::-1], 1))
        logits = self.face_decoder(face, self.pe_layer(*size))
        if self.warp:
            logits = F.grid_sample(logits, unwarp, mode="bilinear", padding_mode="zeros", align_corners=False)
        return logits


def plain_loss(logits, labels):
    """0.5 CE + 0.5 Dice, class by class; labels of 255 are left out."""
    K = logits.shape[1]
    counted = labels != 255
    log_p = logits.log_softmax(1)
    ce = dice = 0
    for k in range(K):
        y = ((labels == k) & counted).to(logits.dtype)
        p = log_p[:, k].exp() * counted
        ce = ce - (log_p[:, k] * y).sum() / counted.sum()
        dice = dice + 1 - (2 * (p * y).sum() + 1e-5) / ((p * p).sum() + y.sum() + 1e-5)
    return 0.5 * ce + 0.5 * dice / K
