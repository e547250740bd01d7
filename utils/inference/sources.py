"""What ``--input`` names: pictures, folders of them, globs, videos, cameras; and the names of what is made of them."""

import glob
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

PICTURES = {
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
VIDEOS = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
MAGIC = "*?["
RESULTS = ("labels", "overlays", "masks", "json", "probs", "videos")  # folders that predict.py writes
CAMERAS = 100


@dataclass(frozen=True)
class Source:
    """A picture or video file, or a camera.

    ``name`` is that of what is made of it, without suffix and relative to the folder of its kind.
    """

    path: Path
    name: str
    camera: int | None = None

    @property
    def is_video(self) -> bool:
        return self.camera is not None or self.path.suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Found:
    """Sources in the order of the inputs, complaints about inputs that name nothing, and videos that lie in folders."""

    sources: tuple[Source, ...]
    problems: tuple[str, ...]
    videos_left: int


def find_sources(inputs: Iterable[str], output: Path | None = None) -> Found:
    """Look for all that ``inputs`` name.

    A folder stands for all pictures in it and its folders, but for hidden ones. Results in the ``output`` folder are
    left out. Where two would get the same name, it becomes longer: by the suffix, then by the folders they lie in.
    """
    results = tuple(output.resolve() / name for name in RESULTS) if output else ()
    found: dict[Path | int, Source] = {}
    problems, videos_left = [], 0
    for text in inputs:
        try:
            path = Path(os.path.expanduser(text))  # noqa: PTH111, as Path's own fails for a user who does not exist
            is_there, is_folder = path.exists(), path.is_dir()
        except (OSError, ValueError) as error:
            problems.append(f"{text}: found no name that a file can have ({error}); expected a picture")
            continue
        if text.isdecimal() and not is_there and int(text) < CAMERAS:
            found[int(text)] = Source(path, f"camera{text}", int(text))
        elif is_folder:
            files = files_in(absolute(path), results)
            pictures = [file for file in files if file.suffix.lower() in PICTURES]
            videos_left += sum(file.suffix.lower() in VIDEOS for file in files)
            if not pictures:
                problems.append(
                    f"{text}: found a folder without pictures; expected some ({', '.join(sorted(PICTURES))})"
                )
            for file in pictures:
                found.setdefault(file, Source(file, file.relative_to(absolute(path)).with_suffix("").as_posix()))
        else:
            files = [path] if is_there else globbed(path, results)
            if not files:
                problems.append(
                    f"{text}: found no such file or folder; expected a picture, folder, glob, video or camera"
                )
            for file in map(absolute, files):
                found.setdefault(file, Source(file, file.stem))
    return Found(tuple(distinct(list(found.values()))), tuple(problems), videos_left)


def absolute(path: Path) -> Path:
    """Without ``..``, and with its symbolic links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100, as resolve() would follow the links


def files_in(folder: Path, results: tuple[Path, ...]) -> list[Path]:
    """All files in a folder and its folders, by name, but for those in folders of results."""
    files = []
    for parent, folders, names in os.walk(folder):
        shown = [Path(parent, name) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [path.name for path in shown if path.resolve() not in results]
        candidates = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        files += [
            path for path in candidates if path.is_file() or path.is_symlink()
        ]  # no pipes; broken links are told of
    return files


def globbed(pattern: Path, results: tuple[Path, ...]) -> list[Path]:
    """Files of a glob, ``**`` for any folders, but for those in folders of results; none where it is no glob."""
    if not any(character in str(pattern) for character in MAGIC):
        return []
    paths = [Path(path) for path in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207
    return [path for path in paths if path.is_file() and not set(path.resolve().parents) & set(results)]


def distinct(sources: list[Source]) -> list[Source]:
    """The sources with names of which no two are the same."""
    levels = dict.fromkeys(range(len(sources)), 0)
    while True:
        names = {index: longer(source, levels[index]) for index, source in enumerate(sources)}
        groups = defaultdict(list)
        for index, name in names.items():
            groups[name, sources[index].is_video].append(index)
        clashing = [index for group in groups.values() if len(group) > 1 for index in group]
        if not clashing:
            return [replace(source, name=names[index]) for index, source in enumerate(sources)]
        for index in clashing:
            levels[index] += 1


def longer(source: Source, level: int) -> str:
    """The name of a source, from the first level on with its suffix, and from the second with that many folders."""
    if level == 0 or source.camera is not None:
        return source.name
    name = f"{source.name}{source.path.suffix}"
    root = source.path.as_posix().removesuffix(name).strip("/").split("/")
    return "/".join([*root[max(0, len(root) - level + 1) :], name]) if level > 1 else name
