"""Train SegFace.

python train.py --dataset celebamask_hq --model mobilenet --input_resolution 512
torchrun --nproc_per_node 8 train.py --dataset lapa --backbone segface_lapa --model swin_base --input_resolution 448
python train.py --dataset helen --model swin_base --train_bs 2 --expt_name helen --resume

DATA_PATH holds the dataset folders and LOG_PATH gets the runs (see .env.example). A run leaves config.json, train.log,
metrics.jsonl, curves.png, last.pt, best.pt and model_{epoch}.pt in LOG_PATH/ckpt_path/expt_name.
"""

import time
from datetime import timedelta
from functools import partial

import torch
from torch.nn.parallel import DistributedDataParallel

from datasets import LABELS, create_dataset
from network import create_segface
from utils import cli
from utils.checkpointing import BEST, LAST, Checkpoints, Progress
from utils.config import SettingsError, complete, load_environment, prepare_folder, train_parser
from utils.distributed import barrier, distributed_world, one_rank_of_a_node_first, sync_buffers
from utils.engine import create_loader, evaluate, train_one_epoch
from utils.logging import MetricsFile, create_logger, write_json
from utils.report import hardware, percent, score_table
from utils.reproducibility import epoch_seed, set_arithmetic
from utils.sampling import EvalBatches, TrainBatches
from utils.visualize import can_draw, curves, try_to_write


def main() -> None:
    args = complete(train_parser(__doc__).parse_args())
    environment = load_environment()
    root = environment.dataset_root(args.dataset)
    folder = environment.log_path / args.ckpt_path / args.expt_name
    labels = LABELS[args.dataset]

    with distributed_world(args.device) as world:
        set_arithmetic(world.device, args.deterministic)

        # Data: reading it first, so that a missing file is told before anything is downloaded or written.
        train_set = create_dataset(args.dataset, root, "train", args.input_resolution, seed=args.seed)
        val_set = create_dataset(args.dataset, root, "val", args.input_resolution)
        train_batches = TrainBatches(len(train_set), args.train_bs, world.rank, world.size, args.seed)
        val_batches = EvalBatches(len(val_set), args.val_bs, world.rank, world.size)
        if not len(train_batches):
            fitting = len(train_set) // world.size
            remedy = f"lower --train_bs to {fitting}" if fitting else f"start at most {len(train_set)} processes"
            raise SettingsError(
                f"the train split has {len(train_set)} images, fewer than one batch of --train_bs {args.train_bs} on "
                f"{world.size} ranks; {remedy}"
            )
        train_loader = create_loader(train_set, train_batches, args.num_workers, world)
        val_loader = create_loader(val_set, val_batches, args.num_workers, world)

        if world.is_main:
            prepare_folder(folder)

        # Model
        torch.manual_seed(args.seed)
        with one_rank_of_a_node_first(world):
            will_be_loaded = args.resume and (folder / LAST).is_file()
            start = "none" if will_be_loaded else args.pretrained
            model = create_segface(args.model, args.backbone, args.input_resolution, start)
        model.to(world.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, args.lr_schedule, args.lr_schedule_gamma)

        # The run's folder
        checkpoints = Checkpoints(folder, {**vars(args), "ranks": world.size})
        resumed = checkpoints.resume(model, optimizer, scheduler) if args.resume else None
        progress = resumed or Progress()
        barrier()  # every rank has read last.pt before the main one touches the folder
        aside = checkpoints.set_aside() if world.is_main and resumed is None else None
        logger = create_logger(folder / "train.log", world.is_main)
        metrics_file = MetricsFile(folder / "metrics.jsonl")
        if world.is_main:
            write_json(checkpoints.config, folder / "config.json")
            metrics_file.keep_before(progress.epoch)
        if aside:
            logger.info(f"an earlier run was here; it is now {aside}")
        if args.resume:
            logger.info(
                f"resuming at epoch {progress.epoch}" if resumed else f"nothing to resume in {folder}: starting"
            )
        for change in checkpoints.changes:
            logger.info(f"another setting than before: {change}")
        logger.info(f"run {folder} on {world.size} x {hardware(world.device)}")
        for split, dataset in (("train", train_set), ("val", val_set)):
            logger.info(f"{labels.title} {split}: {len(dataset):,} images (published: {labels.sizes[split]:,})")
        draws = world.is_main and can_draw(logger)
        ddp = DistributedDataParallel(model) if world.size > 1 else model

        # Epochs
        started, first = time.perf_counter(), progress.epoch
        for epoch in range(first, args.epochs):
            torch.manual_seed(epoch_seed(args.seed, epoch, world.rank))
            train_set.set_epoch(epoch)
            train_batches.epoch = epoch
            lr = optimizer.param_groups[0]["lr"]
            title = f"epoch {epoch}/{args.epochs - 1}"
            means = train_one_epoch(ddp, train_loader, optimizer, world, title, logger, args.log_interval)
            scheduler.step()
            progress.epoch, progress.iteration = epoch + 1, progress.iteration + len(train_loader)
            is_last = progress.epoch == args.epochs

            scores = None
            if progress.epoch % args.val_interval == 0 or is_last:
                sync_buffers(model)
                scores = evaluate(model, val_loader, args.dataset, world, f"{title} validation")

            if world.is_main:
                improved = scores is not None and (scores["mean_f1"] or 0.0) > progress.best_f1
                if improved:
                    progress.best_f1 = scores["mean_f1"] or 0.0
                entry = {"epoch": epoch, "iteration": progress.iteration, "lr": lr, **means, "val": scores}
                metrics_file.append(entry)
                if improved:
                    checkpoints.save_weights(model, progress, BEST)
                if progress.epoch % args.save_interval == 0 or is_last:
                    checkpoints.save_weights(model, progress, f"model_{epoch}.pt")
                checkpoints.save_last(model, optimizer, scheduler, progress)
                if scores and draws:
                    draw = partial(curves, metrics_file.read(), labels, title=args.expt_name)
                    try_to_write(folder / "curves.png", draw, logger)
            left = (time.perf_counter() - started) / (progress.epoch - first) * (args.epochs - progress.epoch)
            f1 = f", val mean F1 {percent(scores['mean_f1']).strip()}" if scores else ""
            logger.info(
                f"{title}: loss {means['loss']:.4f}, CE {means['ce']:.4f}, Dice {means['dice']:.4f}{f1}, lr {lr:.1e}, "
                f"{means['samples_per_second']:.1f} samples/s, ETA {timedelta(seconds=round(left))}"
            )
            if is_last:
                logger.info(f"validation, {scores['num_images']} images\n{score_table(scores, labels)}")
        logger.info(f"done: {folder}, best validation mean F1 {percent(max(progress.best_f1, 0)).strip()}")


if __name__ == "__main__":
    cli.run(main)
