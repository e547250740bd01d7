"""What people wear: glasses, hats, earrings and necklaces, the long tail of CelebAMask-HQ."""

import numpy as np

from datasets.drawing.canvas import Canvas, ellipse, mirrored, ribbon, smooth
from datasets.drawing.head import SIDES, clip, with_depth
from datasets.drawing.person import Person
from datasets.drawing.pose import Pose

METALS = ((0.86, 0.7, 0.32), (0.8, 0.8, 0.83), (0.72, 0.5, 0.42))  # gold, silver, rose gold


def metal(generator: np.random.Generator) -> np.ndarray:
    """The colour of a metal under some light."""
    return np.array(METALS[generator.integers(len(METALS))]) * generator.uniform(0.8, 1.25)


def paint_glasses(canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> None:
    """Frame and lenses, all of which count as glasses."""
    kind, scale = person.glasses, pose.scale
    frame = generator.uniform(0.02, 0.25, 3) if generator.random() < 0.7 else metal(generator)
    thickness = {"round": 0.05, "square": 0.08, "rimless": 0.025, "sun": 0.06}[kind] * generator.uniform(0.8, 1.3)
    width, height = (0.3, 0.27) if kind == "round" else (0.34, generator.uniform(0.19, 0.26))
    power = 1.0 if kind == "round" else 0.55  # below 1: a rectangle with round corners
    y = generator.uniform(0.0, 0.08)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    unit = np.stack([np.sign(f) * np.abs(f) ** power for f in (np.cos(angles), np.sin(angles))], -1)
    tint = generator.uniform(0.02, 0.2, 3) if kind == "sun" else np.array([0.8, 0.85, 0.9])
    opacity = generator.uniform(0.75, 0.97) if kind == "sun" else generator.uniform(0.04, 0.2)
    for side in SIDES:
        far = np.array([side * 1.03, y - 0.1, -0.1])
        near = np.array([side * 0.76, y - 0.08, 0.62])
        temple = pose.project(np.stack([near, far]))
        if side * np.sin(pose.yaw) < 0.25:
            canvas.paint(canvas.polygon(ribbon(temple, thickness * scale)), frame, "eye_g")
    for side in SIDES:
        outline = unit * (width, height) + (side * 0.43, y)
        lens = canvas.polygon(lens_points(pose, outline))
        canvas.mark(lens, "eye_g")
        canvas.paint(lens.times(opacity), tint)
        glare = np.array([(-0.7, -0.5), (-0.35, -0.8), (0.2, 0.6), (-0.2, 0.8)]) * (width, height) + (side * 0.43, y)
        shine = clip(canvas.polygon(lens_points(pose, glare), blur=0.03 * scale), lens)
        canvas.paint(shine.times(generator.uniform(0, 0.3)), np.ones(3))
        rim = lens_points(pose, np.concatenate([outline, outline[:1]]))
        shadow = canvas.polygon(ribbon(rim + (0, 0.05 * scale), thickness * scale), blur=0.03 * scale)
        canvas.shade(shadow, -0.2)
        canvas.paint(canvas.polygon(ribbon(rim, thickness * scale)), frame, "eye_g")
    bridge = lens_points(pose, smooth([(-0.14, y - 0.03), (0, y - 0.08), (0.14, y - 0.03)], 5))
    canvas.paint(canvas.polygon(ribbon(bridge, thickness * scale)), frame, "eye_g")


def lens_points(pose: Pose, points: np.ndarray) -> np.ndarray:
    """Pixels of points (N, 2) in the plane of the glasses, slightly bent around the face."""
    return pose.project(np.column_stack([points, 1.05 - 0.45 * points[:, 0] ** 2]))


def paint_hat(canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> None:
    """A beanie, a cap with a peak, or a hat with a brim."""
    scale = pose.scale
    colour = generator.uniform(0.03, 0.85, 3)
    if generator.random() < 0.5:
        colour = 0.75 * colour.mean() + 0.25 * colour
    colour = person.hair * generator.uniform(0.6, 1.5) if generator.random() < 0.2 else colour
    low = generator.uniform(-0.85, -0.62)
    height = {"beanie": -1.9, "cap": -1.8, "brim": -2.1}[person.hat]
    swell = 0.08 + 0.5 * person.volume
    across = (canvas.x - pose.centre[0]) / scale
    light = 1.0 + 0.18 * np.cos(across * 1.3 + generator.uniform(-0.8, 0.8))
    if person.hat == "beanie":
        light = light + 0.1 * np.sin(across * 2 * np.pi / 0.09)
    texture = (colour * light[..., None]).astype(np.float32)

    edge = 1.0 + swell
    dome = smooth(mirrored([(0.4, height), (0.78 * edge, height + 0.27), (edge + 0.02, low - 0.4), (edge, low)]), 6)
    front = pose.on_face(smooth(mirrored([(0, low + 0.13), (0.5, low + 0.1), (0.96, low + 0.02)]), 5), 0.1)
    shape = canvas.polygon(np.concatenate([pose.on_outline(dome), front[::-1]]))
    below = canvas.polygon(front + (0, 0.1 * scale), blur=0.08 * scale)
    canvas.shade(below, -0.4)
    canvas.paint(shape, texture, "hat")
    band = pose.on_face(smooth(mirrored([(0, low), (0.97, low - 0.1)]), 8), 0.1)
    canvas.shade(clip(canvas.polygon(ribbon(band, 0.25 * scale)), shape), generator.uniform(-0.45, 0.25))
    if person.hat == "cap":
        reach = generator.uniform(0.2, 0.4)
        rim = mirrored([(0, low + 0.4), (0.55, low + 0.3), (0.8, low)])
        front = pose.on_face(rim, np.array([0.15, 0.35, 0.5, 0.35, 0.15]) + reach)
        back = pose.on_face(mirrored([(0, low), (0.5, low - 0.02)]), 0.1)
        peak = np.concatenate([front, back[::-1]])
        canvas.shade(canvas.polygon(peak + (0, 0.12 * scale), blur=0.08 * scale), -0.35)
        canvas.paint(canvas.polygon(smooth(peak, 5, closed=True)), texture * np.float32(0.75), "hat")
    elif person.hat == "brim":
        wide = generator.uniform(1.5, 1.85)
        right = [(0, low + 0.22), (0.9, low + 0.1), (wide, low - 0.1), (0.9, low - 0.2), (0, low - 0.12)]
        brim = smooth(mirrored(right)[:-1], 5, closed=True)
        points = pose.on_outline(brim) + pose.rotation[:2, 2] * 0.5 * scale
        canvas.paint(canvas.polygon(points), texture * np.float32(0.8), "hat")


def paint_earrings(canvas: Canvas, pose: Pose, person: Person, side: int, style: np.random.Generator) -> None:
    """The earring of one ear; both ears get the same from generators of the same state."""
    scale = pose.scale
    lobe = pose.project(np.array([[side * 1.0, 0.53 * person.length, -0.1]]))[0]
    colour, size = metal(style), style.uniform(0.85, 1.25)
    gem = np.clip(style.uniform(0.0, 1.0, 3) * style.uniform(0.5, 1.2), 0, 1)

    def paint(outline: np.ndarray, paint_colour: np.ndarray) -> None:
        canvas.shade(canvas.polygon(outline + (0, 0.03 * scale), blur=0.025 * scale), -0.35)
        canvas.paint(canvas.polygon(outline), paint_colour, "ear_r")

    def shine(centre: np.ndarray, radius: float) -> None:
        spot = canvas.polygon(ellipse(centre - 0.35 * radius, 0.35 * radius, 12), blur=0.01 * scale)
        canvas.paint(spot.times(0.8), np.ones(3))

    if person.earrings == "stud":
        radius = 0.09 * size * scale
        paint(ellipse(lobe, radius), colour if style.random() < 0.5 else gem * 0.4 + 0.6)
        shine(lobe, radius)
    elif person.earrings == "hoop":
        radius = style.uniform(0.1, 0.24) * size * scale
        turned = 0.35 + 0.6 * abs(np.sin(pose.yaw))
        ring = ellipse((0, 0), (radius * turned, radius), 40)
        ring = np.concatenate([ring, ring[:1]]) + lobe + (0, radius)
        paint(ribbon(ring, style.uniform(0.065, 0.1) * scale), colour)
        shine(lobe + (-radius * turned, radius), 0.06 * scale)
    else:
        length = style.uniform(0.1, 0.4) * size
        radius = np.array([style.uniform(0.06, 0.1), style.uniform(0.09, 0.17)]) * size * scale
        end = lobe + (0, length * scale)
        paint(ribbon(np.stack([lobe, end]), 0.045 * scale), colour)
        paint(ellipse(lobe, 0.045 * scale, 16), colour)
        paint(ellipse(end + (0, radius[1]), tuple(radius)), gem if style.random() < 0.6 else colour)
        shine(end + (0, radius[1]), radius[0])


def paint_necklace(canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> None:
    """A chain, pearls or a pendant, around the neck and over the clothes."""
    body, scale = pose.of_body(), pose.scale
    depth = generator.uniform(2.0, 2.3)
    half = 0.58 if person.woman else 0.68
    curve = smooth(mirrored([(0, depth), (0.75 * half, depth - 0.25), (half, 1.55)]), 12)
    points = body.project(with_depth(curve))
    colour = metal(generator)
    shadow = canvas.polygon(ribbon(points + (0, 0.04 * scale), 0.06 * scale), blur=0.02 * scale)
    canvas.shade(shadow, -0.25)
    if person.necklace == "pearls":
        radius = generator.uniform(0.055, 0.085) * scale
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        at = np.arange(0, length[-1], 1.9 * radius)
        centres = np.column_stack([np.interp(at, length, points[:, k]) for k in (0, 1)])
        colour = np.array([0.95, 0.92, 0.88]) if generator.random() < 0.6 else generator.uniform(0.1, 0.9, 3)
        canvas.paint(canvas.polygon(*(ellipse(centre, radius, 16) for centre in centres)), colour * 0.85, "neck_l")
        for centre in centres:
            spot = canvas.polygon(ellipse(centre - 0.3 * radius, 0.4 * radius, 10), blur=0.01 * scale)
            canvas.paint(spot, np.minimum(colour * 1.3, 1))
        return
    width = generator.uniform(0.06, 0.12) if person.necklace == "chain" else 0.05
    canvas.paint(canvas.polygon(ribbon(points, width * scale)), colour, "neck_l")
    links = canvas.polygon(*(ellipse(point, 0.25 * width * scale, 8) for point in points[::2]))
    canvas.paint(links.times(0.8), np.minimum(colour * 1.5, 1))
    if person.necklace == "pendant":
        radius = generator.uniform(0.08, 0.14) * scale
        centre = points[len(points) // 2] + (0, radius)
        canvas.paint(canvas.polygon(ellipse(centre, (0.8 * radius, radius))), colour, "neck_l")
        gem = generator.uniform(0, 1, 3)
        canvas.paint(canvas.polygon(ellipse(centre, (0.5 * radius, 0.65 * radius))), gem)
