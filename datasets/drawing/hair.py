"""Hair: its outline by style, and strands that fall from the crown."""

import cv2
import numpy as np

from datasets.drawing.canvas import Canvas, Shape, ellipse, mirrored, smooth, smooth_noise
from datasets.drawing.head import SIDES
from datasets.drawing.person import Person
from datasets.drawing.pose import Pose

SHORT = ("short", "receding", "curly")
HANGING = ("bob", "long", "fringe")


class Hair:
    """The hair of a person: ``paint_behind`` before the neck and ``paint_front`` after the face."""

    def __init__(self, canvas: Canvas, pose: Pose, person: Person, generator: np.random.Generator) -> None:
        self.canvas, self.pose, self.person, self.generator = canvas, pose, person, generator
        self.colour, self.edge = self.strands()

    def strands(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours (S, S, 3), and noise (S, S) in [-1, 1] that frays the outline."""
        canvas, pose, person, generator = self.canvas, self.pose, self.person, self.generator
        crown = pose.on_outline([(0.6 * person.parting, -1.5)])[0]
        x, y = (canvas.x - crown[0]) / pose.scale, (canvas.y - crown[1]) / pose.scale
        distance = np.sqrt(x**2 + y**2)
        curly = person.hair_style == "curly"
        angle = np.arctan2(x, y + 0.4) + person.wave * 0.12 * np.sin(distance * generator.uniform(4, 8) + 3 * x)
        noise = generator.uniform(-1, 1, (16, 1024)).astype(np.float32)
        noise = 0.6 * noise + 0.4 * cv2.GaussianBlur(noise, (0, 0), 6) * 8
        columns = (angle / np.pi * 0.5 + 0.5) * 1023
        rows = np.minimum(distance * 3, 15)
        strands = cv2.remap(noise, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
        if curly:
            cells = int(canvas.size / pose.scale / generator.uniform(0.07, 0.16))
            strands = 0.3 * strands + smooth_noise(generator, canvas.size, (cells, cells))
        sheen = np.exp(-(((distance - generator.uniform(0.5, 0.9)) / 0.25) ** 2)) * generator.uniform(0, 0.5)
        light = 1 + 0.28 * strands + sheen * (1 + 0.5 * strands) - 0.12 * np.clip(distance - 1.5, 0, 1)
        light = light[..., None] * (1 + 0.2 * smooth_noise(generator, canvas.size, (3, 4))[..., None])
        shine = 0.06 * np.clip(sheen, 0, 1)[..., None]
        return (person.hair * np.clip(light, 0.2, 2.2) + shine).astype(np.float32), np.clip(strands, -1, 1)

    def paint(self, *outlines: np.ndarray) -> None:
        """Paint hair within outlines, in pixels, with frayed edges."""
        fray = 0.03 if self.person.hair_style != "curly" else 0.07
        shape = self.canvas.polygon(*outlines, blur=fray * self.pose.scale)
        edge = self.edge[shape.slices]
        coverage = np.clip((shape.coverage - 0.5 + 0.3 * edge) * 2.5 + 0.5, 0, 1)
        self.canvas.paint(Shape(shape.window, coverage), self.colour, "hair")

    def paint_behind(self) -> None:
        """What hangs down behind neck and ears, or a bun."""
        pose, person, style = self.pose, self.person, self.person.hair_style
        if style in HANGING:
            end = {"bob": 1.35, "long": 3.4, "fringe": 2.4}[style] * (0.9 + 0.4 * person.volume)
            spread = 1.08 + person.volume + 0.25 * person.wave
            right = [
                (0.6, -1.4), (1.05 + person.volume, -0.7), (spread + 0.05, 0.3), (spread + 0.15, end - 0.4), (0.9, end),
            ]  # fmt: skip
            self.paint(pose.on_outline(smooth(mirrored(right), 6, closed=True)))
            shadow = self.canvas.polygon(pose.on_outline(ellipse((0, 1.0), (0.95, 0.9))), blur=0.2 * pose.scale)
            self.canvas.shade(shadow, -0.4)
        elif style == "tied" and person.volume > 0.14:
            self.paint(pose.on_outline(ellipse((0.3 * person.parting, -1.72), (0.42, 0.36))))

    def paint_front(self) -> None:
        """The cap of hair above the hairline, and what hangs before the ears."""
        style = self.person.hair_style
        if style == "bald":
            return
        self.paint(self.cap())
        if style in HANGING:
            for side, tucked in zip(SIDES, self.person.tucked, strict=True):
                self.paint(self.curtain(side, tucked))
        if style == "fringe":
            self.paint(self.fringe())

    def cap(self) -> np.ndarray:
        """From temple to temple, over the crown and back along the hairline."""
        pose, person, style = self.pose, self.person, self.person.hair_style
        volume = person.volume * {"curly": 2.2, "receding": 0.55, "tied": 0.55}.get(style, 1)
        low = 0.12 if style in SHORT and not person.woman else -0.05
        right = [
            (0.5 + 0.6 * volume, -1.38 - 0.8 * volume), (0.86 + volume, -1.0), (1.0 + 0.7 * volume, -0.45),
            (1.0 + 0.5 * volume, low),
        ]  # fmt: skip
        left, right = np.split(mirrored(right), 2)
        outer = smooth(np.concatenate([left, [(0.25 * person.parting, -1.46 - volume)], right]), 6)
        if style == "curly":
            outer = outer * (1 + 0.05 * np.sin(np.arange(len(outer)) * 2.1)[:, None])
        hairline = pose.on_face(smooth(self.hairline(low) * (1, person.length), 5))
        return np.concatenate([pose.on_outline(outer * (1, person.length)), hairline[::-1]])

    def hairline(self, low: float) -> np.ndarray:
        """Points (N, 2) from the left temple over the forehead to the right one; ``low`` is where it ends."""
        style, parting = self.person.hair_style, self.person.parting
        height = -0.9 if style == "curly" else -0.95 if self.person.woman else -1.05
        if style == "receding":
            return mirrored([(0, -1.02), (0.5, -1.2), (0.72, -0.9), (0.93, -0.35), (0.97, low)])
        if style in HANGING:
            right, middle, shift = [(0.6, -0.82), (0.88, -0.35), (0.97, low)], height - 0.22, 0.3 * parting
        else:
            right, middle, shift = [(0.4, height), (0.76, -0.72), (0.9, -0.3), (0.97, low)], height - 0.05, 0
        left, right = np.split(mirrored(right), 2)
        left[-1, 0], right[0, 0] = left[-1, 0] + shift, right[0, 0] + shift
        return np.concatenate([left, [(parting, middle)], right])

    def curtain(self, side: int, tucked: bool) -> np.ndarray:
        """Hair that falls beside the face: before the ear, or behind it if tucked."""
        pose, person = self.pose, self.person
        end = {"bob": 1.35, "long": 2.9, "fringe": 1.9}[person.hair_style]
        outer = 1.05 + 0.9 * person.volume + 0.15 * person.wave
        if tucked:
            right = [
                (0.6, -1.2), (0.98, -0.75), (1.12 + 0.5 * person.volume, -0.3), (1.02, -0.18), (0.9, -0.3),
                (0.78, -0.72),
            ]  # fmt: skip
        else:
            # In a turned view the far side of the face hides the hair beside it.
            inner = 0.86 - 0.1 * person.wave + 0.45 * max(0.0, side * np.sin(pose.yaw))
            right = [
                (0.6, -1.2), (1.0, -0.75), (outer, 0.2), (outer + 0.1, end - 0.5), (outer - 0.1, end),
                (inner + 0.1, end - 0.15), (inner, 0.9), (inner, 0.2), (inner - 0.02, -0.4), (0.7, -0.85),
            ]  # fmt: skip
        return pose.on_outline(smooth(np.array(right) * (side, 1), 6, closed=True))

    def fringe(self) -> np.ndarray:
        """A fringe down to the brows."""
        pose, person, generator = self.pose, self.person, self.generator
        x = np.linspace(-0.84, 0.84, 23)
        bottom = -0.42 + generator.uniform(-0.12, 0.08) + 0.12 * np.abs(x) + generator.normal(0, 0.035, len(x))
        top = [(0.84, -0.9), (0.45, -1.3), (0, -1.45), (-0.45, -1.3), (-0.84, -0.9)]
        return pose.on_face(np.concatenate([np.column_stack([x, bottom]), top]) * (1, person.length), 0.05)
