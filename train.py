"""Train SegFace.

python train.py --dataset celebamask_hq --model mobilenet --input_resolution 512
torchrun --nproc_per_node 8 train.py --dataset lapa --backbone segface_lapa --model swin_base --input_resolution 448
python train.py --dataset helen --model swin_base --train_bs 2 --expt_name helen --resume

DATA_PATH holds the dataset folders and LOG_PATH gets the runs (see .env.example). A run leaves config.json, train.log,
metrics.jsonl, curves.png, gallery.png, last.pt, best.pt and model_{epoch}.pt in LOG_PATH/ckpt_path/expt_name. It may be
killed at any moment: the same command with --resume goes on as if nothing had been.
"""

import time
import uuid
from datetime import timedelta
from functools import partial

import torch
from timm.utils import ModelEmaV3
from torch.nn.parallel import DistributedDataParallel

from datasets import LABELS, create_dataset
from network import create_segface
from utils import cli
from utils.checkpointing import Checkpoints
from utils.config import complete, load_environment
from utils.distributed import (
    barrier,
    decided_by_main,
    distributed_world,
    is_started_again,
    one_rank_of_a_node_first,
    torchrun_id,
)
from utils.engine import create_loader
from utils.flags import train_parser
from utils.logging import create_logger, write_json
from utils.precision import Precision, compiled, synchronise_batch_norm
from utils.profiling import step_profiler
from utils.report import hardware, percent, score_table, summary
from utils.reproducibility import epoch_seed, set_arithmetic
from utils.run_folder import BEST, RunFolder
from utils.sampling import EvalBatches, TrainBatches
from utils.state import TrainingState
from utils.stopping import Stopped, StopRequest
from utils.tracking import create_tracker
from utils.training import Trainer
from utils.watching import Watcher


