"""A video through a parser: overlays in an MP4 file, in a window, and if wished what pictures get for every frame."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from datasets.errors import DataError
from utils.inference.landmarks import LandmarkFile
from utils.inference.outputs import Outputs
from utils.inference.pipeline import OF_ONE_PICTURE, Report, prepare
from utils.inference.sources import Source
from utils.inference.video import FrameReader, FrameWriter, Smoother, Window, write_picture
from utils.logging import progress_bar
from utils.parser import FaceParser, Parsing
from utils.visualize import legend


@dataclass(frozen=True)
class VideoOptions:
    """How videos are parsed; ``smooth`` is the share of the frames before, None for none."""

    batch_size: int
    threads: int
    smooth: float | None = None
    frames: bool = False
    landmarks: LandmarkFile | None = None
    detect: bool = False
    window: Window | None = None


def video_paths(outputs: Outputs, source: Source, frames: bool) -> list[Path]:
    """The files of a video, and the folders of its frames."""
    files = [outputs.folder / "videos" / f"{source.name}{end}" for end in (".mp4", "_legend.png")]
    return files + (outputs.folders(source.name) if frames else [])


def parse_video(parser: FaceParser, source: Source, outputs: Outputs, report: Report, options: VideoOptions) -> None:
    """Parse a video to its end, a camera until it is stopped; what is wrong with it goes into the report."""
    path, path_of_legend = video_paths(outputs, source, frames=False)
    # Frames without their video are of a run that was interrupted: they are made anew.
    outputs = replace(outputs, overwrite=outputs.overwrite or not path.exists())
    reader = writer = None
    try:
        reader = FrameReader(source)
        writer = FrameWriter(path, reader.rate)
        with ThreadPoolExecutor(options.threads) as pool:
            is_whole = run(parser, source, reader, writer, outputs, options, pool)
        if is_whole and (complaint := reader.complaint()):
            if not reader.read:
                raise DataError(complaint)
            report.problems.append(complaint)
        if outputs.overwrite:  # else it is there, and only frames were missing
            writer.finish()
        report.frames += writer.written
        write_picture(legend(parser.table, parser.table.names), path_of_legend)
    except OF_ONE_PICTURE as error:
        report.failed(source, error)
    finally:
        if writer:
            writer.discard()
        if reader:
            reader.close()


def run(
    parser: FaceParser,
    source: Source,
    reader: FrameReader,
    writer: FrameWriter,
    outputs: Outputs,
    options: VideoOptions,
    pool: ThreadPoolExecutor,
) -> bool:
    """Parse frame after frame; False where the window was closed, or a camera was stopped, before the end."""
    smoother = Smoother(options.smooth) if options.smooth else None
    is_live = source.camera is not None or options.window is not None
    size = 1 if is_live else options.batch_size

    def finish(numbered: tuple[int, Parsing]) -> np.ndarray:
        number, parsing = numbered
        if options.frames:
            outputs.write(parsing, source, f"{source.name}/{number:06d}")
        return parsing.overlay()

    with progress_bar(source.name, reader.expected, True) as bar:
        try:
            for frames in grouped(reader, size):
                pictures = list(
                    pool.map(lambda rgb: prepare(parser, rgb, source, options.landmarks, options.detect), frames)
                )
                logits = parser.logits(pictures)
                if smoother:
                    logits = [smoother(p.crops, now) for p, now in zip(pictures, logits, strict=True)]
                parsings = pool.map(parser.conclude, pictures, logits)
                for overlay in pool.map(finish, enumerate(parsings, start=writer.written)):
                    writer.write(overlay)
                    bar.update()
                    if options.window and not options.window.show(overlay):
                        return False
        except KeyboardInterrupt:
            if source.camera is None:
                raise
            return False
    return True


def grouped(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """The frames, ``size`` at a time."""
    frames = iter(frames)
    while group := list(islice(frames, size)):
        yield group
