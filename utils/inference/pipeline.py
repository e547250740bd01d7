"""Many pictures through a parser: read ahead and written behind by threads, while the model computes."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from datasets.errors import DataError
from utils.cli import FULL
from utils.inference.crops import Face
from utils.inference.landmarks import LandmarkFile
from utils.inference.outputs import Outputs
from utils.inference.pictures import read_picture
from utils.inference.sources import Source
from utils.logging import progress_bar
from utils.parser import FaceParser, Parsing, Prepared

T = TypeVar("T")
# What can be wrong with one picture, while the next one may be good.
OF_ONE_PICTURE = (DataError, ValueError, MemoryError, OSError, cv2.error)
PIXELS_AT_ONCE = 100_000_000  # of a batch, all its pictures together


@dataclass
class Report:
    """What went wrong, and what else is to be told at the end."""

    problems: list[str] = field(default_factory=list)
    faceless: list[str] = field(default_factory=list)
    done: int = 0
    frames: int = 0

    def notice(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def failed(self, source: Source, error: Exception) -> None:
        """Keep the message of what is wrong with a picture; a full disk, which would stop all others, is raised."""
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        if isinstance(error, MemoryError | cv2.error) and not isinstance(error, DataError):
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            found = "more pixels than there is memory for" if is_of_memory(error) else f"what OpenCV refuses: {reason}"
            text = f"{source.path}: found {found}; expected a picture that fits into memory"
        else:
            text = str(error)
        self.problems.append(text if str(source.path) in text else f"{source.path}: {text}")

    def tell(self, parsing: Parsing, source: Source) -> None:
        """Count a picture."""
        self.done += 1
        if parsing.faces == ():
            self.faceless.append(str(source.path))

    def conclude(self, output: Path, seconds: float, skipped: int) -> int:
        """Print what was done and what not, and return the exit code: 1 where something failed."""
        number = self.done + self.frames
        what = [f"{count} {kind}" for count, kind in ((self.done, "pictures"), (self.frames, "frames")) if count]
        if number:
            print(f"{' and '.join(what)} parsed to {output} in {seconds:.1f} s, {number / seconds:.1f} images/s")
        if skipped:
            print(f"{skipped} had all their results already")
        if self.faceless:
            print(f"no face found in {len(self.faceless)}: {printable(', '.join(self.faceless))}")
        if self.problems:
            sys.stderr.write(f"\n{len(self.problems)} could not be parsed:\n")
            sys.stderr.writelines(f"  {printable(problem)}\n" for problem in self.problems)
        return 1 if self.problems else 0


def printable(text: str) -> str:
    """The same with what no terminal can show, such as a name in another encoding, as escapes."""
    return text.encode(errors="backslashreplace").decode()


def is_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.STS_NO_MEM


def parse_pictures(
    parser: FaceParser,
    sources: list[Source],
    outputs: Outputs,
    report: Report,
    threads: int,
    batch_size: int,
    landmarks: LandmarkFile | None = None,
    detect: bool = False,
) -> None:
    """Parse pictures and write the results; what is wrong with one goes into the report."""

    def read(source: Source) -> Prepared:
        return prepare(parser, read_picture(source.path), source, landmarks, detect)

    def finish(source: Source, picture: Prepared, logits: np.ndarray) -> Parsing:
        parsing = parser.conclude(picture, logits)
        outputs.write(parsing, source)
        return parsing

    def collect(writing: deque[tuple[Source, Future]], most: int) -> None:
        while len(writing) > most:
            source, future = writing.popleft()
            parsing = result_of(future, source, report)
            if parsing is not None:
                report.tell(parsing, source)
            bar.update()

    writing: deque[tuple[Source, Future]] = deque()
    with (
        ThreadPoolExecutor(threads) as readers,
        ThreadPoolExecutor(threads) as writers,
        progress_bar("pictures", len(sources), True) as bar,
    ):
        try:
            for batch in batches(ahead(readers, read, sources, batch_size + threads), batch_size, report, bar):
                for (source, picture), logits in zip(batch, parser.logits([p for _, p in batch]), strict=True):
                    writing.append((source, writers.submit(finish, source, picture, logits)))
                    collect(writing, most=2 * threads)
            collect(writing, most=0)
        except BaseException:  # what waits is not begun any more
            readers.shutdown(wait=False, cancel_futures=True)
            writers.shutdown(wait=False, cancel_futures=True)
            raise


def prepare(
    parser: FaceParser, rgb: np.ndarray, source: Source, landmarks: LandmarkFile | None, detect: bool
) -> Prepared:
    """The crops of a picture, by the landmarks of a file if there is one."""
    faces: list[Face] | None = None if landmarks is None else landmarks.of(source)
    if faces is None or detect:
        return parser.prepare(rgb, faces=faces)
    if len(faces) != 1:
        raise ValueError(
            f"{source.path}: found landmarks of {len(faces)} faces; expected one, as the whole picture is parsed. Pass "
            "--detect to have each face parsed in a crop of its own"
        )
    return parser.prepare(rgb, faces[0].landmarks)


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Any], T], items: Iterable[Any], most: int
) -> Iterator[tuple[Any, Future]]:
    """The items in their order with their futures, of which at most so many are begun before they are asked for."""
    begun: deque[tuple[Any, Future]] = deque()
    for item in items:
        begun.append((item, pool.submit(function, item)))
        if len(begun) > most:
            yield begun.popleft()
    yield from begun


def batches(
    reading: Iterable[tuple[Source, Future]], size: int, report: Report, bar: Any
) -> Iterator[list[tuple[Source, Prepared]]]:
    """Batches of pictures that could be read; smaller ones where the pictures are huge."""
    batch: list[tuple[Source, Prepared]] = []
    pixels = 0
    for source, future in reading:
        picture = result_of(future, source, report)
        if picture is None:
            bar.update()
            continue
        batch.append((source, picture))
        pixels += picture.image[..., 0].size
        if len(batch) == size or pixels > PIXELS_AT_ONCE:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def result_of(future: Future[T], source: Source, report: Report) -> T | None:
    """What a thread made of a picture, or None where the report has its error."""
    try:
        return future.result()
    except OF_ONE_PICTURE as error:
        report.failed(source, error)
        return None
