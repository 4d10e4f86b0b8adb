"""C files of this folder as loaded libraries: compiled once for each machine, kept in the user's cache.

A library's name is a hash of all that makes it: source, macros, flags, compiler, CPU. It appears under that
name only when complete, in a folder that nobody else can write; where there is none, it is compiled for this
process alone.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

FLAGS = ["-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"]  # sums of many at a time
FLAGS += {"x86_64": ["-march=native", "-mprefer-vector-width=512"]}.get(platform.machine(), ["-mcpu=native"])


def library(source: str, *defined: str) -> ctypes.CDLL:
    """A C file of this folder, compiled with macros NAME=value by `cc`, or what the environment variable CC
    names. Raises RuntimeError if the compiler is not there, or fails, with what it says.
    """
    found = _loaded(os.environ.get("CC", "cc"), source, defined)
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


@cache
def _loaded(compiler: str, source: str, defined: tuple[str, ...]) -> ctypes.CDLL | str:
    """The library, or why there is none: what failed once is not tried again by this process."""
    path = Path(__file__).with_name(source)
    command = [compiler, *FLAGS, *(f"-D{each}" for each in defined)]
    try:
        with tempfile.TemporaryDirectory() as passing:
            kept = (cache_folder() or Path(passing)) / f"{path.stem}-{fingerprint(command, path)}.so"
            if kept.exists() and ours_alone(kept):
                try:
                    return ctypes.CDLL(str(kept))
                except OSError:  # cut short, or of another system
                    kept.unlink()
            return _compiled(command, path, kept)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error).strip()
        way = (
            "install a C compiler, or name one in the environment variable CC, or use the potential as it is"
        )
        return f"{compiler} could not compile {source} ({said}); {way}"


def _compiled(command: Sequence[str], source: Path, target: Path) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder) / target.name
        command = [*command, "-o", str(new), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        new.chmod(0o700)
        os.replace(new, target)
        return ctypes.CDLL(str(target))


def fingerprint(command: Sequence[str], source: Path) -> str:
    """Of what a library depends on; the compiler by its file, the CPU by what it can do."""
    compiler = Path(shutil.which(command[0]) or command[0]).resolve()
    about = compiler.stat()
    built = (str(compiler), about.st_size, about.st_mtime_ns, platform.machine(), cpu())
    return hashlib.sha256(repr((*built, *command[1:])).encode() + source.read_bytes()).hexdigest()[:32]


def cpu() -> str:
    """What the compiler's -march=native looks at: model and instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
    return "\n".join(line for line in text.splitlines() if line.startswith(wanted))


def cache_folder() -> Path | None:
    """Where libraries are kept: $XDG_CACHE_HOME/mlipbook, or ~/.cache/mlipbook; None if it cannot be written,
    or others could write there."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        folder = Path(base) / "mlipbook"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if ours_alone(folder) and os.access(folder, os.W_OK) else None


def ours_alone(path: Path) -> bool:
    """Whether a file or folder is this user's, not a link, and nobody else can write it."""
    about = path.lstat()
    mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return mine and not stat.S_ISLNK(about.st_mode) and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def described(
    name: str, integers: Sequence[str], doubles: Sequence[str], arrays: Sequence[str]
) -> type[ctypes.Structure]:
    """A C struct of 64-bit integers, doubles and pointers to arrays, in this order."""
    kinds = ((integers, ctypes.c_int64), (doubles, ctypes.c_double), (arrays, ctypes.c_void_p))
    fields = [(field, kind) for names, kind in kinds for field in names]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
