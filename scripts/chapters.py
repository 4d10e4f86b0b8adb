"""Run every chapter at smoke as one who has the wheel alone: from an empty folder, without a network.

python scripts/chapters.py [CHAPTER...]

Builds the wheel, installs it into a folder of its own, and compares what the chapters record with what is
expected; then runs them as a student changes them, with another seed and other sizes. The kernels import
mlipbook from there, and a connection to another machine is an error in them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_NETWORK = """
import socket
connect, lookup = socket.socket.connect, socket.getaddrinfo
HERE = ("localhost", "127.0.0.1", "::1", None)
def refuse(host):
    if host not in HERE:
        raise OSError(f"a chapter asked for {host}: nothing is fetched at run time")
def local_connect(self, address):
    if isinstance(address, tuple):
        refuse(address[0])
    return connect(self, address)
def local_lookup(host, *rest, **options):
    refuse(host)
    return lookup(host, *rest, **options)
socket.socket.connect, socket.getaddrinfo = local_connect, local_lookup
"""  # as sitecustomize.py, which every Python imports when it starts


def install(folder: Path) -> Path:
    """The folder with the installed wheel."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    [wheel] = folder.glob("*.whl")
    package = folder / "package"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        package,
        wheel,
    ]
    subprocess.run(pip, check=True)
    (package / "sitecustomize.py").write_text(NO_NETWORK)
    return package


def check(package: Path, empty: Path) -> None:
    """That kernels will have this mlipbook, and no network."""
    code = "import mlipbook, socket; print(mlipbook.__file__); socket.create_connection(('example.org', 80))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )
    if answer.stdout.strip() != str(package / "mlipbook" / "__init__.py"):
        raise RuntimeError(f"mlipbook came from {answer.stdout or answer.stderr}")
    if "nothing is fetched at run time" not in answer.stderr:
        raise RuntimeError("the network is not blocked")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        package = install(folder)
        (folder / "empty").mkdir()
        check(package, folder / "empty")
        words = ["test-notebooks", "--profile=smoke", "--workers=2", f"--package={package}", *sys.argv[1:]]
        command = [sys.executable, "-m", "mlipbook", *words]
        return max(subprocess.run([*command, *more], cwd=ROOT).returncode for more in ([], ["--perturbed"]))


if __name__ == "__main__":
    sys.exit(main())
