"""Eyes, brows, nose and mouth: their curves on the face, and how they are painted."""

from dataclasses import dataclass

import numpy as np

from datasets.drawing.canvas import Canvas, ellipse, ribbon, smooth, smooth_noise
from datasets.drawing.head import SIDES, clip
from datasets.drawing.person import Person
from datasets.drawing.pose import Pose

NOSE_BRIDGE, NOSE_TIP, NOSE_BASE = 0.02, 0.56, 0.68
NAME_OF_SIDE = {-1: "r", 1: "l"}  # as in the labels: the person's right is on the image's left


@dataclass(frozen=True)
class Eye:
    """Curves of one eye in pixels, from its image-left corner to the right one, and the iris."""

    upper: np.ndarray
    lower: np.ndarray
    iris: np.ndarray

    @property
    def outline(self) -> np.ndarray:
        """The opening between the lids."""
        return np.concatenate([self.upper, self.lower[-2:0:-1]])


@dataclass(frozen=True)
class Features:
    """Curves in pixels, for painting and for the landmarks. Pairs are image left, then right."""

    eyes: tuple[Eye, Eye]
    brows: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # upper and lower edge, left to right
    nose_ridge: np.ndarray  # from between the eyes to the tip
    nose_base: np.ndarray  # from the left wing under the tip to the right one
    lip_top: np.ndarray  # from corner to corner, as all four
    mouth_top: np.ndarray
    mouth_bottom: np.ndarray
    lip_bottom: np.ndarray


def place_features(pose: Pose, person: Person) -> Features:
    """The curves of a person's features as they are seen."""
    eyes = [place_eye(pose, person, side) for side in SIDES]
    brows = [place_brow(pose, person, side) for side in SIDES]
    width, length = person.nose_width, person.nose_length
    ridge = pose.on_face([(0, y * length) for y in np.linspace(NOSE_BRIDGE, NOSE_TIP, 8)], np.linspace(0.04, 0.42, 8))
    base = smooth([(-0.23, 0.6), (-0.17, NOSE_BASE), (0, 0.72), (0.17, NOSE_BASE), (0.23, 0.6)], 6) * (width, length)
    base_lift = np.interp(np.abs(base[:, 0]) / width, (0, 0.1, 0.23), (0.33, 0.3, 0.08))

    half, corner = 0.35 * person.mouth_width, 1.02 * person.length
    t = np.linspace(-1, 1, 17)
    bow = 1 - t**2
    smile = -person.smile * np.abs(t) ** 2.5
    opening, full = person.mouth_open, person.fullness
    inner_top = smile - 0.2 * opening * bow**0.7
    inner_bottom = smile + 0.8 * opening * bow**0.7
    cupid = 0.03 * np.exp(-((t / 0.14) ** 2))
    lip_top = inner_top - full * (0.105 * (1 - np.abs(t) ** 1.7) - cupid)
    lip_bottom = inner_bottom + full * 0.145 * bow**0.75
    lift = 0.1 * bow

    def mouth_curve(y: np.ndarray) -> np.ndarray:
        return pose.on_face(np.column_stack([half * t * (1 + 0.5 * max(person.smile, 0)), corner + y]), lift)

    return Features(
        eyes=tuple(eyes),
        brows=tuple(brows),
        nose_ridge=ridge,
        nose_base=pose.on_face(base, base_lift),
        lip_top=mouth_curve(lip_top),
        mouth_top=mouth_curve(inner_top),
        mouth_bottom=mouth_curve(inner_bottom),
        lip_bottom=mouth_curve(lip_bottom),
    )


def place_eye(pose: Pose, person: Person, side: int) -> Eye:
    """An eye: two lids that meet in the corners, the outer one a little higher."""
    t = np.linspace(-1, 1, 15)
    x = side * 0.44 + 0.22 * person.eye_size * t
    tilt = -person.slant * side * t
    opening = person.eye_size * person.eye_open
    upper = tilt - 0.105 * opening * np.clip(1 - np.abs(t) ** 2.2, 0, 1) ** 0.8
    lower = tilt + 0.065 * opening * (1 - t**2)
    middle = (side * 0.44 + 0.09 * person.gaze[0], 0.05 * person.gaze[1] - 0.015)
    iris = ellipse(middle, 0.1 * person.eye_size)
    return Eye(*(pose.on_face(points) for points in (np.column_stack([x, upper]), np.column_stack([x, lower]), iris)))


