"""What --input names, and the names of what is made of it."""

import os
from pathlib import Path

import pytest

from utils.inference.sources import find_sources


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.jpg",
        "b.PNG",
        "notes.txt",
        ".hidden.jpg",
        "clip.mp4",
        "in/a.jpg",
        "in/dé p/c d.webp",
        ".git/x.png",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def names(found):
    return [source.name for source in found.sources]


def test_folder_is_searched_with_its_folders(folder, tmp_path):
    found = find_sources([str(folder)], tmp_path / "out")
    assert names(found) == ["a", "b", "in/a", "in/dé p/c d"]
    assert found.problems == ()
    assert found.videos_left == 1


@pytest.mark.parametrize("output", ["photos", "photos/in", "photos/parsed", "link"])
def test_results_are_no_input(folder, tmp_path, output):
    """Those in the folder of pictures itself were, and so were those that a glob finds."""
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    before = [names(find_sources([text], tmp_path / output)) for text in (str(folder), str(folder / "**" / "*.*"))]
    for result in ("labels/a.png", "overlays/in/a.jpg", "masks/hair/b.png", "videos/c_legend.png"):
        path = tmp_path / output / result
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    after = [names(find_sources([text], tmp_path / output)) for text in (str(folder), str(folder / "**" / "*.*"))]
    assert after == before
    assert before[0] == ["a", "b", "in/a", "in/dé p/c d"]


def test_files_globs_videos_and_cameras(folder, tmp_path):
    inputs = [str(folder / "a.jpg"), str(folder / "**" / "*.webp"), str(folder / "clip.mp4"), "0"]
    found = find_sources(inputs, tmp_path / "out")
    assert names(found) == ["a", "c d", "clip", "camera0"]
    assert [source.is_video for source in found.sources] == [False, False, True, True]
    assert found.sources[-1].camera == 0


def test_a_file_with_a_number_for_a_name_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("7").write_bytes(b"")
    (source,) = find_sources(["7"], tmp_path / "out").sources
    assert source.camera is None


def test_brackets_in_a_name_are_no_glob(tmp_path):
    (tmp_path / "a[1].jpg").write_bytes(b"")
    assert names(find_sources([str(tmp_path / "a[1].jpg")], tmp_path / "out")) == ["a[1]"]


def test_a_file_that_is_named_twice_is_one(folder, tmp_path):
    inputs = [str(folder), str(folder / "a.jpg"), str(folder / "in" / ".." / "a.jpg")]
    assert names(find_sources(inputs, tmp_path / "out")) == ["a", "b", "in/a", "in/dé p/c d"]


def test_the_same_name_in_two_folders(folder, tmp_path):
    inputs = [str(folder / "a.jpg"), str(folder / "in" / "a.jpg"), str(folder / "b.PNG")]
    assert names(find_sources(inputs, tmp_path / "out")) == ["photos/a.jpg", "in/a.jpg", "b"]
    for deep in ("x/same", "y/same"):
        (tmp_path / deep).mkdir(parents=True)
        (tmp_path / deep / "a.jpg").write_bytes(b"")
    inputs = [str(tmp_path / "x" / "same"), str(tmp_path / "y" / "same")]
    assert names(find_sources(inputs, tmp_path / "out")) == ["x/same/a.jpg", "y/same/a.jpg"]


def test_the_same_name_with_another_suffix(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert names(find_sources([str(tmp_path)], tmp_path / "out")) == ["a.jpg", "a.png", "b"]


def test_inputs_that_name_nothing_are_told_of(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    inputs = [str(tmp_path / "none.jpg"), str(folder / "*.tiff"), str(tmp_path / "empty"), str(folder / "b.PNG")]
    found = find_sources(inputs, tmp_path / "out")
    assert names(found) == ["b"]
    assert len(found.problems) == 3
    assert "none.jpg" in found.problems[0]


@pytest.mark.parametrize("text", ["~nobody.jpg", "x" * 300, "99999999999999999999", "a\0b.jpg"])
def test_names_that_no_file_has_are_told_of(tmp_path, text):
    found = find_sources([text], tmp_path / "out")
    assert found.sources == ()
    assert len(found.problems) == 1


def test_a_pipe_in_a_folder_is_left_out_and_a_broken_link_is_not(folder, tmp_path):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "broken.jpg").symlink_to(folder / "gone.jpg")
    assert names(find_sources([str(folder)], tmp_path / "out")) == ["a", "b", "broken", "in/a", "in/dé p/c d"]


def test_a_loop_of_links_ends(folder, tmp_path):
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert names(find_sources([str(folder)], tmp_path / "out")) == ["a", "b", "in/a", "in/dé p/c d"]
