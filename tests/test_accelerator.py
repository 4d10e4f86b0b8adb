"""The path of a GPU without one: accelerator_cases.py, in a process of its own.

The pretended device changes PyTorch for the whole process, which no other test should meet.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])


@pytest.mark.slow
@pytest.mark.skipif(VERSION < (2, 10), reason="devices written in Python came with PyTorch 2.10")
def test_the_library_runs_on_an_accelerator_without_mixing_it_with_the_host():
    cases = Path(__file__).with_name("accelerator_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", str(cases)]
    settings = {
        name: x for name, x in os.environ.items() if not name.startswith(("PYTEST_", "MLIPBOOK_FAST"))
    }
    done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=cases.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