def main() -> None:
    args = complete(train_parser(__doc__).parse_args())
    environment = load_environment()
    root = environment.dataset_root(args.dataset)
    folder = environment.log_path / args.ckpt_path / args.expt_name
    labels = LABELS[args.dataset]

    with distributed_world(args.device) as world:
        set_arithmetic(world.device, args.deterministic, args.tf32)
        precision = Precision(world.device, args.amp, args.channels_last)

        # Data: reading it first, so that a missing file is told before anything is downloaded or written.
        cache = environment.sample_cache(args.cache_dir, args.cache_images)
        train_set = create_dataset(args.dataset, root, "train", args.input_resolution, seed=args.seed, cache=cache)
        val_set = create_dataset(args.dataset, root, "val", args.input_resolution, cache=cache)
        ranks = (world.rank, world.size)
        train_batches = TrainBatches(len(train_set), args.train_bs, *ranks, args.seed, args.grad_accum)
        train_batches.check_enough()
        train_loader = create_loader(train_set, train_batches, args.num_workers, world)
        val_batches = EvalBatches(len(val_set), args.val_bs, *ranks)
        val_loader = create_loader(val_set, val_batches, args.num_workers, world)

        # What to go on from, if anything
        of_start = {"launch": world.launch, "torchrun": torchrun_id(), "run_id": uuid.uuid4().hex[:8]}
        run = RunFolder(folder, {**vars(args), "ranks": world.size, **of_start})
        found, notices = decided_by_main(world, partial(run.look_for_a_run, args.resume, is_started_again(world)))
        content = run.read(found) if found else None

        # Model
        torch.manual_seed(args.seed)
        with one_rank_of_a_node_first(world):
            start = "none" if found else args.pretrained
            model = create_segface(args.model, args.backbone, args.input_resolution, start)
        if args.sync_bn:
            model = synchronise_batch_norm(model, world.device)
        model.to(world.device, memory_format=precision.memory_format)
        optimizer = torch.optim.AdamW(
            model.parameters(), args.lr, weight_decay=args.weight_decay, fused=world.device.type == "cuda"
        )
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, args.lr_schedule, args.lr_schedule_gamma)
        ema = ModelEmaV3(model, args.ema) if args.ema else None
        state = TrainingState(model, optimizer, scheduler, precision.scaler(), ema, world)
        checkpoints = Checkpoints(folder, run.config, args.checkpoint_minutes)
        if found:
            notices += checkpoints.resume(content, found, state)
            notices += [f"resuming at {state.progress.where}"]
            del content
        elif args.resume:
            notices += [f"nothing to resume in {folder}: starting"]

        # The run's folder
        barrier()  # every rank has read what it goes on from before the main one touches the folder
        aside = run.make_room() if world.is_main and not found else None
        logger = checkpoints.logger = create_logger(folder / "train.log", world.is_main)
        if world.is_main:
            write_json(checkpoints.config, folder / "config.json")
        notices += [f"an earlier run was here; it is now {aside}"] if aside else []
        for notice in notices:
            logger.info(notice)
        logger.info(f"run {folder} on {world.size} x {hardware(world.device)}")
        for split, dataset in (("train", train_set), ("val", val_set)):
            logger.info(f"{labels.title} {split}: {len(dataset):,} images (published: {labels.sizes[split]:,})")
        mode = args.wandb if world.is_main else "disabled"
        tracker = create_tracker(mode, folder, args.expt_name, checkpoints.config, checkpoints.config["run_id"], logger)
        watcher = Watcher(folder, val_set, args.samples, state, logger, tracker)

        # Epochs
        ddp = DistributedDataParallel(model, gradient_as_bucket_view=True) if world.size > 1 else model
        trained_model = compiled(ddp, world.device) if args.compile else ddp
        stop = StopRequest(announce=world.is_main)
        limits = (args.grad_clip, args.max_bad_steps, args.log_interval)
        trainer = Trainer(trained_model, state, train_loader, precision, checkpoints, stop, logger, tracker, *limits)
        progress = state.progress
        try:
            with stop, step_profiler(folder / "trace.json", args.profile and world.is_main, logger) as profiler:
                for epoch in range(progress.epoch, args.epochs):
                    title = f"epoch {epoch}/{args.epochs - 1}"
                    is_last = epoch + 1 == args.epochs
                    lr = optimizer.param_groups[0]["lr"]
                    state.seed(epoch_seed(args.seed, epoch, world.rank))
                    train_set.set_epoch(epoch)
                    train_batches.epoch = epoch
                    means = trainer.train_epoch(title, profiler)
                    is_validated = is_last or (epoch + 1) % args.val_interval == 0
                    trained = time.perf_counter()
                    scores = trainer.validate(val_loader, args.dataset, title) if is_validated else {"val": None}
                    scheduler.step()
                    progress.next_epoch()

                    entry = {"epoch": epoch, "iteration": progress.iteration, "lr": lr, **means, **scores}
                    watcher.note(entry)
                    checkpoints.save_epoch(state, scores, args.save_interval, is_last)
                    watcher.draw(entry)
                    if complaint := cache and cache.complaint():
                        logger.warning(complaint)
                    seconds = means["seconds"] + time.perf_counter() - trained
                    left = timedelta(seconds=round(seconds * (args.epochs - epoch - 1)))
                    logger.info(f"{title}: {summary(means, scores, lr)}, ETA {left}")
                    if is_last:
                        logger.info(
                            f"validation, {scores['val']['num_images']} images\n{score_table(scores['val'], labels)}"
                        )
            checkpoints.check_all_written()
            logger.info(f"done: {folder}, best validation mean F1 {percent(max(checkpoints.best[BEST], 0)).strip()}")
        except Stopped as signal:
            checkpoints.check_all_written()
            logger.info(
                f"stopped by {signal} at {progress.where}; the same command with --resume goes on from {checkpoints.at}"
            )
        finally:
            tracker.finish()


if __name__ == "__main__":
    cli.run(main)
