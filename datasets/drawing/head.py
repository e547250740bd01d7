"""Neck, clothes, ears and the skin of the head, with the light on it."""

import numpy as np

from datasets.drawing.canvas import Canvas, Shape, ellipse, mirrored, ribbon, smooth, smooth_noise
from datasets.drawing.person import Person, pick
from datasets.drawing.pose import Pose

SIDES = (-1, 1)  # of the image; the person's right, then the left
# Points (outwards, down) of an ear.
EAR_OUTLINE = (
    (-0.1, -0.2), (0.5, -0.3), (0.95, -0.18), (1.0, 0.05), (0.75, 0.28), (0.5, 0.46), (0.15, 0.56), (-0.1, 0.45),
)  # fmt: skip
EAR_INSIDE = ((0.25, -0.1), (0.6, -0.16), (0.75, 0.0), (0.5, 0.22), (0.3, 0.28))
EAR_OF_SIDE = {-1: "r_ear", 1: "l_ear"}


def head_outline(person: Person) -> np.ndarray:
    """The outline (N, 2) of head and face, from the crown clockwise, for ``Pose.on_outline``."""
    jaw, chin = person.jaw, person.chin
    half = np.array(
        [(0.42, -1.38), (0.78, -1.12), (0.96, -0.62), (1.0, -0.1), (0.97, 0.42), (0.88 * jaw, 0.88),
         (0.68 * jaw, 1.22), (0.36 * chin, 1.46), (0.14 * chin, 1.53)]
    )  # fmt: skip
    points = np.concatenate([[(0, -1.45)], half, [(0, 1.54)], half[::-1] * (-1, 1)])
    return smooth(points, 6, closed=True) * (1, person.length)


def face_contour(person: Person) -> np.ndarray:
    """The part (N, 2) of ``head_outline`` below the eyes, from image left by the chin to the right."""
    outline = head_outline(person)
    return outline[outline[:, 1] > -0.08][::-1]


