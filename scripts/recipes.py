"""Make the pictures of the README's recipes with any weights: drawn faces, so that all of them may be shown.

python -m scripts.recipes --weights demo/logs/ckpts/demo_celebamask_hq_mobilenet_128/best.pt --out docs

Writes faces.jpg and faces.json, a picture of several faces and their landmarks, and what a parser makes of it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import group_means
from datasets.drawing import draw_face
from datasets.drawing.landmarks import landmarks_68
from datasets.helen import FIVE_OF_68
from network.writing import replacing
from utils import cli
from utils.inference.outputs import JPEG
from utils.parser import FaceParser
from utils.visualize import with_legend

SIDE = 640
# Degrees, side of the face's picture in pixels, left upper corner.
PLACES = ((-14, 250, (10, 20)), (0, 200, (215, 190)), (20, 240, (385, 15)))
SEED = 5


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="weights of CelebAMask-HQ, drawn or real")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for the pictures (default: docs)")
    return parser


def group_of_faces() -> tuple[np.ndarray, np.ndarray]:
    """A picture of drawn faces, turned and pasted beside each other, uint8 (H, W, 3), and landmarks (N, 5, 2)."""
    generator = np.random.default_rng((SEED, 3))
    canvas = Image.new("RGB", (SIDE, 420), (150, 165, 175))
    landmarks = []
    for angle, side, corner in PLACES:
        face = draw_face(generator, side)
        tile = Image.fromarray(face.image).convert("RGBA").rotate(-angle, Image.Resampling.BICUBIC, expand=True)
        canvas.paste(tile, corner, tile)
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        five = group_means(landmarks_68(face), FIVE_OF_68)
        turned = (five - side / 2) @ np.array([[c, s], [-s, c]])
        landmarks.append(turned + np.array(tile.size) / 2 + np.array(corner))
    return np.asarray(canvas), np.array(landmarks)


def save(rgb: np.ndarray, path: Path) -> None:
    with replacing(path) as file:
        Image.fromarray(rgb).save(file, **JPEG)
    print(f"wrote {path}")


def main() -> None:
    args = command_line().parse_args()
    parser = FaceParser.from_pretrained(args.weights, device="cpu")

    # One face, as the models were trained: the picture is the crop
    face = draw_face(np.random.default_rng((SEED, 8)), 320).image
    found = parser(face)
    hair = np.where(found.mask("hair")[..., None], face, 255).astype(np.uint8)
    beside = np.concatenate([face, found.overlay(), hair], axis=1)
    save(with_legend(beside, found.table, np.flatnonzero(found.pixels[1:]) + 1), args.out / "one_face.jpg")

    # Several faces, each in an aligned crop
    picture, landmarks = group_of_faces()
    save(picture, args.out / "faces.jpg")
    with replacing(args.out / "faces.json") as file:
        file.write((json.dumps({"faces.jpg": landmarks.round(1).tolist()}) + "\n").encode())
    found = parser(picture, faces=landmarks)
    save(found.overlay(legend=True), args.out / "faces_parsed.jpg")


if __name__ == "__main__":
    cli.run(main)
