"""Test SegFace: the table of class F1 and mean F1, as published, results.json, and pictures.

python test.py --model_path mobilenet_celeba_512
python test.py --dataset lapa --model swin_base --input_resolution 448 --expt_name lapa
torchrun --nproc_per_node 8 test.py --model_path logs/ckpts/lapa/model_299.pt --test_bs 16

What the weights say of their dataset, encoder and resolution need not be said again; flags override it. Every image of
the split counts exactly once. results.json and samples/gallery.png go beside the weights of a run, or to
LOG_PATH/ckpt_path/expt_name.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

from datasets import LABELS, create_dataset
from network import PUBLISHED, create_segface, load_weights
from network.checkpoint import config_of, resolve_source
from network.files import read_file
from utils import cli
from utils.config import complete, load_environment
from utils.distributed import distributed_world, one_rank_of_a_node_first
from utils.engine import create_loader, evaluate
from utils.errors import SettingsError
from utils.flags import test_parser
from utils.folders import prepare_folder
from utils.logging import create_logger, write_json
from utils.precision import Precision
from utils.report import hardware, percent, score_table, sha256, versions
from utils.reproducibility import set_arithmetic
from utils.samples import choose, predict
from utils.sampling import EvalBatches
from utils.visualize import can_draw, gallery, try_to_write


def main() -> None:
    args = test_parser(__doc__).parse_args()
    environment = load_environment()
    runs = environment.log_path / args.ckpt_path

    with distributed_world(args.device) as world:
        set_arithmetic(world.device, args.deterministic, args.tf32)

        # Weights
        source = str(args.model_path or weights_of_run(complete(argparse.Namespace(**vars(args))), runs))
        with one_rank_of_a_node_first(world):
            path = resolve_source(source)
        checkpoint = read_file(path)
        named = args.expt_name is not None or source in PUBLISHED
        args = complete(args, **known_settings(source, checkpoint))
        head = PUBLISHED[source].head if source in PUBLISHED else config_of(checkpoint).get("head", args.backbone)
        if head != args.backbone:
            raise SettingsError(
                f"{source} was trained with head {head}; --dataset {args.dataset} needs {args.backbone}"
            )
        folder = folder_of_results(args, path, runs, named)
        if world.is_main:
            prepare_folder(folder)
        model = create_segface(args.model, args.backbone, args.input_resolution, pretrained="none")
        load_weights(model, path).to(world.device)

        # Data and scores
        root = environment.dataset_root(args.dataset)
        cache = environment.sample_cache(args.cache_dir, args.cache_images)
        dataset = create_dataset(args.dataset, root, args.split, args.input_resolution, augment=False, cache=cache)
        batches = EvalBatches(len(dataset), args.test_bs, world.rank, world.size)
        loader = create_loader(dataset, batches, args.num_workers, world)
        scores = evaluate(model, loader, args.dataset, world, args.split, precision=Precision(world.device, args.amp))

        # Report
        if world.is_main:
            labels = LABELS[args.dataset]
            logger = create_logger(None, is_main=True)
            published = f"published: {labels.sizes[args.split]:,}"
            model_at = f"{args.model} at {args.input_resolution}"
            title = f"{labels.title} {args.split}, {scores['num_images']:,} images ({published})"
            logger.info(f"{title}, {model_at}\n\n{score_table(scores, labels)}\n")
            if complaint := cache and cache.complaint():
                logger.warning(complaint)
            results = {
                "weights": source,
                "weights_path": str(path.resolve()),
                "weights_sha256": sha256(path),
                "dataset": args.dataset,
                "split": args.split,
                "model": args.model,
                "head": args.backbone,
                "resolution": args.input_resolution,
                "amp": args.amp,
                **scores,
                "versions": versions(),
                "hardware": f"{world.size} x {hardware(world.device)}",
            }
            name = "results.json" if args.split == "test" else f"results_{args.split}.json"
            write_json(results, folder / name)
            logger.info(f"wrote {folder / name}")
            if args.samples and can_draw(logger):
                picture = folder / "samples" / name.replace("results", "gallery").replace(".json", ".png")
                rows = predict(model, dataset, choose(dataset, args.samples), world)
                headline = f"{labels.title} {args.split}, {model_at}: mean F1 {percent(scores['mean_f1']).strip()}"
                if try_to_write(picture, partial(gallery, rows, labels, title=headline), logger):
                    logger.info(f"wrote {picture}")


def weights_of_run(args: argparse.Namespace, runs: Path) -> Path:
    """The best weights of a run, or its latest ones."""
    folder = runs / args.expt_name
    if (folder / "best.pt").is_file():
        return folder / "best.pt"
    by_epoch = sorted(folder.glob("model_*.pt"), key=lambda path: path.stat().st_mtime)
    if by_epoch:
        return by_epoch[-1]
    raise SettingsError(
        f"no weights in {folder}; pass --model_path PATH, a published name ({', '.join(PUBLISHED)}), or the "
        "--ckpt_path and --expt_name of a run"
    )


def folder_of_results(args: argparse.Namespace, path: Path, runs: Path, named: bool) -> Path:
    """The run that was named, or that the weights lie in; else a folder with the name of what was tested."""
    if not named and (path.parent / "config.json").is_file():
        return path.parent
    return runs / args.expt_name


def known_settings(source: str, checkpoint: dict) -> dict[str, str | int]:
    """What a published name, or the settings in one of our checkpoints, tells about the weights."""
    if source in PUBLISHED:
        published = dataclasses.asdict(PUBLISHED[source])
        return {
            "dataset": published["dataset"],
            "model": published["model"],
            "input_resolution": published["resolution"],
            "expt_name": source,
        }
    config = config_of(checkpoint)
    keys = {"dataset": "dataset", "model": "model", "input_resolution": "resolution", "expt_name": "expt_name"}
    of_head = {labels.head: name for name, labels in LABELS.items()}
    known = {"dataset": of_head[config["head"]]} if config.get("head") in of_head else {}
    return known | {flag: config[key] for flag, key in keys.items() if key in config}


if __name__ == "__main__":
    cli.run(main)
