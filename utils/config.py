"""Settings from the environment, what a command line leaves out, and checks before anything is loaded."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from datasets import LABELS, SampleCache
from datasets.labels import dataset_root
from network.backbones import TIMM_PREFIX
from utils.errors import SettingsError

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Environment:
    """Where data lies and where logs go, from the environment or ``.env``."""

    data_path: Path | None
    log_path: Path

    def sample_cache(self, cache_dir: str | None, images: bool) -> SampleCache | None:
        """The cache in the folder that --cache_dir names, by default one of LOG_PATH; ``none`` is none."""
        if cache_dir is None:
            return SampleCache(self.log_path / "cache", images)
        return None if cache_dir.lower() in ("", "none") else SampleCache(Path(cache_dir).expanduser(), images)

    def dataset_root(self, dataset: str) -> Path:
        """A dataset's folder under DATA_PATH. Raises SettingsError where DATA_PATH is not set."""
        if self.data_path is None:
            example = (REPOSITORY / ".env.example").read_text().strip()
            raise SettingsError(
                "DATA_PATH is not set; it holds the dataset folders. Set it in the environment, or copy .env.example "
                f"to .env and fill it in:\n\n{example}"
            )
        return dataset_root(self.data_path, dataset)


def load_environment() -> Environment:
    """Read DATA_PATH and LOG_PATH; the environment wins over the ``.env`` beside train.py."""
    values = {key: value for key, value in os.environ.items() if value}
    if (REPOSITORY / ".env").is_file():
        try:
            from dotenv import dotenv_values
        except ImportError as error:
            raise SettingsError(
                f"{REPOSITORY / '.env'} needs the package python-dotenv (pip install python-dotenv); or set DATA_PATH "
                "and LOG_PATH in the environment and remove the file"
            ) from error
        for key, value in dotenv_values(REPOSITORY / ".env").items():
            if key in ("DATA_PATH", "LOG_PATH") and value:  # a relative path in the file starts at the file
                values.setdefault(key, str(REPOSITORY / Path(value).expanduser()))
    data_path = values.get("DATA_PATH")
    return Environment(
        data_path=Path(data_path).expanduser() if data_path else None,
        log_path=Path(values.get("LOG_PATH") or "logs").expanduser(),
    )


PAPER = {"dataset": "celebamask_hq", "model": "swin_base", "input_resolution": 512}
PAPER_BATCH = {"celebamask_hq": 4, "lapa": 4, "helen": 2}


def complete(args: argparse.Namespace, **known: str | int) -> argparse.Namespace:
    """Fill in what the command line left out, from what is ``known`` of the weights and then from the paper.

    Raises SettingsError where head and dataset do not belong together.
    """
    if args.dataset is None and args.backbone is not None:
        args.dataset = next(name for name, labels in LABELS.items() if labels.head == args.backbone)
    for key, value in {**PAPER, **known}.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    labels = LABELS[args.dataset]
    args.backbone = args.backbone or labels.head
    if args.backbone != labels.head:
        fitting = [name for name, other in LABELS.items() if other.head == args.backbone]
        raise SettingsError(
            f"--backbone {args.backbone} and --dataset {args.dataset} do not belong together: {labels.title} trains "
            f"{labels.head}, and {args.backbone} is for {', '.join(fitting)}"
        )
    if args.train_bs is None:
        args.train_bs = PAPER_BATCH[args.dataset]
    if args.pretrained is None:
        args.pretrained = "timm" if args.model.startswith(TIMM_PREFIX) else "torchvision"
    if args.expt_name is None:
        args.expt_name = f"{args.model.replace('/', '_')}_{args.dataset}_{args.input_resolution}"
    return args
