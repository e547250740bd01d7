"""The trainer on a network of a few weights, where every step can be computed by hand."""

import logging
import subprocess
import sys

import pytest
import torch
from commands import REPOSITORY
from timm.utils import ModelEmaV3
from torch import nn

from utils.checkpointing import Checkpoints
from utils.distributed import World
from utils.engine import create_loader
from utils.losses import segface_loss
from utils.precision import Precision, compiled
from utils.run_folder import RunFolder
from utils.sampling import TrainBatches
from utils.state import TrainingState
from utils.stopping import Stopped, StopRequest
from utils.tracking import Tracker
from utils.training import Trainer

WORLD = World(0, 0, 1, torch.device("cpu"))
SIDE = 8


class Pixels(nn.Module):
    """Logits of three classes from each pixel alone, after BatchNorm, plus the sum of the landmarks."""

    config = {}

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, images, landmarks):
        return self.mix(self.norm(images + landmarks.sum((1, 2))[:, None, None, None]))


class Samples(torch.utils.data.Dataset):
    """Random pictures; ``poison`` names those whose landmarks are not finite."""

    def __init__(self, length: int, poison: tuple[int, ...] = (), value: float = float("nan")) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randint(0, 256, (length, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(0, 3, (length, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        self.poison = poison
        self.value = value

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        landmarks = torch.full((5, 2), self.value if index in self.poison else 0.0)
        return {"image": self.images[index], "label": self.labels[index], "landmarks": landmarks, "name": f"n{index}"}


class Remembering(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def build(tmp_path):
    """Makes a trainer; SGD of rate 1 shows the gradients in the weights."""

    def make(
        samples, batch_size=2, accumulate=1, amp="off", ema=None, minutes=60, optimizer=torch.optim.SGD, **options
    ):
        torch.manual_seed(0)
        model = Pixels()
        precision = Precision(WORLD.device, amp)
        optimizer = optimizer(model.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100])
        average = ModelEmaV3(model, ema) if ema else None
        state = TrainingState(model, optimizer, scheduler, precision.scaler(), average, WORLD)
        checkpoints = Checkpoints(tmp_path, {}, minutes)
        logger = checkpoints.logger = logging.Logger("test")
        logger.addHandler(Remembering())
        batches = TrainBatches(len(samples), batch_size, accumulate=accumulate)
        loader = create_loader(samples, batches, 0, WORLD)
        settings = {"grad_clip": 0.0, "max_bad_steps": 3, "log_interval": 1} | options
        return Trainer(
            model, state, loader, precision, checkpoints, StopRequest(announce=False), logger, Tracker(), **settings
        )

    return make


def values(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(a, b):
    return all(torch.equal(value, b[key]) for key, value in a.items())


def lines(trainer):
    return trainer.logger.handlers[0].lines


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_step_whose_loss_is_not_finite_changes_nothing_and_is_told_with_its_samples(build, value):
    trainer = build(Samples(2, poison=(1,), value=value), ema=0.5)
    before = values(trainer.state.model)
    with pytest.raises(FloatingPointError, match="no step had a finite loss"):
        trainer.train_epoch("epoch 0")
    assert equal(before, values(trainer.state.model))  # the statistics of BatchNorm too
    assert equal(before, values(trainer.state.ema.module))
    told = next(line for line in lines(trainer) if "not applied" in line)
    assert told.startswith("epoch 0 step 1: the loss is ")
    assert sorted(told.split("Samples: ")[1].split(", ")) == ["n0", "n1"]


def test_training_goes_on_after_a_bad_step_as_if_its_batch_had_not_been_there(build):
    trainer = build(Samples(8, poison=(5,)))
    order = list(trainer.batches)
    means = trainer.train_epoch("epoch 0")
    assert means["skipped_steps"] == 1
    assert (trainer.state.progress.iteration, trainer.state.progress.step, trainer.state.progress.images) == (4, 4, 8)

    other = build(Samples(8))
    losses = []
    for batch in order:
        if 5 not in batch:
            samples = torch.utils.data.default_collate([Samples(8)[index] for index in batch])
            other.state.model.train()
            loss, _ = other.backward([samples])
            other.apply()
            losses.append(loss[0].item())
    assert equal(values(trainer.state.model), values(other.state.model))
    assert means["loss"] == pytest.approx(sum(losses) / 3)


def test_as_many_bad_steps_in_a_row_as_allowed_end_the_training(build):
    bad = tuple(range(12))
    trainer = build(Samples(12, poison=bad), max_bad_steps=4)
    with pytest.raises(FloatingPointError, match="the loss is nan, in the last of 4 such steps in a row"):
        trainer.train_epoch("epoch 0")
    assert trainer.state.progress.step == 4
    order = list(trainer.batches)
    alternating = build(Samples(12, poison=tuple(i for batch in order[::2] for i in batch)), max_bad_steps=2)
    assert alternating.train_epoch("epoch 0")["skipped_steps"] == 3  # never two in a row


def test_nothing_is_saved_while_steps_are_bad(build):
    trainer = build(Samples(6, poison=tuple(range(6))), minutes=0, max_bad_steps=3)
    with pytest.raises(FloatingPointError):
        trainer.train_epoch("epoch 0")
    assert not list(trainer.checkpoints.folder.iterdir())
    build(Samples(6), minutes=0).train_epoch("epoch 0")
    assert (trainer.checkpoints.folder / "last.pt").exists()


def test_bad_step_at_the_end_of_an_epoch_keeps_last_but_loses_no_weights_of_the_epoch(build):
    trainer = build(Samples(8))
    last_batch = tuple(list(trainer.batches)[-1])
    trainer = build(Samples(8, poison=last_batch))
    trainer.train_epoch("epoch 0")
    trainer.state.progress.next_epoch()
    trainer.checkpoints.save_epoch(trainer.state, {"val": {"mean_f1": 0.5}}, interval=1, is_last=False)
    assert {path.name for path in trainer.checkpoints.folder.iterdir()} == {"model_0.pt", "best.pt"}
    assert "last.pt stays at the beginning until one is" in lines(trainer)[-1]
    assert trainer.checkpoints.due


def test_better_weights_are_not_overwritten_by_those_that_waited_for_room(build, monkeypatch):
    trainer = build(Samples(2))
    checkpoints, state = trainer.checkpoints, trainer.state

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("utils.checkpointing.save", refuse)
        checkpoints.save_best(state.model, state, "best.pt", 0.5)
    assert "best.pt: No space left on device" in lines(trainer)[-1]
    checkpoints.save_best(state.model, state, "best.pt", 0.6)
    checkpoints.write_waiting()
    assert torch.load(checkpoints.folder / "best.pt", weights_only=True)["mean_f1"] == 0.6
    assert checkpoints.best["best.pt"] == 0.6
    checkpoints.check_all_written()


def test_previous_checkpoint_outlives_a_write_that_fails(build, monkeypatch):
    trainer = build(Samples(2))
    checkpoints, state = trainer.checkpoints, trainer.state
    for iteration in (1, 2):
        state.progress.iteration = iteration
        checkpoints.save_last(state)
    with monkeypatch.context() as full:
        full.setattr("torch.save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        checkpoints.save_last(state)
    saved = [torch.load(checkpoints.folder / name, weights_only=True) for name in ("last.pt", "previous.pt")]
    assert [content["iteration"] for content in saved] == [2, 1]


@pytest.mark.slow
def test_folder_of_a_run_is_for_one_process(tmp_path):
    run = RunFolder(tmp_path / "run", {})
    run.claim()
    code = "import sys, pathlib, utils.run_folder as r; r.RunFolder(pathlib.Path(sys.argv[1]), {}).claim()"
    command = [sys.executable, "-c", code, run.path]
    other = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert "another process is training in" in other.stderr


def test_accumulated_step_has_the_mean_gradient_of_its_batches(build):
    accumulated = build(Samples(6), batch_size=2, accumulate=3)
    batches = list(accumulated.batches)
    before = values(accumulated.state.model)
    accumulated.train_epoch("epoch 0")
    assert (accumulated.state.progress.iteration, accumulated.state.progress.images) == (1, 6)
    gradients = []
    for batch in batches:
        other = build(Samples(6))
        other.state.model.train()
        other.backward([torch.utils.data.default_collate([Samples(6)[index] for index in batch])])
        gradients.append(other.state.model.mix.weight.grad)
    moved = before["mix.weight"] - accumulated.state.model.mix.weight
    torch.testing.assert_close(moved, torch.stack(gradients).mean(0))


def test_gradient_is_clipped_to_the_given_norm(build):
    free, clipped = build(Samples(2)), build(Samples(2), grad_clip=0.01)
    before = values(free.state.model)
    norm = free.train_epoch("epoch 0")["grad_norm"]
    assert clipped.train_epoch("epoch 0")["grad_norm"] == pytest.approx(norm)  # as it was before
    assert norm > 0.01
    for name, parameter in clipped.state.model.named_parameters():
        expected = (dict(free.state.model.named_parameters())[name] - before[name]) * 0.01 / norm
        torch.testing.assert_close(parameter - before[name], expected, atol=1e-6, rtol=1e-3)


def test_average_follows_the_weights_by_its_decay(build):
    trainer = build(Samples(2), ema=0.75)
    before = values(trainer.state.model)
    trainer.train_epoch("epoch 0")
    for name, value in trainer.state.ema.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * trainer.state.model.state_dict()[name])
        else:
            assert torch.equal(value, trainer.state.model.state_dict()[name])


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_trains_nearly_as_float32(build, amp):
    exact, mixed = build(Samples(8)), build(Samples(8), amp=amp)
    seen = []
    mixed.state.model.mix.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    exact.train_epoch("epoch 0")
    mixed.train_epoch("epoch 0")
    assert set(seen) == {{"bf16": torch.bfloat16, "fp16": torch.float16}[amp]}
    assert mixed.state.model.mix.weight.dtype == torch.float32
    torch.testing.assert_close(mixed.state.model.mix.weight, exact.state.model.mix.weight, atol=0.02, rtol=0.05)
    assert not torch.equal(mixed.state.model.mix.weight, exact.state.model.mix.weight)


@pytest.mark.slow
def test_compiled_network_takes_the_same_steps(build):
    eager, trainer = build(Samples(8), accumulate=2), build(Samples(8), accumulate=2)
    trainer.model = compiled(trainer.state.model, WORLD.device)
    assert trainer.train_epoch("epoch 0")["loss"] == pytest.approx(eager.train_epoch("epoch 0")["loss"], rel=1e-4)
    torch.testing.assert_close(trainer.state.model.mix.weight, eager.state.model.mix.weight, rtol=1e-3, atol=1e-5)


def test_overflow_while_float16_seeks_its_scale_is_no_bad_step(build):
    trainer = build(Samples(8), amp="fp16")
    trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    assert trainer.train_epoch("epoch 0")["skipped_steps"] == 0
    assert trainer.state.scaler.get_scale() < 2.0**40
    assert not any("not applied" in line for line in lines(trainer))


def test_request_to_stop_ends_the_epoch_after_its_step_with_everything_saved(build):
    trainer = build(Samples(8))
    take = trainer.apply

    def apply_and_ask():
        take()
        if trainer.state.progress.iteration == 2:
            trainer.stop.received = "SIGUSR1"

    trainer.apply = apply_and_ask
    with pytest.raises(Stopped, match="SIGUSR1"):
        trainer.train_epoch("epoch 0")
    saved = torch.load(trainer.checkpoints.folder / "last.pt", weights_only=True)
    # The request of the second step's end is heard at the end of the third.
    assert (saved["iteration"], saved["step"], saved["images"], saved["epoch"]) == (3, 3, 6, -1)
    assert equal(saved["state_dict_backbone"], values(trainer.state.model))
    assert len(saved["ranks"]) == 1


def test_loss_and_gradient_are_those_of_the_loss_alone(build):
    trainer = build(Samples(2))
    batch = torch.utils.data.default_collate([Samples(2)[0], Samples(2)[1]])
    losses, norm = trainer.backward([batch])
    model = build(Samples(2)).state.model.train()
    from datasets.transforms import normalize

    loss, parts = segface_loss(model(normalize(batch["image"]), batch["landmarks"]), batch["label"])
    loss.backward()
    assert losses.tolist() == [loss.item(), parts["ce"].item(), parts["dice"].item()]
    squares = sum(parameter.grad.double().square().sum() for parameter in model.parameters())
    assert norm.item() == pytest.approx(squares.sqrt().item())
