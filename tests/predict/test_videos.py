"""predict.py on videos and a camera."""

import cv2
import numpy as np
from colours import face_map, painted
from predicted import files, label_map

from datasets import LABELS

CELEB = LABELS["celebamask_hq"]


def write_video(path, frames, rate):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()


class Camera:
    """Stands in for cv2.VideoCapture: three frames, then Ctrl-C."""

    def __init__(self, index):
        assert index == 3
        self.count = 0

    def isOpened(self):  # noqa: N802, OpenCV's name
        return True

    def get(self, _):
        return 0.0

    def read(self):
        self.count += 1
        if self.count > 3:
            raise KeyboardInterrupt
        return True, painted(face_map(64))

    def release(self):
        pass


def test_video_keeps_rate_size_and_number_of_frames(run, tmp_path):
    face = painted(np.repeat(np.repeat(face_map(64), 2, 0), 3, 1))
    write_video(tmp_path / "clip.mp4", [np.roll(face, 2 * k, 1) for k in range(11)], 15)
    code, printed = run("--input", tmp_path / "clip.mp4", "--smooth", "0.3", "--frames", "--json", "--batch_size", 4)
    assert code == 0, printed
    video = cv2.VideoCapture(str(tmp_path / "out" / "videos" / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 15
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (192, 128)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 11
    assert files(tmp_path / "out" / "videos") == ["clip.mp4", "clip_legend.png"]
    assert files(tmp_path / "out" / "json" / "clip") == [f"{k:06d}.json" for k in range(11)]
    _, frame = video.read()
    skin = CELEB.palette[CELEB.names.index("skin")]
    mixed = 0.55 * np.array(skin) + 0.45 * face[64, 70]
    assert np.abs(frame[64, 70, ::-1] - mixed).max() < 25
    code, printed = run("--input", tmp_path / "clip.mp4")
    assert code == 1
    assert "would be overwritten" in printed


def test_frames_of_an_interrupted_run_are_made_anew(run, tmp_path):
    """They stayed as they were, and a finished video without them counted as done."""
    write_video(tmp_path / "clip.mp4", [painted(face_map(64)) for _ in range(3)], 10)
    old = tmp_path / "out" / "labels" / "clip" / "000001.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    code, printed = run("--input", tmp_path / "clip.mp4", "--frames")
    assert code == 1
    assert "would be overwritten" in printed
    assert run("--input", tmp_path / "clip.mp4", "--frames", "--skip_existing")[0] == 0
    assert label_map(old).shape == (64, 64)
    code, printed = run("--input", tmp_path / "clip.mp4", "--frames", "--json", "--skip_existing")
    assert code == 0
    assert len(files(tmp_path / "out" / "json" / "clip")) == 3
    assert "1 had all" in run("--input", tmp_path / "clip.mp4", "--frames", "--json", "--skip_existing")[1]


def test_video_that_cannot_be_read(run, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    code, printed = run("--input", tmp_path / "a.mp4", "--weights", "any")
    assert code == 1
    assert "a.mp4: found no video" in printed
    assert not (tmp_path / "out" / "videos").exists()


def test_masks_of_a_video_need_frames(run, tmp_path):
    write_video(tmp_path / "a.mp4", [painted(face_map(64))], 10)
    code, printed = run("--input", tmp_path / "a.mp4", "--json")
    assert code == 1
    assert "pass --frames" in printed


def test_what_a_camera_saw_until_ctrl_c_is_kept(run, tmp_path, monkeypatch):
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(source) if source == 3 else capture(source))
    code, printed = run("--input", "3")
    assert code == 0, printed
    video = capture(str(tmp_path / "out" / "videos" / "camera3.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == 30


def test_closing_the_window_is_no_damage(run, tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", [painted(face_map(64)) for _ in range(30)], 10)

    class Window:
        def __init__(self, title):
            self.left = 3

        def show(self, rgb):
            self.left -= 1
            return self.left > 0

    monkeypatch.setattr("predict.Window", Window)
    code, printed = run("--input", tmp_path / "clip.mp4", "--show")
    assert code == 0, printed
    assert "3 frames parsed" in printed


def test_a_video_that_is_there_is_kept_when_frames_are_missing(run, tmp_path):
    write_video(tmp_path / "clip.mp4", [painted(face_map(64)) for _ in range(3)], 10)
    run("--input", tmp_path / "clip.mp4")
    path = tmp_path / "out" / "videos" / "clip.mp4"
    path.write_bytes(b"mine")
    assert run("--input", tmp_path / "clip.mp4", "--frames", "--skip_existing")[0] == 0
    assert path.read_bytes() == b"mine"
    assert len(files(tmp_path / "out" / "labels" / "clip")) == 3
