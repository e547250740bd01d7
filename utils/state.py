"""All that training changes: what a checkpoint must hold for a run to go on as if it had never stopped."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from timm.utils import ModelEmaV3

from network import SegFace
from utils.distributed import World

SUMS = ("loss", "ce", "dice", "grad_norm")


@dataclass
class Progress:
    """How far a run has come. What is said of an epoch is of the one under way, and begins anew in the next."""

    epoch: int = 0  # epochs done, validation included
    iteration: int = 0  # optimizer steps done
    step: int = 0  # steps of the epoch
    images: int = 0  # images of the epoch that all ranks together have seen
    skipped_steps: int = 0  # steps of the epoch that were not applied
    seconds: float = 0.0  # that the steps of the epoch took on the main rank
    waited: float = 0.0  # of them, for data
    bad_steps: int = 0  # steps not applied in a row, up to now
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(len(SUMS), 2, dtype=torch.float64))
    """Of this rank: for each of SUMS, the sum over the steps of the epoch that were applied, and how many had it."""

    @property
    def where(self) -> str:
        """This point of the run, in words."""
        return f"epoch {self.epoch}, step {self.step}"

    def next_epoch(self) -> None:
        """The epoch is done."""
        self.epoch += 1
        self.step = self.images = self.skipped_steps = 0
        self.seconds = self.waited = 0.0
        self.sums = torch.zeros_like(self.sums)


@dataclass
class TrainingState:
    """Everything that changes while training, and how to save and restore it."""

    model: SegFace
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.MultiStepLR
    scaler: torch.amp.GradScaler
    ema: ModelEmaV3 | None
    world: World
    progress: Progress = field(default_factory=Progress)
    random_states: Mapping[str, torch.Tensor] | None = None  # restored, to go on with

    def seed(self, seed: int) -> None:
        """Go on with the random numbers of an interrupted epoch, or begin those of ``seed``."""
        if self.random_states is None:
            torch.manual_seed(seed)
            return
        torch.set_rng_state(self.random_states["cpu"])
        if self.world.device.type == "cuda" and "cuda" in self.random_states:
            torch.cuda.set_rng_state(self.random_states["cuda"], self.world.device)
        self.random_states = None

    def capture(self) -> dict[str, Any] | None:
        """All but the weights, on the main rank; every rank must call it, and the others get None."""
        of_rank = {"cpu": torch.get_rng_state(), "sums": self.progress.sums.cpu()}
        if self.world.device.type == "cuda":
            of_rank["cuda"] = torch.cuda.get_rng_state(self.world.device)
        ranks = [of_rank] * self.world.size
        if dist.is_initialized():
            dist.gather_object(of_rank, ranks if self.world.is_main else None)
        if not self.world.is_main:
            return None
        progress = asdict(self.progress)
        progress.pop("sums")
        progress["epoch"] -= 1  # as in the name of model_{epoch}.pt: the last one done
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "ranks": ranks,
            **progress,
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Put back what ``capture`` saved; the weights are loaded already."""
        saved = content["optimizer"]
        fused = self.optimizer.param_groups[0]["fused"]  # is ours to choose, as the device may be another
        groups = [{**group, "fused": fused} for group in saved["param_groups"]]
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        self.scheduler.load_state_dict(content["scheduler"])
        if content.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(content["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(content.get("ema") or self.model.state_dict())
        names = ("iteration", "step", "images", "skipped_steps", "seconds", "waited", "bad_steps")
        self.progress = Progress(content["epoch"] + 1, *(content.get(name, 0) for name in names))
        if not self.progress.images:  # at the beginning of an epoch each rank has yet to seed itself
            return
        ranks = content["ranks"]
        if len(ranks) == self.world.size:
            self.random_states = ranks[self.world.rank]
            self.progress.sums = self.random_states["sums"].clone()
        elif self.world.is_main:  # the sums are added up at the end; it does not matter where they were
            self.progress.sums = torch.stack([of_rank["sums"] for of_rank in ranks]).sum(0)

    def restart_after(self, content: Mapping[str, Any]) -> None:
        """Go on at the epoch after that of saved weights alone, with a new optimizer."""
        epoch = int(content["epoch"]) + 1
        self.progress = Progress(epoch, int(content["iteration"]))
        self.scheduler.last_epoch = epoch
        falls = bisect_right(sorted(self.scheduler.milestones.elements()), epoch)
        for group, lr in zip(self.optimizer.param_groups, self.scheduler.base_lrs, strict=True):
            group["lr"] = lr * self.scheduler.gamma**falls
        if self.ema:
            self.ema.set(self.model)
