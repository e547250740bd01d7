import platform
import subprocess
import sys

import pytest
from commands import REPOSITORY

FAULTS = """
import resource, torch
from utils.memory import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10_000_000) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(*[faults() for _ in range(8)])
"""

PEAK = """
import subprocess, sys
if len(sys.argv) > 1:
    from utils.memory import peak_memory_gb
    import torch
    before = peak_memory_gb(torch.device("cpu"))
    torch.ones(100_000_000)
    print(before, peak_memory_gb(torch.device("cpu")))
else:
    large = bytearray(b"1" * 2_000_000_000)
    subprocess.run([sys.executable, "-c", sys.orig_argv[2], "child"], check=True)
"""


def output_of(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_freed_memory_is_kept_for_what_comes_next():
    first, *later = map(int, output_of(FAULTS))
    assert first > 10_000  # pages of 4 kB that the system handed over
    assert max(later[-2:]) < 1000  # when every size has found its place


def test_peak_is_of_this_process_and_not_of_the_one_that_started_it():
    before, after = map(float, output_of(PEAK))
    assert before < 1.5
    assert 0.35 < after - before < 0.6