def place_brow(pose: Pose, person: Person, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The upper and lower edge of a brow, from image left to right."""
    t = np.linspace(0, 1, 10)  # from the nose outwards
    height = -0.3 + person.brow_raise - person.brow_arch * np.sin(np.pi * np.clip(t * 0.9 + 0.05, 0, 1)) + 0.05 * t**2
    half = 0.5 * person.brow_width * np.clip(1.1 - 0.85 * t**1.5, 0.12, 1) * np.clip(0.5 + 4 * t, 0, 1)
    x = side * (0.17 + 0.58 * t)
    edges = [np.column_stack([x, height - half]), np.column_stack([x, height + half])]
    return tuple(pose.on_face(edge[::side], 0.03) for edge in edges)


def paint_features(
    canvas: Canvas, pose: Pose, person: Person, features: Features, light: np.ndarray, generator: np.random.Generator
) -> None:
    """Paint all of them on a face."""
    for side, eye in zip(SIDES, features.eyes, strict=True):
        paint_eye(canvas, pose, person, eye, side, generator)
    for side, brow in zip(SIDES, features.brows, strict=True):
        paint_brow(canvas, person, brow, side, generator)
    paint_nose(canvas, pose, person, features, light, generator)
    paint_mouth(canvas, pose, person, features, generator)


def paint_eye(canvas: Canvas, pose: Pose, person: Person, eye: Eye, side: int, generator: np.random.Generator) -> None:
    """Eyeball, iris, the shadow of the lid, lashes and the crease above."""
    scale = pose.scale
    opening = canvas.polygon(eye.outline)
    canvas.paint(opening, np.array([0.88, 0.84, 0.82]) * generator.uniform(0.75, 1.05), f"{NAME_OF_SIDE[side]}_eye")
    centre = eye.iris.mean(0)
    for radius, colour in ((1.0, person.iris * 0.45), (0.85, person.iris), (0.45, np.full(3, 0.03))):
        disc = canvas.polygon(centre + radius * (eye.iris - centre))
        canvas.paint(clip(disc, opening), colour)
    glint = ellipse(centre + np.array([-0.035, -0.035]) * scale, 0.022 * scale)
    canvas.paint(clip(canvas.polygon(glint), opening).times(generator.uniform(0.5, 1)), np.ones(3))
    shadow = canvas.polygon(ribbon(eye.upper, 0.07 * scale), blur=0.02 * scale)
    canvas.shade(clip(shadow, opening), -0.45)

    thickness = np.linspace(0.5, 1.0, len(eye.upper))[::side] * (0.02 + 0.045 * person.lashes) * scale
    lash = canvas.polygon(ribbon(eye.upper - (0, 0.012 * scale), thickness), blur=0.008 * scale)
    canvas.paint(lash.times(0.5 + 0.5 * person.lashes), np.minimum(person.skin, person.hair) * 0.25)
    below = canvas.polygon(ribbon(eye.lower + (0, 0.01 * scale), 0.022 * scale), blur=0.01 * scale)
    canvas.shade(below, -0.25 - 0.25 * person.lashes)
    crease = canvas.polygon(ribbon(eye.upper - (0, 0.075 * scale), 0.025 * scale), blur=0.018 * scale)
    canvas.shade(crease, -0.3)


def paint_brow(
    canvas: Canvas, person: Person, brow: tuple[np.ndarray, np.ndarray], side: int, generator: np.random.Generator
) -> None:
    """Hairs that thin out towards the edges."""
    shape = canvas.polygon(np.concatenate([brow[0], brow[1][::-1]]), blur=0.003 * canvas.size)
    canvas.mark(shape, f"{NAME_OF_SIDE[side]}_brow")
    hairs = 0.8 + 0.25 * smooth_noise(generator, canvas.size, (40, 160))
    canvas.paint(shape.times(np.clip(hairs, 0, 1)), person.brow)


def paint_nose(
    canvas: Canvas, pose: Pose, person: Person, features: Features, light: np.ndarray, generator: np.random.Generator
) -> None:
    """The same skin, told from the cheeks by light and shadow alone."""
    scale, width, length = pose.scale, person.nose_width, person.nose_length
    ridge, base = features.nose_ridge, features.nose_base
    shape = canvas.polygon(*nose_outlines(pose, person, features))
    canvas.mark(shape, "nose")
    for side in SIDES:
        lit = side * light[0] > 0
        flank = smooth([(side * 0.09, -0.05), (side * 0.12, 0.3), (side * 0.2, 0.6)], 6) * (width, length)
        stroke = canvas.polygon(pose.on_face(ribbon(flank, 0.1), 0.08), blur=0.05 * scale)
        canvas.shade(stroke, generator.uniform(0.0, 0.08) if lit else -generator.uniform(0.12, 0.3))
        wing = smooth([(side * 0.16, 0.5), (side * 0.235, 0.57), (side * 0.225, 0.68)], 6) * (width, length)
        canvas.shade(canvas.polygon(pose.on_face(ribbon(wing, 0.03), 0.1), blur=0.018 * scale), -0.35)
        nostril = ellipse((side * 0.1 * width, 0.675 * length), (0.06 * width, 0.026))
        hole = canvas.polygon(pose.on_face(nostril, 0.28), blur=0.01 * scale)
        canvas.shade(clip(hole, shape), -0.65)
    canvas.shade(canvas.polygon(ribbon(ridge, 0.07 * scale), blur=0.035 * scale), generator.uniform(0.06, 0.16))
    tip = canvas.polygon(ellipse(ridge[-1], 0.07 * scale), blur=0.035 * scale)
    canvas.shade(tip, generator.uniform(0.08, 0.25))
    canvas.shade(canvas.polygon(ribbon(base + (0, 0.03 * scale), 0.05 * scale), blur=0.025 * scale), -0.25)


def nose_outlines(pose: Pose, person: Person, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Two outlines that together cover the nose: bridge to wings, and the ridge with the tip, which a turn moves."""
    width, length = person.nose_width, person.nose_length
    right = np.array([(0.08, NOSE_BRIDGE), (0.09, 0.25), (0.15, 0.45), (0.235, 0.57)]) * (width, length)
    sides = [pose.on_face(smooth(right * (side, 1), 5), 0.06) for side in SIDES]
    flanks = np.concatenate([sides[0], features.nose_base, sides[1][::-1]])
    return flanks, ribbon(features.nose_ridge, np.linspace(0.06, 0.2, 8) * pose.scale)


def paint_mouth(canvas: Canvas, pose: Pose, person: Person, features: Features, generator: np.random.Generator) -> None:
    """Lips, and between them teeth and the dark, or the line where they meet."""
    scale = pose.scale
    top, bottom = features.mouth_top, features.mouth_bottom
    upper = canvas.polygon(np.concatenate([features.lip_top, top[::-1]]))
    lower = canvas.polygon(np.concatenate([bottom, features.lip_bottom[::-1]]))
    if person.mouth_open:
        inner = canvas.polygon(np.concatenate([top, bottom[::-1]]))
        canvas.paint(inner, np.array([0.22, 0.05, 0.05]) * generator.uniform(0.5, 1.3), "mouth")
        tongue = canvas.polygon(
            ellipse(0.35 * top[8] + 0.65 * bottom[8] + (0, 0.06 * scale), (0.2 * scale, 0.08 * scale))
        )
        canvas.paint(clip(tongue, inner).times(0.8), np.array([0.65, 0.3, 0.3]))
        if generator.random() < 0.85:
            reach = generator.uniform(0.35, 0.75)
            teeth = canvas.polygon(np.concatenate([top, (top + reach * (bottom - top))[::-1]]))
            canvas.paint(clip(teeth, inner), np.array([0.93, 0.9, 0.84]) * generator.uniform(0.8, 1.02))
    texture = 1 + 0.08 * smooth_noise(generator, canvas.size, (6, 90))[..., None]
    light = canvas.image.mean(2, keepdims=True) / (person.skin.mean() + 1e-3)
    lips = (person.lips * texture * np.clip(light, 0.3, 1.4)).astype(np.float32)
    canvas.paint(upper, lips * np.float32(0.86), "u_lip")
    canvas.paint(lower, lips, "l_lip")
    shine = canvas.polygon(ribbon((0.45 * bottom + 0.55 * features.lip_bottom)[4:-4], 0.05 * scale), blur=0.025 * scale)
    canvas.shade(shine, generator.uniform(0.05, 0.35))
    if not person.mouth_open:
        canvas.shade(canvas.polygon(ribbon(top, 0.025 * scale), blur=0.01 * scale), -0.55)
    for corner in (top[0], top[-1]):
        canvas.shade(canvas.polygon(ellipse(corner, 0.035 * scale), blur=0.02 * scale), -0.3)
