"""A trace of a few training steps, for chrome://tracing, Perfetto or TensorBoard."""

import json
from contextlib import AbstractContextManager, nullcontext
from logging import Logger
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

STEPS = 3


def step_profiler(path: Path, wanted: bool, logger: Logger) -> AbstractContextManager[profile | None]:
    """A context that writes the third to fifth step of what runs in it, if ``wanted``; its ``step`` ends a step."""

    def write(profiler: profile) -> None:
        hidden = path.with_name(f".{path.name}.tmp")
        try:
            profiler.export_chrome_trace(str(hidden))
            json.loads(hidden.read_bytes())  # the profiler does not tell what it could not write
            hidden.replace(path)
        except (OSError, ValueError) as error:
            logger.warning(f"could not write {path}: {error}")
        else:
            logger.info(f"wrote {path}, a trace of {STEPS} steps")
        finally:
            hidden.unlink(missing_ok=True)

    if not wanted:
        return nullcontext()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    return profile(
        activities=activities, schedule=schedule(wait=1, warmup=1, active=STEPS, repeat=1), on_trace_ready=write
    )
