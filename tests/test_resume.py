"""What --resume goes on from: settings, damaged files, other ranks and batches."""

import json
import shutil

import pytest
import torch
from commands import SHORT, TINY, Commands, assert_same_run, steps_done, wait_until

from network.files import read_file

FLAGS = ("train.py", "--dataset", "lapa", *TINY, "--train_bs", "2", "--samples", "0")


@pytest.mark.slow
def test_resume_goes_on_at_the_next_epoch_as_if_never_stopped(commands):
    # Drop path, augmentation and a data worker all draw random numbers.
    flags = (*FLAGS, "--model", "swinv2_tiny", "--num_workers", "1", "--lr_schedule", "1,2")
    commands.succeed(*flags, "--epochs", "3", "--expt_name", "whole")
    commands.succeed(*flags, "--epochs", "1", "--expt_name", "parts")
    with (commands.folder("parts") / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "loss": 9}\n{"epo')  # lines of an epoch that was not saved
    printed = commands.succeed(*flags, "--epochs", "3", "--expt_name", "parts", "--resume")
    assert "resuming at epoch 1, step 0" in printed
    assert_same_run(commands.last("parts"), commands.last("whole"))
    assert commands.last("parts")["iteration"] == 6
    assert [line["epoch"] for line in commands.metrics("parts")] == [0, 1, 2]
    assert [line["lr"] for line in commands.metrics("parts")] == pytest.approx([1e-4, 1e-5, 1e-6])
    assert [line["val"] for line in commands.metrics("parts")] == [line["val"] for line in commands.metrics("whole")]


@pytest.mark.slow
def test_resume_takes_no_other_model_or_dataset_and_names_other_settings(commands):
    flags = (*FLAGS, "--expt_name", "run", "--resume")
    commands.succeed(*flags, "--epochs", "1")
    error = commands.fail(*flags, "--epochs", "2", "--dataset", "helen")
    assert "is of a run with --dataset lapa, not helen" in error
    error = commands.fail(*flags, "--epochs", "2", "--input_resolution", "96")
    assert "--input_resolution 64, not 96" in error
    printed = commands.succeed(*flags, "--epochs", "2", "--lr", "0.5", "--train_bs", "1")
    assert "another setting than before: --lr 0.5 (was 0.0001): stays as it was" in printed
    assert "another setting than before: --train_bs 1 (was 2)" in printed
    assert "with other train_bs every image still comes once in an epoch" in printed
    assert [line["lr"] for line in commands.metrics("run")] == [1e-4, 1e-4]
    config = json.loads((commands.folder("run") / "config.json").read_text())
    assert (config["lr"], config["train_bs"], config["ranks"]) == (1e-4, 1, 1)


@pytest.mark.slow
def test_best_weights_are_kept_until_a_better_epoch_and_validation_comes_at_its_interval(commands):
    flags = (*FLAGS, "--val_interval", "2", "--expt_name", "run", "--resume")
    commands.succeed(*flags, "--epochs", "3")
    assert [line["val"] is None for line in commands.metrics("run")] == [True, False, False]
    best = commands.folder("run") / "best.pt"
    for best_f1, is_kept, epochs in ((2.0, True, "4"), (-1.0, False, "5")):
        torch.save(dict(read_file(best)) | {"mean_f1": best_f1}, best)
        before = best.read_bytes()
        commands.succeed(*flags, "--epochs", epochs)
        assert (best.read_bytes() == before) is is_kept
    best.unlink()
    commands.succeed(*flags, "--epochs", "6")
    assert best.exists()  # whatever the best was before
    assert commands.last("run")["best_f1"] == commands.metrics("run")[-1]["val"]["mean_f1"]


@pytest.mark.slow
def test_resume_needs_no_download(commands, tmp_path):
    flags = ("train.py", "--dataset", "lapa", *TINY[:4], "--num_workers", "0", "--train_bs", "2", "--expt_name", "run")
    commands.succeed(*flags, "--pretrained", "none", "--epochs", "1")
    commands.succeed(*flags, "--epochs", "2", "--resume", TORCH_HOME=str(tmp_path))


@pytest.mark.slow
def test_resume_with_nothing_to_resume_starts_and_says_so(commands):
    printed = commands.succeed("train.py", "--dataset", "lapa", *SHORT, "--epochs", "1", "--resume")
    assert "nothing to resume" in printed


THREE = (*FLAGS, "--epochs", "3", "--expt_name", "run", "--resume")


@pytest.fixture(scope="module")
def done_before(drawn_data, tmp_path_factory):
    """LOG_PATH with a run of two epochs, and the same with three."""
    commands = Commands(drawn_data, tmp_path_factory.mktemp("before"))
    commands.succeed(*FLAGS, "--epochs", "2", "--expt_name", "run")
    commands.succeed(*FLAGS, "--epochs", "3", "--expt_name", "whole")
    return commands.log_path


@pytest.fixture
def half_done(done_before, commands):
    """Commands whose run has a last.pt and a previous.pt, after the second and first of three epochs."""
    shutil.copytree(done_before, commands.log_path)
    return commands


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 4096] = bytes(4096)
    path.write_bytes(content)


