"""Parse pictures and videos: label maps of their own size, overlays, masks, numbers.

python predict.py --input face.jpg --output parsed
python predict.py --input photos 'more/*.png' --output parsed --detect --json --classes hair,l_eye
python predict.py --weights segface.onnx --input clip.mp4 --output parsed --smooth 0.6

Of each picture labels/NAME.png is a palette picture whose pixels are the classes, and overlays/NAME.jpg shows it with a
legend. A video becomes videos/NAME.mp4. A file that cannot be parsed is told of at the end, and the rest is done. With
an ONNX file PyTorch is not needed.
"""

import signal
import sys
import time
import warnings

import cv2
from PIL import Image

from utils import cli
from utils.errors import SettingsError
from utils.folders import prepare_folder
from utils.inference.flags import predict_parser
from utils.inference.landmarks import LandmarkFile
from utils.inference.outputs import Outputs
from utils.inference.pipeline import Report, parse_pictures
from utils.inference.sources import Source, find_sources
from utils.inference.video import Window
from utils.inference.video_pipeline import VideoOptions, parse_video, video_paths
from utils.memory import keep_freed_memory
from utils.parser import FaceParser


def main() -> None:
    args = predict_parser(__doc__).parse_args()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as many pixels are an error all the same
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # what it warns of is reported here
    keep_freed_memory()

    # What there is to do
    found = find_sources(args.input, args.output)
    report = Report(list(found.problems))
    if found.videos_left:
        report.notice(f"{found.videos_left} videos in the folders are left out; name them to have them parsed")
    outputs = Outputs(args.output, args.classes, args.json, args.probs, args.overwrite)
    videos = [source for source in found.sources if source.is_video]
    check_flags(args, videos)
    sources = missing(found.sources, outputs, args.skip_existing, args.frames)
    landmarks = LandmarkFile(args.landmarks) if args.landmarks else None
    window = Window("SegFace") if args.show else None

    # Model
    if sources:
        prepare_folder(args.output, "Choose another --output")
        parser = FaceParser.from_pretrained(
            args.weights, args.device, args.detect and landmarks is None, args.detector, args.min_score,
            args.batch_size, args.label_order, amp=args.amp, dataset=args.dataset, model=args.model,
            resolution=args.input_resolution,
        )  # fmt: skip
        check_model(parser, args)
        report.notice(f"{args.weights}: {parser.model.description}")
        if parser.model.wants_landmarks and not args.detect and landmarks is None:
            report.notice(
                "this model warps the face by five landmarks; as none are given, those of a face in the middle of an "
                "aligned crop are taken. Pass --detect, or --landmarks FILE"
            )

    # Pictures, then videos
    started = time.perf_counter()
    pictures = [source for source in sources if not source.is_video]
    if pictures:
        parse_pictures(parser, pictures, outputs, report, args.threads, args.batch_size, landmarks, args.detect)
    options = VideoOptions(args.batch_size, args.threads, args.smooth, args.frames, landmarks, args.detect, window)
    for video in (source for source in sources if source.is_video):
        parse_video(parser, video, outputs, report, options)

    # Report
    skipped = len(found.sources) - len(sources)
    sys.exit(report.conclude(args.output, time.perf_counter() - started, skipped))


def check_flags(args, videos: list[Source]) -> None:
    """Raise SettingsError for flags that do not go together."""
    if args.detector and not args.detect:
        raise SettingsError("--detector is for --detect; pass both")
    if args.detector and args.landmarks:
        raise SettingsError("--landmarks says where the faces are, so there is nothing for --detector to do; drop one")
    if videos and (args.classes or args.json or args.probs) and not args.frames:
        raise SettingsError("--classes, --json and --probs are of pictures; pass --frames to have them of every frame")
    if (args.smooth or args.show or args.frames) and not videos:
        raise SettingsError("--smooth, --show and --frames are for videos; --input names none")


def check_model(parser: FaceParser, args) -> None:
    """Raise SettingsError for flags that the model cannot follow."""
    unknown = [name for name in args.classes if name not in parser.table.names]
    if unknown:
        names = ", ".join(parser.table.names)
        raise SettingsError(f"--classes {','.join(unknown)}: {parser.table.title} has the classes {names}")
    if args.probs and not parser.model.gives_logits:
        raise SettingsError(f"--probs: {args.weights} gives label maps; export it with --output_type logits")
    if args.landmarks and not args.detect and not parser.model.wants_landmarks:
        raise SettingsError("--landmarks: this model needs none; with --detect they say which faces to crop")


def missing(sources: tuple[Source, ...], outputs: Outputs, skip_existing: bool, frames: bool) -> list[Source]:
    """The sources whose results are not there. Without ``skip_existing`` SettingsError is raised for those that are."""
    paths = {
        source: video_paths(outputs, source, frames) if source.is_video else outputs.paths(source.name)
        for source in sources
    }
    if outputs.overwrite:
        return list(sources)
    if skip_existing:
        return [source for source in sources if not all(path.exists() for path in paths[source])]
    there = [str(path) for of_source in paths.values() for path in of_source if path.exists()]
    if there:
        shown = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
        raise SettingsError(
            f"{shown} would be overwritten; pass --skip_existing to make what is missing, --overwrite to make all "
            "anew, or another --output"
        )
    return list(sources)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: nothing half is left
    cli.run(main)
