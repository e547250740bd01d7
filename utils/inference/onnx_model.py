"""A model in an ONNX file, as export.py writes it, run by onnxruntime without PyTorch."""

import json
from pathlib import Path

import numpy as np

from datasets.errors import DataError
from datasets.labels import LABELS
from utils.errors import SettingsError
from utils.inference.crops import CANONICAL

METADATA_KEY = "segface"
FLAGS = {"resolution": "input_resolution"}  # where a flag is not called as the option


class OnnxModel:
    """See ``models.Model``. Threads may share one."""

    def __init__(self, source: str | Path, device: str = "auto", threads: int = 0, **others: object) -> None:
        refused = [name for name, value in others.items() if value not in (None, "off")]
        if refused:
            flags = ", ".join("--" + FLAGS.get(name, name) for name in refused)
            raise SettingsError(f"{source} is an ONNX file, in which all is fixed; leave out {flags}")
        try:
            import onnxruntime
        except ImportError as error:
            raise SettingsError(f"{source} needs onnxruntime ({error}); pip install onnxruntime") from error
        if not Path(source).is_file():
            raise FileNotFoundError(f"no ONNX file at {source}; export.py makes one of any weights")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: all cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores, too
        options.log_severity_level = 3  # errors
        wanted = providers(device, onnxruntime.get_available_providers())
        try:
            self.session = onnxruntime.InferenceSession(source, options, providers=wanted)
        except Exception as error:  # onnxruntime's exceptions have no common class of their own
            reason = str(error).splitlines()[0]
            raise DataError(f"{source}: found no model that onnxruntime can run ({reason}); export it again") from error
        try:
            settings = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA_KEY])
            self.labels = LABELS[settings["dataset"]]
            self.resolution = int(settings["resolution"])
            self.gives_logits = settings["output"] == "logits"
            inputs = {value.name: value for value in self.session.get_inputs()}
            self.takes_floats = inputs["image"].type == "tensor(float)"
            self.wants_landmarks = "landmarks" in inputs
            where = self.session.get_providers()[0].removesuffix("ExecutionProvider").lower()
            self.description = (
                f"{settings['model']} for {self.labels.title} at {self.resolution}, onnxruntime on {where}"
            )
            self.check()
        except Exception as error:  # what is told may fit or not in any way, and onnxruntime's own errors see to that
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{source}: found no SegFace of export.py ({reason}); export it again") from error

    def check(self) -> None:
        """Run it on two pictures, and raise ValueError where that does not give what its metadata say."""
        side = self.resolution
        found = self.logits(np.zeros((2, side, side, 3), np.uint8), np.float32(CANONICAL * side)[None].repeat(2, 0))
        if found.shape != (2, self.labels.num_classes, side, side):
            raise ValueError(f"its output has the shape {found.shape}")

    def logits(self, images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        feed = {"image": np.float32(batch) / 255 if self.takes_floats else batch}
        if self.wants_landmarks:
            feed["landmarks"] = landmarks
        output = self.session.run(None, feed)[0]
        if self.gives_logits:
            return output
        return np.float32(output[:, None] == np.arange(self.labels.num_classes)[:, None, None])


def providers(device: str, available: list[str]) -> list[str]:
    """What onnxruntime is to run on, for ``auto``, ``cpu``, ``cuda``. Raises SettingsError for what it cannot."""
    gpu, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    if device == "cpu" or (device == "auto" and gpu not in available):
        return [cpu]
    if device not in ("auto", "cuda"):
        raise SettingsError(f"--device {device}: with an ONNX file choose auto, cpu or cuda")
    if gpu not in available:
        raise SettingsError("--device cuda: this onnxruntime runs on a CPU alone; pip install onnxruntime-gpu")
    return [gpu, cpu]
