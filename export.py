"""Export a SegFace to ONNX, and see that onnxruntime computes with it what PyTorch does.

python export.py --weights mobilenet_celeba_512 --output segface.onnx
python export.py --weights logs/ckpts/lapa/best.pt --output lapa.onnx --output_type labels
python export.py --weights mobilenet_celeba_512 --output int8.onnx --int8 --calibration photos

The file takes pictures of a fixed size in batches of any; normalisation is inside. predict.py runs it without PyTorch.
A file that differs from PyTorch by more than rounding is not kept.
"""

import tempfile
from pathlib import Path

from utils import cli
from utils.errors import SettingsError
from utils.export.flags import export_parser
from utils.export.int8 import CAN_BE_INT8, calibration_images, quantize, split
from utils.export.onnx_export import to_onnx
from utils.export.parity import compare, sample_images
from utils.folders import prepare_folder
from utils.inference.onnx_model import OnnxModel
from utils.inference.torch_model import TorchModel


def main() -> None:
    args = export_parser(__doc__).parse_args()
    if args.output.is_dir():
        raise SettingsError(f"--output {args.output} is a folder; name a file in it")
    if args.calibration and not args.int8:
        raise SettingsError("--calibration is for --int8; pass both")
    if args.output.exists() and not args.overwrite:
        raise SettingsError(f"{args.output} is there; pass --overwrite, or another --output")
    if args.int8 and not args.calibration:
        raise SettingsError("--int8 needs --calibration PATH..., pictures that show what the model will see")
    prepare_folder(args.output.parent, "Choose another --output")

    # Model
    model = TorchModel(args.weights, "cpu", "off", args.dataset, args.model, args.input_resolution)
    print(f"{args.weights}: {model.description}")
    encoder = model.network.config["model"]
    if args.int8 and encoder not in CAN_BE_INT8:
        raise SettingsError(f"--int8 is for {', '.join(CAN_BE_INT8)}; these weights are of {encoder}")

    # Export, beside the place of the result, which it takes when it has passed
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=f".{args.output.name}.") as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, path, args.input_type, args.output_type, source=str(args.weights))
        exported = OnnxModel(path, "cpu")
        parity = compare(model, exported, sample_images(model.resolution))
        print(f"onnxruntime beside PyTorch, {parity.in_words()}")
        parity.check()

        if args.int8:
            pictures, others = split(calibration_images(args.calibration, model.resolution))
            path = quantize(path, Path(folder) / "int8.onnx", pictures, model.wants_landmarks, exported.takes_floats)
            parity = compare(model, OnnxModel(path, "cpu"), others)
            seen = "which the calibration did not see" if others is not pictures else "those of the calibration"
            print(f"int8 beside PyTorch on {len(others)} pictures, {seen}: {parity.in_words()}")
        path.replace(args.output)
    print(f"wrote {args.output}, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
