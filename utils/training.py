"""One epoch of training: steps that can be interrupted, skipped and watched."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from logging import Logger

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.data import DataLoader
from tqdm import tqdm

from utils.checkpointing import Checkpoints
from utils.distributed import any_rank, gather_from_ranks, sum_over_ranks, sync_buffers
from utils.engine import Reader, evaluate, to_device
from utils.errors import PeerError
from utils.logging import progress_bar
from utils.losses import segface_loss
from utils.memory import peak_memory_gb, reset_peak_memory
from utils.precision import Precision
from utils.state import SUMS, TrainingState
from utils.stopping import Stopped, StopRequest
from utils.tracking import Tracker


@dataclass
class Trainer:
    """Trains a model, epoch by epoch, and saves it inside epochs too.

    ``model`` is that of ``state``, wrapped for its ranks. ``grad_clip`` is the largest norm of a gradient, if any.
    After ``max_bad_steps`` steps in a row whose loss is not finite the training ends.
    """

    model: nn.Module
    state: TrainingState
    loader: DataLoader
    precision: Precision
    checkpoints: Checkpoints
    stop: StopRequest
    logger: Logger
    tracker: Tracker
    grad_clip: float | None
    max_bad_steps: int
    log_interval: int

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.state.model.parameters() if parameter.requires_grad]
        self.statistics = Statistics(self.state.model)
        self.batches = self.loader.batch_sampler

    def train_epoch(self, title: str, profiler: torch.profiler.profile | None = None) -> dict[str, float]:
        """Train on every batch of the epoch that is left.

        Returns the means over all steps and ranks of ``loss``, ``ce``, ``dice`` and ``grad_norm``; the ``seconds``
        that the epoch's steps took, before an interruption too, ``samples_per_second`` of all ranks together, and the
        share of that time waited for data, ``data_wait``; ``peak_memory_gb`` of this process, and ``skipped_steps``.

        Raises Stopped when asked to stop, FloatingPointError when the loss stays not finite, and what a rank could not
        read there, PeerError on the other ranks; ``last.pt`` is written before.
        """
        progress, world = self.state.progress, self.state.world
        self.state.model.train()
        reset_peak_memory(world.device)
        progress.sums = progress.sums.to(world.device)
        self.batches.seen = progress.images
        steps = progress.step + self.batches.steps
        images, first = self.batches.images_per_step, progress.images
        total = first + self.batches.steps * images
        reader = Reader(self.loader)
        started, seconds, waited = time.perf_counter(), progress.seconds, progress.waited
        with progress_bar(title, total, world.is_main, first) as bar:
            upcoming = reader.read(self.batches.accumulate)
            self.heed(reader, any_rank(world, reader.error is not None, self.stop.received is not None))
            while upcoming:
                batches = upcoming
                self.statistics.keep()
                losses, norm = self.backward(batches)
                upcoming = reader.read(self.batches.accumulate)  # while a GPU is at work
                votes = (self.is_bad(losses[0], norm), reader.error is not None, self.stop.received is not None)
                bad, *requests, due = any_rank(world, *votes, world.is_main and self.checkpoints.due)
                progress.iteration += 1
                progress.step += 1
                progress.images += images
                if bad:
                    self.skip(batches, losses[0], f"{title} step {progress.step}")
                else:
                    self.apply()
                    progress.bad_steps = 0
                    values = torch.stack([*losses, norm])  # float16 may overflow, and has no norm then
                    progress.sums += torch.stack([values.nan_to_num(0, 0, 0), values.isfinite()], 1)
                progress.seconds = seconds + time.perf_counter() - started
                progress.waited = waited + reader.waited
                bar.update(images)
                self.report(bar, title, steps)
                if profiler:
                    profiler.step()
                if (due or any(requests)) and not progress.bad_steps:  # else the weights may be what is bad
                    self.checkpoints.save_last(self.state)
                self.heed(reader, requests)
        sums, counts = sum_over_ranks(progress.sums.clone()).T.tolist()
        if not counts[0]:
            raise FloatingPointError(f"{title}: no step had a finite loss; look at the data, and lower --lr")
        return {
            **{name: value / max(1, count) for name, value, count in zip(SUMS, sums, counts, strict=True)},
            "seconds": progress.seconds,
            "samples_per_second": progress.images / progress.seconds,
            "data_wait": progress.waited / progress.seconds,
            "peak_memory_gb": peak_memory_gb(world.device),
            "skipped_steps": progress.skipped_steps,
        }

    def validate(self, loader: DataLoader, dataset: str, title: str) -> dict[str, dict]:
        """Scores of the weights, ``val``, and of their average if there is one, ``val_ema``; see ``evaluate``.

        Raises Stopped when asked to stop, with ``last.pt`` written.
        """
        world, state = self.state.world, self.state
        models = {"val": state.model} | ({"val_ema": state.ema.module} if state.ema else {})
        if any_rank(world, world.is_main and self.checkpoints.due)[0] and not state.progress.bad_steps:
            self.checkpoints.save_last(state)
        scores = {}
        try:
            for name, model in models.items():
                sync_buffers(model)
                scores[name] = evaluate(model, loader, dataset, world, f"{title} validation", self.stop)
        except Stopped:
            if not state.progress.bad_steps:
                self.checkpoints.save_last(state)
            raise
        return scores

    def backward(self, batches: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of the mean loss of some batches: loss, CE and Dice (3,), and the norm of the gradient ()."""
        self.state.optimizer.zero_grad(set_to_none=True)
        losses = 0
        for number, batch in enumerate(batches, start=1):
            images, labels, landmarks = to_device(batch, self.state.world.device, self.precision.memory_format)
            waits = number < len(batches) and self.state.world.size > 1
            with self.model.no_sync() if waits else nullcontext():
                with self.precision.autocast():
                    logits = self.model(images, landmarks)
                loss, parts = segface_loss(logits, labels)
                self.state.scaler.scale(loss / len(batches)).backward()
            losses += torch.stack([loss.detach(), parts["ce"], parts["dice"]]) / len(batches)
        self.state.scaler.unscale_(self.state.optimizer)
        norm = get_total_norm([parameter.grad for parameter in self.parameters])
        if self.grad_clip:
            clip_grads_with_norm_(self.parameters, self.grad_clip, norm)
        return losses, norm

    def is_bad(self, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Whether a step must not be applied. That float16 overflows while its scale is sought is no fault."""
        seeking = self.state.scaler.is_enabled() and self.state.scaler.get_scale() >= 1
        return ~loss.isfinite() if seeking else ~(loss.isfinite() & norm.isfinite())

    def apply(self) -> None:
        """Take the step."""
        self.state.scaler.step(self.state.optimizer)
        self.state.scaler.update()
        if self.state.ema:
            self.state.ema.update(self.state.model)

    def skip(self, batches: list[dict], loss: torch.Tensor, title: str) -> None:
        """Undo a step that was not applied, and tell of which samples it was."""
        progress = self.state.progress
        self.statistics.restore()
        self.state.scaler.update()
        progress.bad_steps += 1
        progress.skipped_steps += 1
        of_ranks = gather_from_ranks((loss.item(), [name for batch in batches for name in batch["name"]]))
        at_fault = [(value, names) for value, names in of_ranks if not math.isfinite(value)]
        what = f"the loss is {at_fault[0][0]}" if at_fault else "the gradient is not finite"
        samples = ", ".join(name for _, names in at_fault or of_ranks for name in names)
        self.logger.warning(f"{title}: {what}; the step is not applied. Samples: {samples}")
        if progress.bad_steps >= self.max_bad_steps:
            raise FloatingPointError(
                f"{title}: {what}, in the last of {progress.bad_steps} such steps in a row. None of them was applied, "
                f"and {self.checkpoints.folder} holds what was saved before. Look at the samples that train.log names, "
                "allow more with --max_bad_steps, or lower --lr (--resume keeps it, unless last.pt and previous.pt are "
                "moved away: then the newest weights are gone on from)"
            )

    def heed(self, reader: Reader, requests: list[bool]) -> None:
        """End the epoch, on all ranks together, if one of them failed or was asked to stop."""
        failed, stopped = requests
        if failed:
            raise reader.error or PeerError("another rank could not read its images; see its message")
        if stopped:
            raise Stopped(self.stop.received or "a signal to another rank")

    def report(self, bar: tqdm, title: str, steps: int) -> None:
        """Show the mean loss so far, at the first step and at intervals."""
        progress = self.state.progress
        at_interval = progress.step % self.log_interval == 0
        if at_interval or progress.step in (1, steps):
            loss = (progress.sums[0, 0] / progress.sums[0, 1]).item()
            speed = progress.images / progress.seconds
            bar.set_postfix(loss=f"{loss:.4f}", lr=f"{self.state.optimizer.param_groups[0]['lr']:.1e}")
            if at_interval:
                self.logger.info(f"{title} step {progress.step}/{steps}: loss {loss:.4f}, {speed:.1f} samples/s")
                self.tracker.log({"train/loss_so_far": loss, "samples_per_second": speed}, progress.iteration)


class Statistics:
    """The running statistics of BatchNorm: a forward pass changes them, and a bad one would spoil them for good."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.kept = [buffer.clone() for buffer in self.buffers]

    def keep(self) -> None:
        """Note them as they are."""
        if self.buffers:
            torch._foreach_copy_(self.kept, self.buffers)

    def restore(self) -> None:
        """Put back what was noted."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.kept)
