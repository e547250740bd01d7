"""scripts/slurm.sh under stand-ins for Slurm's commands, which do on this machine what Slurm does on its nodes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import REPOSITORY, TINY, Commands, assert_same_run, wait_until

from utils.config import complete
from utils.flags import train_parser

# At a SIGTERM of its own, srun kills its tasks; it runs them once for each node, each as the head of a process group.
SRUN = """
trap 'kill -KILL $(cat $notes/tasks)' TERM
while [ "${1#--}" != "$1" ]; do shift; done # options of its own
set -m
for ((node = 0; node < SLURM_NNODES; node++)); do
    SLURM_NODEID=$node "$@" &
    echo $! >>$notes/starting
done
mv $notes/starting $notes/tasks
code=0
for task in $(cat $notes/tasks); do wait "$task" || code=$?; done
exit "$code"
"""
SCANCEL = 'echo "$*" >>$notes/calls\n[ "$*" != "--quiet --signal=TERM 7.0" ] || kill -TERM $(cat $notes/tasks)'
SCONTROL = """
case "$*" in
"show hostnames here,there") printf '127.0.0.1\\nthere\\n' ;;
*) echo "$*" >>$notes/calls ;;
esac
"""
# A torchrun that does nothing: it notes how it was called, and ends with 1 after a SIGTERM, as torchrun does.
IDLE = """
cd $notes
env >environment.$SLURM_NODEID
trap 'sleep 0.3; echo saved >>saved; exit 1' TERM
printf '%s\\n' "$@" >starting.$SLURM_NODEID
mv starting.$SLURM_NODEID arguments.$SLURM_NODEID
while [ ! -e end ]; do sleep 0.02; done
exit "$(cat end)"
"""
FLAGS = ("--dataset", "lapa", *TINY, "--train_bs", "1", "--samples", "0")
SCANCEL_CALL = "--quiet --signal=TERM 7.0"


class Cluster:
    """Two nodes; the stand-ins keep their notes in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, body in (("srun", SRUN), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
            self.command(name, body)

    def command(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\nnotes={self.folder}\n{body}")
        path.chmod(0o755)

    def submit(self, *flags: str, submit_dir: Path = REPOSITORY, **environment: str) -> subprocess.Popen:
        """Run the job, from a copy in another folder, as Slurm does."""
        copy = self.folder / "spool" / "slurm_script"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "scripts" / "slurm.sh", copy)
        (self.folder / "tasks").unlink(missing_ok=True)
        variables = {
            **os.environ, "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CONDA_DEFAULT_ENV": "segface", "SLURM_SUBMIT_DIR": str(submit_dir), "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "here,there", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "3", **environment,
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", str(copy), *flags], cwd=self.folder, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path / "cluster")


@pytest.fixture
def idle_job(cluster):
    """Start a job whose processes only wait, and go on when both of them do."""
    cluster.command("torchrun", IDLE)
    started = []

    def start(*flags: str, **environment: str) -> subprocess.Popen:
        job = cluster.submit(*flags, **environment)
        started.append(job)
        wait_until(lambda: cluster.lines("arguments.0") and cluster.lines("arguments.1"), job)
        time.sleep(0.1)  # until the traps are set
        return job

    yield start
    for job in started:
        (cluster.folder / "end").write_text("0")
        job.wait(20)


def end(cluster: Cluster, job: subprocess.Popen, code: int | None = None) -> int:
    """Have the processes of a job end with a code, if any is given, and return the job's own."""
    if code is not None:
        (cluster.folder / "end").write_text(str(code))
    job.communicate(timeout=20)
    return job.returncode


def test_each_node_gets_a_torchrun_that_finds_the_others(cluster, idle_job):
    job = idle_job("--dataset", "lapa", "--expt_name", "a name", GPUS="4")
    assert end(cluster, job, 0) == 0
    words = cluster.lines("arguments.0")
    assert words == cluster.lines("arguments.1")
    assert words[: words.index("train.py")] == [
        "--nnodes", "2", "--nproc_per_node", "4", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:20007",
        "--rdzv_id", "7", "--max_restarts", "3",
    ]  # fmt: skip
    assert words[words.index("train.py") + 1 :] == ["--dataset", "lapa", "--expt_name", "a name", "--resume"]
    environment = dict(line.split("=", 1) for line in cluster.lines("environment.0") if "=" in line)
    assert environment["SRUN_CPUS_PER_TASK"] == "3"
    assert int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < 300 - 30  # the warning comes 300 s before the end
    assert cluster.lines("calls") == []


@pytest.mark.parametrize(
    ("environment", "processes", "port"),
    [({}, "1", "20007"), ({"SLURM_GPUS_ON_NODE": "8"}, "8", "20007"), ({"PORT": "1234"}, "1", "1234")],
)
def test_there_is_a_process_for_each_gpu_and_a_port_for_each_job(environment, processes, port, cluster, idle_job):
    assert end(cluster, idle_job(**environment), 0) == 0
    words = cluster.lines("arguments.0")
    assert words[words.index("--nproc_per_node") + 1] == processes
    assert words[words.index("--rdzv_endpoint") + 1] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    "flags", [("--expt_name", "run"), ("--resume", "False"), ("--no-deterministic",), ("--seed", "3", "--resume")]
)
def test_every_flag_reaches_training_with_its_value_and_the_run_is_resumed(flags, cluster, idle_job):
    end(cluster, idle_job(*flags), 0)
    words = cluster.lines("arguments.0")
    args = complete(train_parser("").parse_args(words[words.index("train.py") + 1 :]))
    alone = complete(train_parser("").parse_args(flags))
    assert vars(args) == vars(alone) | {"resume": True}


def test_a_job_near_its_time_limit_saves_and_is_requeued(cluster, idle_job):
    job = idle_job()
    job.send_signal(signal.SIGUSR1)
    assert end(cluster, job) == 1
    assert cluster.lines("saved") == ["saved", "saved"]
    assert cluster.lines("calls") == [SCANCEL_CALL, "requeue 7"]


def test_a_job_that_is_cancelled_saves_and_is_not_requeued(cluster, idle_job):
    job = idle_job()
    job.send_signal(signal.SIGTERM)
    assert end(cluster, job) == 1
    assert cluster.lines("saved") == ["saved", "saved"]
    assert cluster.lines("calls") == [SCANCEL_CALL]


def test_a_job_that_is_cancelled_while_it_saves_is_not_requeued(cluster, idle_job):
    cluster.command("scancel", 'cd $notes\necho "$*" >>calls\n(sleep 0.5; echo 1 >end) &')
    job = idle_job()
    job.send_signal(signal.SIGUSR1)
    wait_until(lambda: cluster.lines("calls"), job)
    job.send_signal(signal.SIGTERM)
    assert end(cluster, job) == 1
    assert cluster.lines("calls") == [SCANCEL_CALL, SCANCEL_CALL]


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_end_of_training_is_the_end_of_the_job_with_its_code(code, cluster, idle_job):
    assert end(cluster, idle_job(), code) == code
    assert cluster.lines("calls") == []


def test_training_that_ends_just_when_it_should_be_saved_is_not_requeued(cluster, idle_job):
    cluster.command("scancel", 'cd $notes\necho "$*" >>calls\necho 0 >end\nexit 1')  # the step is no more
    job = idle_job()
    job.send_signal(signal.SIGUSR1)
    assert end(cluster, job) == 0
    assert cluster.lines("calls") == [SCANCEL_CALL]


def test_a_job_submitted_elsewhere_is_told_where_to_submit(cluster, tmp_path):
    job = cluster.submit(submit_dir=tmp_path)
    output, _ = job.communicate(timeout=20)
    assert job.returncode == 1
    assert f"error: no train.py in {tmp_path}" in output
    job = cluster.submit(SLURM_SUBMIT_DIR="")
    assert "start this script with sbatch" in job.communicate(timeout=20)[0]
    assert job.returncode != 0


def test_slurm_is_asked_for_one_torchrun_a_node_and_a_warning_before_the_end():
    lines = (REPOSITORY / "scripts" / "slurm.sh").read_text().splitlines()
    options = dict(line[len("#SBATCH --") :].partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    assert (options["ntasks-per-node"], options["signal"], options["open-mode"]) == ("1", "B:USR1@300", "append")
    assert "requeue" in options
    # Slurm reads no option after the first command.
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])


