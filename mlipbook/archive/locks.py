"""One process at a time on a store: a lock that says who holds it and dies with its holder."""

import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlipbook.archive.files import FilePath, writing

try:
    import fcntl
except ImportError:  # Windows has no such locks, and does not replace files that are open
    fcntl = None  # type: ignore[assignment]

held: set[int] = set()  # descriptors of this process


class InUse(RuntimeError):
    """Another process works with this store."""


@contextmanager
def locked(path: FilePath | None) -> Iterator[None]:
    """While the block runs, no other process holds this lock, a file that tells process, host and time. The
    system frees the lock when its process ends, in whatever way; a file that a kill left behind is taken
    over. None: there is nothing to lock. Raises InUse, naming the holder, OSError if the file cannot be made.
    """
    if path is None or fcntl is None:
        yield
        return
    with writing(Path(path)):
        descriptor = _take(Path(path))
    held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in held:  # not so in a process that was forked meanwhile
            Path(path).unlink(missing_ok=True)  # while it is held: see _take
            held.remove(descriptor)
            os.close(descriptor)


def _take(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(_refusal(path, descriptor)) from None
        except OSError as error:
            warnings.warn(f"{path}: no locks on this file system ({error.strerror})", stacklevel=5)
        with suppress(FileNotFoundError):  # its holder ended, and removed it, after we had opened it
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _refusal(path: Path, descriptor: int) -> str:
    with open(descriptor, errors="replace") as file:
        holder = file.read(1000).strip() or "another process"
        minutes = (time.time() - os.fstat(descriptor).st_mtime) / 60
    store = path.parent if path.name == "lock" else path
    way = "wait until it ends, stop it, or give another place"
    return f"{store}: in use by {holder} for {minutes:.0f} minutes; {way}"


def _forget() -> None:
    """A forked process does not hold its parent's locks: workers must not keep them when that is killed."""
    for descriptor in held:
        os.close(descriptor)
    held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_forget)
