"""Drawn faces: pictures, part masks and landmarks of people who do not exist."""

from datasets.drawing.scene import DrawnFace, draw_face

__all__ = ["DrawnFace", "draw_face"]
