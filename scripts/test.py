"""Everything that CI checks, stage by stage, with seconds; a stage that fails does not stop the others.

python scripts/test.py [STAGE...]     without a stage, all but `fast`, which is `library` without what is slow
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable, "-m"]
JUPYTER_BOOK = str(Path(sys.executable).with_name("jupyter-book"))
PYTEST = [*PYTHON, "pytest", "-q"]
STAGES = {
    "size": [sys.executable, "scripts/size.py"],
    "style": [*PYTHON, "ruff", "check", "."],
    "format": [*PYTHON, "ruff", "format", "--check", "."],
    "types": [*PYTHON, "mypy"],
    "fast": [*PYTEST, "-n", "2", "-m", "not slow", "--ignore", "tests/test_site.py"],
    "library": [*PYTEST, "-n", "2", "--ignore", "tests/test_site.py"],
    "chapters": [sys.executable, "scripts/chapters.py"],
    "exercises": [*PYTHON, "mlipbook", "test-exercises", "--profile", "smoke", "--workers", "2"],
    "build": [JUPYTER_BOOK, "build", ".", "-W", "-n", "--keep-going", "--all", "-q"],
    "site": [*PYTEST, "-rs", "tests/test_site.py"],
}


def main() -> int:
    chosen = sys.argv[1:] or [name for name in STAGES if name != "fast"]
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
        return 2
    # One thread a process: two workers run at a time, and results do not depend on the number of cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    lines, failed = [], 0
    for name in chosen:
        print(f"== {name}: {' '.join(STAGES[name][1:])}", flush=True)
        start = time.perf_counter()
        if name == "build":  # pages of chapters that are gone would be tested too
            shutil.rmtree(ROOT / "_build" / "html", ignore_errors=True)
        status = subprocess.run(STAGES[name], cwd=ROOT, env=environment).returncode
        failed += status != 0
        lines.append(f"{name:10s} {'ok' if status == 0 else 'FAILED'} {time.perf_counter() - start:7.1f} s")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