def take_the_optimizer_away(path):
    content = dict(torch.load(path, weights_only=True))
    torch.save(content | {"optimizer": None}, path)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, overwrite, take_the_optimizer_away])
def test_damaged_last_checkpoint_is_set_aside_and_the_one_before_it_used(half_done, damage):
    folder = half_done.folder("run")
    damage(folder / "last.pt")
    damaged = (folder / "last.pt").read_bytes()
    printed = half_done.succeed(*THREE)
    assert str(folder / "last.pt") in printed
    assert f"last.pt was set aside as {folder / 'last.pt.1'}" in printed
    assert f"going on from {folder / 'previous.pt'}, the newest good checkpoint" in printed
    assert "resuming at epoch 1, step 0" in printed
    assert (folder / "last.pt.1").read_bytes() == damaged
    assert_same_run(half_done.last("run"), half_done.last("whole"))


@pytest.mark.slow
def test_without_a_whole_checkpoint_the_newest_weights_are_used_and_without_any_a_new_run_begins(half_done):
    folder = half_done.folder("run")
    for name in ("last.pt", "previous.pt"):
        truncate(folder / name)
    expected = half_done.weights("run", "model_1.pt")
    printed = half_done.succeed(*THREE, "--lr", "0")
    assert f"going on from {folder / 'model_1.pt'}, the newest good checkpoint" in printed
    assert "model_1.pt holds weights alone: the optimizer begins afresh" in printed
    assert "resuming at epoch 2, step 0" in printed
    last = half_done.last("run")
    assert (last["iteration"], last["epoch"]) == (6, 2)
    assert torch.equal(last["state_dict_backbone"]["decoder.class_tokens"], expected["decoder.class_tokens"])

    for path in folder.glob("*.pt"):
        truncate(path)
    printed = half_done.succeed(*THREE)
    assert "nothing to resume" in printed
    assert f"an earlier run was here; it is now {folder}.1" in printed
    assert folder.with_name("run.1").joinpath("best.pt").exists()
    assert half_done.last("run")["iteration"] == 6


@pytest.mark.slow
def test_file_that_would_run_code_is_set_aside_and_not_run(half_done, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict_backbone": Trap()}, half_done.folder("run") / "last.pt")
    assert "last.pt was refused" in half_done.succeed(*THREE)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_inside_an_epoch_with_every_image_once(many_data, tmp_path):
    commands = Commands(many_data, tmp_path)
    flags = (*FLAGS, "--train_bs", "1", "--epochs", "2", "--log_interval", "1", "--expt_name", "run")
    process = commands.start(*flags)
    wait_until(lambda: steps_done(commands.log("run"), 40) >= 5, process)
    process.terminate()
    process.finish()
    seen = commands.last("run")["images"]
    assert 5 <= seen == commands.last("run")["iteration"] < 40
    printed = commands.succeed(*flags, "--resume", ranks=3)
    assert "with other ranks every image still comes once in an epoch, but in other batches" in printed
    first, second = commands.metrics("run")
    assert first["iteration"] == seen + (40 - seen) // 3
    assert second["iteration"] == first["iteration"] + 40 // 3