@pytest.fixture(scope="module")
def together(drawn_data, tmp_path_factory):
    """What two processes of one torchrun make of the flags: last.pt, and the lines of metrics.jsonl."""
    commands = Commands(drawn_data, tmp_path_factory.mktemp("together"))
    commands.succeed("train.py", *FLAGS, "--epochs", "10", "--expt_name", "run", ranks=2)
    return commands


def train(cluster: Cluster, commands: Commands) -> subprocess.Popen:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return cluster.submit(
        *FLAGS, "--epochs", "10", "--expt_name", "run", GPUS="1", PORT=str(port), OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="", DATA_PATH=str(commands.data_path), LOG_PATH=str(commands.log_path),
    )  # fmt: skip


def assert_same_training(commands: Commands, other: Commands) -> None:
    assert_same_run(commands.last("run"), other.last("run"))
    for key in ("epoch", "iteration", "loss", "val"):
        assert [line[key] for line in commands.metrics("run")] == [line[key] for line in other.metrics("run")]


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one_node(cluster, commands, together):
    job = train(cluster, commands)
    output, _ = job.communicate(timeout=600)
    assert job.returncode == 0, output
    assert "on 2 x cpu" in commands.log("run")
    assert cluster.lines("calls") == []
    assert_same_training(commands, together)


@pytest.mark.slow
def test_a_job_that_is_requeued_goes_on_as_if_never_stopped(cluster, commands, together):
    job = train(cluster, commands)
    wait_until(lambda: "epoch 1/9: loss" in commands.log("run"), job)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=600)
    assert job.returncode == 1
    assert cluster.lines("calls") == [SCANCEL_CALL, "requeue 7"], output
    assert "stopped by SIGTERM" in commands.log("run")
    assert commands.last("run")["epoch"] < 9
    job = train(cluster, commands)
    output, _ = job.communicate(timeout=600)
    assert job.returncode == 0, output
    assert "resuming at epoch" in commands.log("run")
    assert_same_training(commands, together)
