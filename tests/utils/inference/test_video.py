"""Frames in and out, and smoothing over time."""

import cv2
import numpy as np
import pytest
from colours import CORNERS

from datasets import DataError
from utils.errors import SettingsError
from utils.inference.crops import Crop
from utils.inference.sources import Source
from utils.inference.video import FrameReader, FrameWriter, Smoother, Window


def write_video(path, frames, rate=12.5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return Source(path, path.stem)


def flat(colour, size=(48, 64)):
    return np.full((*size, 3), colour, np.uint8)


def test_frames_come_in_rgb_with_their_rate(tmp_path):
    reader = FrameReader(write_video(tmp_path / "a.mp4", [flat(CORNERS[4]), flat(CORNERS[1])]))
    red, blue = list(reader)
    assert (reader.rate, reader.expected, reader.read, reader.complaint()) == (12.5, 2, 2, None)
    assert np.abs(red.astype(int) - CORNERS[4]).max() < 20
    assert np.abs(blue.astype(int) - CORNERS[1]).max() < 20


def test_files_that_are_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4"):
        FrameReader(Source(tmp_path / "a.mp4", "a"))
    with pytest.raises(DataError, match="camera 97"):
        FrameReader(Source(tmp_path / "97", "camera97", 97))


def test_a_file_that_ends_early_is_told_of(tmp_path):
    source = write_video(tmp_path / "a.avi", [flat(20 * k % 255) for k in range(40)])
    reader = FrameReader(source)
    for _, _ in zip(range(20), reader, strict=False):
        pass
    assert "found 20 frames; expected 40" in reader.complaint()


@pytest.mark.parametrize(("size", "expected"), [((48, 64), (48, 64)), ((49, 65), (48, 64))])
def test_writer_keeps_rate_and_size(tmp_path, size, expected):
    writer = FrameWriter(tmp_path / "new" / "a.mp4", 23.976)
    for _ in range(5):
        writer.write(flat(CORNERS[2], size))
    assert not (tmp_path / "new" / "a.mp4").exists()
    writer.finish()
    reader = FrameReader(Source(tmp_path / "new" / "a.mp4", "a"))
    frames = list(reader)
    assert reader.rate == pytest.approx(23.976, abs=1e-3)
    assert len(frames) == 5
    assert frames[0].shape == (*expected, 3)
    assert np.abs(frames[0].astype(int) - CORNERS[2]).max() < 20
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_what_is_not_complete_leaves_nothing(tmp_path):
    writer = FrameWriter(tmp_path / "a.mp4", 10)
    writer.write(flat(9))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_frames_that_the_disk_did_not_take_are_missed(tmp_path, monkeypatch):
    writer = FrameWriter(tmp_path / "a.mp4", 10)
    writer.write(flat(9))
    writer.written += 3  # OpenCV says nothing of frames that it could not write
    with pytest.raises(OSError, match="only 1 of 4 frames"):
        writer.finish()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_an_error(tmp_path):
    writer = FrameWriter(tmp_path / "a.mp4", 10)
    writer.write(flat(9))
    with pytest.raises(DataError, match="the ones before"):
        writer.write(flat(9, (20, 20)))
    writer.discard()


def crop_at(x, side=64.0):
    return Crop(np.zeros((32, 32, 3), np.uint8), np.zeros((5, 2)), np.array([[side / 32, 0, x], [0, side / 32, 0]]))


def test_smoothing_is_an_exponential_average():
    smooth = Smoother(0.75)
    whole = (Crop(np.zeros((4, 4, 3), np.uint8), np.zeros((5, 2))),)
    found = [float(smooth(whole, np.full((1, 1, 4, 4), value, np.float32))[0, 0, 0, 0]) for value in (1, 0, 0, 1)]
    assert found == pytest.approx([1, 0.75, 0.5625, 0.671875])


def test_smoothing_follows_each_face():
    smooth = Smoother(0.5)
    values = np.float32([10, 20])[:, None, None, None]
    smooth((crop_at(0), crop_at(200)), values)
    # They come in another order, have moved a little, and a new one is there.
    found = smooth((crop_at(210), crop_at(8), crop_at(400)), np.zeros((3, 1, 1, 1), np.float32))
    assert found.ravel().tolist() == [10, 5, 0]
    assert len(smooth((), np.zeros((0, 1, 1, 1), np.float32))) == 0
    assert smooth((crop_at(0),), np.ones((1, 1, 1, 1), np.float32)).ravel().tolist() == [1]


def test_one_face_is_not_averaged_into_two():
    smooth = Smoother(0.5)
    smooth((crop_at(0),), np.full((1, 1, 1, 1), 8, np.float32))
    found = smooth((crop_at(2), crop_at(10)), np.zeros((2, 1, 1, 1), np.float32))
    assert found.ravel().tolist() == [4, 0]


def test_a_face_elsewhere_is_another_one():
    smooth = Smoother(0.5)
    smooth((crop_at(0),), np.full((1, 1, 1, 1), 8, np.float32))
    assert smooth((crop_at(33),), np.zeros((1, 1, 1, 1), np.float32)).ravel().tolist() == [0]


def test_window_needs_a_screen_and_an_opencv_with_windows(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="DISPLAY"):
        Window("title")
    monkeypatch.setenv("DISPLAY", ":0")

    def refuse(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(SettingsError, match="pip uninstall opencv-python-headless"):
        Window("title")


@pytest.mark.parametrize(("key", "goes_on"), [(-1, True), (ord("q"), False), (27, False), (ord("x"), True)])
def test_window_shows_bgr_until_q(monkeypatch, key, goes_on):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append((title, picture)))
    monkeypatch.setattr(cv2, "waitKey", lambda _: key)
    assert Window("title").show(flat((1, 2, 3))) is goes_on
    assert shown[0][1][0, 0].tolist() == [3, 2, 1]