def skin_texture(
    canvas: Canvas, pose: Pose, person: Person, light: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Skin under the light, (S, S, 3): a head is round, and no skin is even."""
    x, y = (canvas.x - pose.centre[0]) / pose.scale, (canvas.y - pose.centre[1]) / pose.scale
    cos, sin = np.cos(pose.roll), np.sin(pose.roll)
    across, down = (cos * x + sin * y) / 1.2, (cos * y - sin * x - 0.1) / 1.9
    radius = np.maximum(1, np.sqrt(across**2 + down**2) / 0.98)
    across, down = across / radius, down / radius
    towards = np.sqrt(1 - across**2 - down**2)
    facing = np.clip(across * light[0] + down * light[1] + towards * light[2], 0, 1)
    contrast = generator.uniform(0.35, 0.75)
    brightness = 1.08 - contrast + contrast * facing + 0.16 * np.maximum(facing, 0) ** 24
    blotches = 0.03 * smooth_noise(generator, canvas.size, (9, 9)) + 0.02 * smooth_noise(
        generator, canvas.size, (60, 60)
    )
    shade = (brightness + blotches)[..., None]
    # Skin is redder where it is dark.
    return person.skin.astype(np.float32) * shade ** np.array([0.85, 1.0, 1.1], np.float32)


def paint_neck(canvas: Canvas, pose: Pose, person: Person, skin: np.ndarray, generator: np.random.Generator) -> None:
    """Neck, shoulders and the shadow of the chin."""
    body, width = pose.of_body(), generator.uniform(0.5, 0.58) if person.woman else generator.uniform(0.6, 0.74)
    right = [(width, 0.5), (width, 1.2), (width + 0.05, 1.75), (1.2, 2.2), (2.3, 2.6), (2.7, 5)]
    outline = body.project(with_depth(mirrored(right)))
    neck = canvas.polygon(outline)
    canvas.paint(neck, skin * np.float32(0.9), "neck")
    shift = 0.3 * np.sin(pose.yaw)
    shadow = pose.on_outline(ellipse((shift, 1.25), (0.85, 0.5)))
    canvas.shade(clip(canvas.polygon(shadow, blur=0.14 * pose.scale), neck), -generator.uniform(0.25, 0.5))
    for side in SIDES:  # the sinews that meet between the collarbones
        line = smooth([(side * 0.5, 1.3), (side * 0.32, 1.9), (side * 0.08, 2.3)], 6)
        stroke = canvas.polygon(body.project(with_depth(ribbon(line, 0.06))), blur=0.05 * pose.scale)
        canvas.shade(clip(stroke, neck), -generator.uniform(0.05, 0.25))


def paint_cloth(canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> None:
    """Clothes with one of several necklines, in a plain, striped, checked or blotched cloth."""
    body = pose.of_body()
    kind = pick(
        generator, {"crew": 0.35, "v": 0.25, "wide": 0.2 if person.woman else 0.02, "collar": 0.2, "high": 0.06}
    )
    if person.necklace:
        kind = pick(generator, {"crew": 0.2, "v": 0.4, "wide": 0.4})
    depth = generator.uniform(0, 0.25)
    right = {
        "crew": [(0.0, 2.15 + depth), (0.42, 2.05 + depth), (0.78, 1.8)],
        "v": [(0.0, 2.75 + depth), (0.3, 2.3 + depth), (0.82, 1.82)],
        "wide": [(0.0, 2.7 + depth), (0.9, 2.55 + depth), (1.75, 2.3)],
        "collar": [(0.0, 2.3 + depth), (0.3, 2.0), (0.72, 1.6)],
        "high": [(0.0, 1.75), (0.4, 1.7), (0.75, 1.5)],
    }[kind]
    neckline = mirrored(right)
    neckline = neckline if kind in ("v", "collar") else smooth(neckline, 6)
    shoulder = [] if kind == "wide" else [(1.3, 2.12)]
    left, right = np.split(mirrored([*shoulder, (2.35, 2.5), (2.8, 5)]), 2)
    outline = np.concatenate([left, neckline, right])
    cloth = canvas.polygon(body.project(with_depth(outline)))
    canvas.paint(cloth, cloth_texture(canvas, pose, person, generator), "cloth")
    if kind in ("collar", "crew", "high"):
        edge = canvas.polygon(body.project(with_depth(ribbon(neckline + (0, 0.07), 0.05))), blur=0.02 * pose.scale)
        canvas.shade(clip(edge, cloth), -0.3)
    if kind == "collar":
        colour = np.full(3, generator.uniform(0.3, 0.98)) * generator.uniform(0.85, 1, 3)
        for side in SIDES:
            flap = np.array([(0.72, 1.55), (0.03, 2.3 + depth), (0.35, 2.65 + depth), (0.95, 2.0)]) * (side, 1)
            canvas.paint(canvas.polygon(body.project(with_depth(flap))), colour, "cloth")


def cloth_texture(canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> np.ndarray:
    """A cloth, (S, S, 3)."""
    colour = generator.uniform(0.02, 0.95, 3) * generator.uniform(0.2, 1)
    if generator.random() < 0.5:
        colour = colour * 0.2 + colour.mean() * 0.8
    if generator.random() < 0.15:
        colour = person.skin * generator.uniform(0.75, 1.1)
    other = np.clip(colour * generator.uniform(0.3, 1.6) + generator.normal(0, 0.1, 3), 0, 1)
    angle, period = generator.uniform(-0.6, 0.6), generator.uniform(0.08, 0.4) * pose.scale
    across = np.sin((canvas.x * np.cos(angle) + canvas.y * np.sin(angle)) * 2 * np.pi / period)
    along = np.sin((canvas.y * np.cos(angle) - canvas.x * np.sin(angle)) * 2 * np.pi / period)
    weights = {
        "plain": lambda: np.zeros_like(canvas.x),
        "stripes": lambda: np.clip(3 * along + 0.5, 0, 1),
        "checks": lambda: np.clip(across * 2, 0, 1) * 0.5 + np.clip(along * 2, 0, 1) * 0.5,
        "blotches": lambda: np.clip(4 * smooth_noise(generator, canvas.size, (16, 16)), 0, 1),
    }[pick(generator, {"plain": 0.6, "stripes": 0.15, "checks": 0.1, "blotches": 0.15})]()
    folds = (
        1 + 0.25 * smooth_noise(generator, canvas.size, (4, 7)) + 0.06 * smooth_noise(generator, canvas.size, (40, 40))
    )
    return ((colour + weights[..., None] * (other - colour)) * folds[..., None]).astype(np.float32)


def paint_ears(canvas: Canvas, pose: Pose, person: Person, skin: np.ndarray, before_head: bool) -> None:
    """The ears that the head hides in part (``before_head``), or those that lie before it in a turned view."""
    for side in SIDES:
        if (side * np.sin(pose.yaw) > -0.12) != before_head:
            continue
        outline, inside = ear_points(person, side, EAR_OUTLINE), ear_points(person, side, EAR_INSIDE)
        ear = canvas.polygon(pose.project(smooth(outline, 5, closed=True)))
        canvas.paint(ear, skin * np.array([0.97, 0.9, 0.88], np.float32), EAR_OF_SIDE[side])
        canvas.shade(canvas.polygon(pose.project(smooth(inside, 5, closed=True)), blur=0.04 * pose.scale), -0.35)


def ear_points(person: Person, side: int, points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Points (N, 3) of an ear, given as (outwards, down): it stands off the head, backwards."""
    outwards, down = np.array(points).T
    return np.column_stack([side * (0.98 + 0.23 * outwards), down * person.length, -0.05 - 0.2 * outwards])


def paint_head(
    canvas: Canvas, pose: Pose, person: Person, skin: np.ndarray, light: np.ndarray, generator: np.random.Generator
) -> None:
    """The skin of the face and skull, and what light, age and a razor leave on it."""
    head = canvas.polygon(pose.on_outline(head_outline(person)))
    canvas.paint(head, skin, "skin")
    scale, length = pose.scale, person.length

    def stain(x: float, y: float, radius: tuple[float, float], amount: float) -> None:
        spot = canvas.polygon(pose.on_face(ellipse((x, y * length), radius)), blur=0.5 * min(radius) * scale)
        canvas.shade(clip(spot, head), amount)

    for side in SIDES:
        stain(side * 0.43, -0.02, (0.3, 0.17), -generator.uniform(0.08, 0.22))  # socket
        stain(side * 0.5, 0.5, (0.2, 0.14), generator.uniform(0.0, 0.09))  # cheekbone
        stain(side * 0.75, 0.95, (0.16, 0.3), -generator.uniform(0.0, 0.12))  # hollow of the cheek
        blush = canvas.polygon(pose.on_face(ellipse((side * 0.58, 0.6 * length), 0.24)), blur=0.14 * scale)
        canvas.paint(clip(blush, head).times(generator.uniform(0, 0.2)), person.skin * (1.0, 0.62, 0.6))
        fold = smooth([(side * 0.27, 0.6), (side * 0.4, 0.8), (side * 0.46, 1.02)], 6) * (1, length)
        stroke = canvas.polygon(pose.on_face(ribbon(fold, 0.05)), blur=0.03 * scale)
        canvas.shade(clip(stroke, head), -0.05 - 0.25 * person.age)
        bag = smooth([(side * 0.27, 0.16), (side * 0.45, 0.22), (side * 0.6, 0.15)], 6)
        canvas.shade(canvas.polygon(pose.on_face(ribbon(bag, 0.04)), blur=0.025 * scale), -0.04 - 0.2 * person.age)
    stain(0, 1.27, (0.24, 0.06), -generator.uniform(0.1, 0.25))  # under the lower lip
    stain(0, 1.4, (0.14, 0.07), generator.uniform(0.0, 0.1))  # chin
    stain(0, -0.7, (0.45, 0.16), generator.uniform(0.0, 0.1))  # forehead
    if person.age > 0.4:
        for y in (-0.62, -0.74, -0.86):
            crease = smooth([(-0.45, y), (0, y - 0.04), (0.45, y)], 6)
            stroke = canvas.polygon(pose.on_face(ribbon(crease, 0.025)), blur=0.018 * scale)
            canvas.shade(stroke, -0.25 * person.age)
    if person.beard:
        paint_beard(canvas, pose, person, head, generator)


def paint_beard(canvas: Canvas, pose: Pose, person: Person, head: Shape, generator: np.random.Generator) -> None:
    """A moustache, stubble or a full beard; its pixels count as skin, as in the datasets."""
    length = person.length
    moustache = smooth([(-0.42, 1.0), (-0.25, 0.86), (0, 0.83), (0.25, 0.86), (0.42, 1.0)], 6) * (1, length)
    around = np.array(
        [(-1.0, 0.2), (-0.9, 0.55), (-0.55, 0.98), (-0.4, 0.86), (0, 0.78), (0.4, 0.86), (0.55, 0.98), (0.9, 0.55),
         (1.0, 0.2), (1.1, 0.9), (0.7, 1.4), (0, 1.7), (-0.7, 1.4), (-1.1, 0.9)]
    )  # fmt: skip
    outline = ribbon(moustache, 0.13) if person.beard == "moustache" else smooth(around, 4, closed=True) * (1, length)
    shape = canvas.polygon(pose.on_face(outline), blur=0.05 * pose.scale)
    if person.beard != "moustache":
        shape = clip(canvas.polygon(pose.on_outline(outline), blur=0.07 * pose.scale), head)
    hairs = 0.5 + 0.5 * smooth_noise(generator, canvas.size, (128, 128))
    density = {"stubble": generator.uniform(0.2, 0.45), "full": 0.95, "moustache": 0.9}[person.beard]
    canvas.paint(shape.times(hairs * 0.6 + 0.4).times(density), person.brow * 0.9)


def with_depth(points: np.ndarray, z: float = -0.2) -> np.ndarray:
    """Points (N, 3) at one depth."""
    return np.column_stack([points, np.full(len(points), z)])


def clip(shape: Shape, by: Shape) -> Shape:
    """A shape where another covers it too."""
    y0, y1, x0, x1 = shape.window
    top, bottom, left, right = by.window
    inside = np.zeros_like(shape.coverage)
    rows, columns = (max(y0, top), min(y1, bottom)), (max(x0, left), min(x1, right))
    if rows[0] < rows[1] and columns[0] < columns[1]:
        inside[rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0] = by.coverage[
            rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left
        ]
    return Shape(shape.window, shape.coverage * inside)
