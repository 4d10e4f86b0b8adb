"""Files that appear whole or not at all, and the one error for those that are not what was written."""

import errno
import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

FilePath = str | os.PathLike[str]
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
LEFTOVER = re.compile(r"\.(?:([0-9a-f]{8})-(\d+)-[0-9a-f]{8}|[0-9a-f]{32})\.tmp$")
OLD = 7 * 86400  # seconds, after which a leftover of another host, or without an owner, has none any more
swept: set[Path] = set()  # by this process


class Damaged(ValueError):
    """A file that is not what was written. The message names the file, what is wrong, and the way out."""


@contextmanager
def reading(
    path: FilePath,
    what: str = "a file written by mlipbook",
    remedy: str = "make it again, or restore it from a copy",
) -> Iterator[None]:
    """Whatever goes wrong in this block is damage of the file: raises Damaged, and nothing else but what
    tells that the file cannot be opened (FileNotFoundError, PermissionError, IsADirectoryError).
    """
    try:
        yield
    except (Damaged, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}".strip(": ")
        raise Damaged(f"{path}: not {what}, or damaged ({why:.300}); {remedy}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system say which file could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error.__cause__, OSError):  # says so already, of another file
            raise
        file = isinstance(error, FileExistsError | NotADirectoryError)
        way = (
            "move the file that lies where a folder is wanted"
            if file
            else "make room, or the folder writable"
        )
        said = f"{path} cannot be written ({error.strerror or error}); what was written before is complete"
        raise OSError(error.errno, f"{said}: {way}, and make the same call again") from error


@contextmanager
def replacing(path: FilePath) -> Iterator[BinaryIO]:
    """A binary file to write; it takes the place of `path` when the block ends, and is removed on an error. A
    process killed half-way, or a machine that loses its power, leaves the former file as it was. Raises
    OSError with the name of the file if it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{HOST}-{os.getpid()}-{uuid4().hex[:8]}.tmp")
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # the contents before the name
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _to_disk(path.parent)


def sweep(folder: Path) -> None:
    """Remove what processes that died while they wrote left in a folder; once per folder and process."""
    if (folder := folder.resolve()) in swept:
        return
    swept.add(folder)
    for path in folder.glob("*.tmp"):
        if found := LEFTOVER.search(path.name):
            host, pid = found.groups()
            with suppress(OSError):
                old = time.time() - path.stat().st_mtime > OLD
                if (not _lives(int(pid))) if host == HOST else old:
                    path.unlink()


def _lives(pid: int) -> bool:
    try:
        if os.name == "posix":  # elsewhere a signal 0 is no question
            os.kill(pid, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, PermissionError)  # of another user
    return True


def _to_disk(folder: Path) -> None:
    with suppress(OSError):  # not every system syncs folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
