"""The README's program runs as printed (with one epoch, whose potential survives a few steps)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_program_of_the_readme_runs(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert "epochs=100" in program and "steps=200" in program
    quick = program.replace("epochs=100", "epochs=1").replace("steps=200", "steps=10")
    command = [sys.executable, "-c", quick]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "meV/atom" in run.stdout and (tmp_path / "aenet" / "Na.nn").exists()
