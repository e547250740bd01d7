"""A whole picture: background, person, light and camera."""

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.drawing.accessories import paint_earrings, paint_glasses, paint_hat, paint_necklace
from datasets.drawing.canvas import Canvas, ellipse, smooth_noise
from datasets.drawing.features import Features, paint_features, place_features
from datasets.drawing.hair import HANGING, Hair
from datasets.drawing.head import SIDES, face_contour, paint_cloth, paint_ears, paint_head, paint_neck, skin_texture
from datasets.drawing.person import HAIR_COLOURS, SKIN_TONES, Person, pick, sample_person
from datasets.drawing.pose import Pose


@dataclass(frozen=True)
class DrawnFace:
    """A picture, uint8 (S, S, 3) RGB, with the JPEG quality of its camera, and the truth about it.

    ``parts`` is uint32 (S, S), see Canvas; ``contour`` (N, 2), the edge of the face below the eyes from image left to
    right, and ``features`` are curves in pixels.
    """

    image: np.ndarray
    jpeg_quality: int
    parts: np.ndarray
    person: Person
    contour: np.ndarray
    features: Features


def draw_face(generator: np.random.Generator, size: int) -> DrawnFace:
    """Draw a face as the generator decides, on a square of ``size`` pixels, which decides nothing but the sharpness."""
    person = sample_person(generator)
    pose = sample_pose(generator, person, size)
    canvas = Canvas(size)
    angle = generator.uniform(-1.1, 1.1)
    light = np.array([np.sin(angle), generator.uniform(-0.6, 0.1), np.cos(angle)])
    light /= np.linalg.norm(light)
    features = place_features(pose, person)

    paint_background(canvas, person, generator)
    hair = Hair(canvas, pose, person, generator)
    skin = skin_texture(canvas, pose, person, light, generator)
    hair.paint_behind()
    paint_neck(canvas, pose, person, skin, generator)
    paint_cloth(canvas, pose, person, generator)
    if person.necklace:
        paint_necklace(canvas, pose, person, generator)
    style = int(generator.integers(2**32))
    paint_ears(canvas, pose, person, skin, before_head=True)
    paint_head(canvas, pose, person, skin, light, generator)
    paint_features(canvas, pose, person, features, light, generator)
    paint_ears(canvas, pose, person, skin, before_head=False)
    hair.paint_front()
    if person.glasses:
        paint_glasses(canvas, pose, person, generator)
    if person.hat:
        paint_hat(canvas, pose, person, generator)
    if person.earrings:
        for side, tucked in zip(SIDES, person.tucked, strict=True):
            shown = tucked or person.hair_style not in HANGING
            if shown and side * np.sin(pose.yaw) < 0.3:
                paint_earrings(canvas, pose, person, side, np.random.default_rng(style))
    image, quality = photograph(canvas, generator)
    return DrawnFace(image, quality, canvas.parts, person, pose.on_outline(face_contour(person)), features)


def sample_pose(generator: np.random.Generator, person: Person, size: int) -> Pose:
    """Mostly towards the camera, upright and in the middle."""
    scale = np.clip(generator.normal(0.27, 0.025), 0.2, 0.33)
    x, y = generator.normal(0.5, 0.025), generator.normal(0.47, 0.025)
    if person.necklace:  # seen in pictures that show more than the face
        scale, y = min(scale, generator.uniform(0.19, 0.225)), y - 0.05
    return Pose(
        yaw=float(np.clip(generator.normal(0, 0.2), -0.55, 0.55)),
        pitch=float(np.clip(generator.normal(0, 0.09), -0.22, 0.22)),
        roll=float(np.clip(generator.normal(0, 0.08), -0.25, 0.25)),
        scale=float(scale * size),
        centre=(float(x * size), float(y * size)),
    )


def paint_background(canvas: Canvas, person: Person, generator: np.random.Generator) -> None:
    """A wall, foliage, lights out of focus, or a room; at times in the colours of skin and hair."""
    size = canvas.size

    def colour() -> np.ndarray:
        draw = generator.random()
        if draw < 0.12:
            return np.array(SKIN_TONES[generator.integers(len(SKIN_TONES))]) / 255
        if draw < 0.3:
            return pick(generator, HAIR_COLOURS) / 255
        value = generator.uniform(0.03, 0.97)
        return np.clip(value + generator.normal(0, 0.15, 3), 0, 1)

    first, second = colour(), colour()
    angle = generator.uniform(0, 2 * np.pi)
    ramp = 0.5 + 0.6 * (np.cos(angle) * (canvas.x / size - 0.5) + np.sin(angle) * (canvas.y / size - 0.5))
    canvas.image[:] = first + np.clip(ramp, 0, 1)[..., None] * (second - first)
    kind = pick(generator, {"wall": 0.3, "foliage": 0.25, "lights": 0.2, "room": 0.25})
    if kind == "foliage":
        blend = sum(smooth_noise(generator, size, (n, n)) * w for n, w in ((4, 0.5), (9, 0.35), (24, 0.25)))
        canvas.image += np.clip(blend, -1, 1)[..., None] * generator.uniform(0.1, 0.35) * generator.uniform(0.3, 1, 3)
    elif kind == "lights":
        for _ in range(generator.integers(6, 20)):
            disc = ellipse(generator.uniform(0, size, 2), generator.uniform(0.02, 0.1) * size)
            canvas.paint(
                canvas.polygon(disc, blur=generator.uniform(0.005, 0.03) * size).times(generator.uniform(0.3, 0.9)),
                colour(),
            )
    elif kind == "room":
        for _ in range(generator.integers(3, 9)):
            (x, y), (w, h) = generator.uniform(-0.1, 1, 2) * size, generator.uniform(0.05, 0.6, 2) * size
            box = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
            canvas.paint(canvas.polygon(box, blur=generator.uniform(0.003, 0.02) * size), colour())
    canvas.image *= 1 + 0.08 * smooth_noise(generator, size, (7, 7))[..., None]


def photograph(canvas: Canvas, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """What a camera makes of the scene: uint8 (S, S, 3), and the quality of its JPEG."""
    size, image = canvas.size, np.clip(canvas.image, 0, 1)
    angle, fall = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.4)
    side = np.cos(angle) * (canvas.x / size - 0.5) + np.sin(angle) * (canvas.y / size - 0.5)
    cast = np.exp(generator.normal(0, 0.035, 3))
    face = image[canvas.mask("skin")].mean()
    exposure = np.sqrt(generator.uniform(0.3, 0.6) / face)  # a camera goes half the way to an even brightness
    image = image * ((1 + fall * side)[..., None] * cast * exposure).astype(np.float32)
    image = np.clip(image, 0, 1) ** np.float32(generator.uniform(0.8, 1.2))
    if generator.random() < 0.04:
        image = np.repeat(image @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    blur = generator.uniform(0, 0.003) * size
    if blur > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    grain = generator.uniform(0.002, 0.02)
    image = image + generator.standard_normal((size, size, 1), np.float32) * grain
    image += generator.standard_normal((size, size, 3), np.float32) * (grain / 2)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), int(generator.integers(70, 96))
