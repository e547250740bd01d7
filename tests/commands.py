"""Running train.py and test.py as their users do: in a process of their own, on drawn data."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


class Commands:
    """The entry points, with DATA_PATH and LOG_PATH of a test."""

    def __init__(self, data_path: Path, log_path: Path) -> None:
        self.data_path = data_path
        self.log_path = log_path

    def run(self, script: str, *flags: str, ranks: int = 0, **environment: str) -> subprocess.CompletedProcess:
        """Run a script, under torchrun if ``ranks`` says so; one thread each, so that numbers can be compared."""
        launcher = [sys.executable]
        if ranks:
            launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
        variables = {
            **os.environ,
            "DATA_PATH": str(self.data_path),
            "LOG_PATH": str(self.log_path),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        }
        command = [*launcher, str(REPOSITORY / script), *map(str, flags)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)

    def succeed(self, script: str, *flags: str, **options) -> str:
        """Run a script that must succeed, and return what it printed."""
        result = self.run(script, *flags, **options)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fail(self, script: str, *flags: str, **options) -> str:
        """Run a script that must end with an error and no traceback, and return the error."""
        result = self.run(script, *flags, **options)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr, result.stderr
        return result.stderr

    def folder(self, expt_name: str) -> Path:
        return self.log_path / "ckpts" / expt_name

    def metrics(self, expt_name: str) -> list[dict]:
        lines = (self.folder(expt_name) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def results(self, expt_name: str, split: str = "test") -> dict:
        name = "results.json" if split == "test" else f"results_{split}.json"
        return json.loads((self.folder(expt_name) / name).read_text())
