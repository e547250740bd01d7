"""The pictures of the README's recipes can be made by anyone."""

import json

import numpy as np
from PIL import Image

from network import create_segface, save_weights
from scripts import recipes
from utils.inference.crops import aligned


def test_pictures_and_landmarks(tmp_path, monkeypatch):
    save_weights(create_segface("mobilenet", "segface_celeb", 64, "none"), tmp_path / "w.pt")
    monkeypatch.setattr("sys.argv", ["recipes", "--weights", str(tmp_path / "w.pt"), "--out", str(tmp_path / "docs")])
    recipes.main()
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert names == {"one_face.jpg", "faces.jpg", "faces.json", "faces_parsed.jpg"}
    faces = np.array(json.loads((tmp_path / "docs" / "faces.json").read_text())["faces.jpg"])
    assert faces.shape == (3, 5, 2)
    assert Image.open(tmp_path / "docs" / "faces_parsed.jpg").width > recipes.SIDE


def test_landmarks_lie_at_the_features():
    """In the aligned crop of each face the eyes are darker than the skin between them."""
    picture, landmarks = recipes.group_of_faces()
    for points in landmarks:
        crop = aligned(picture, points, 256)
        grey = crop.image.mean(-1)
        (x0, y0), (x1, _) = crop.landmarks[:2].round().astype(int)
        assert abs(crop.landmarks[0, 1] - crop.landmarks[1, 1]) < 6
        eyes = [grey[y0 - 3 : y0 + 4, x - 3 : x + 4].mean() for x in (x0, x1)]
        assert max(eyes) < grey[y0 - 3 : y0 + 4, (x0 + x1) // 2 - 3 : (x0 + x1) // 2 + 4].mean()
