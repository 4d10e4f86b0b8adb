"""One npz file for named arrays and a JSON description of them: potentials, checkpoints, derived data.

No pickle: a file from a stranger is data, never code. Files appear under their name only when complete.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from torch import Tensor

MEMBER = "__metadata__"
DAMAGE = (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write; it takes the place of `path` when the block ends, and is removed on an error.

    A process killed half-way leaves the former file as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray | Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and metadata (JSON types; must hold "kind": str and "version": int) to one npz file.

    Raises ValueError if kind or version are missing or an array holds Python objects, TypeError if the
    metadata are not JSON.
    """
    if not isinstance(metadata.get("kind"), str) or not isinstance(metadata.get("version"), int):
        raise ValueError(f"{path}: metadata need 'kind' (str) and 'version' (int), have {sorted(metadata)}")
    members = {
        name: array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
        for name, array in arrays.items()
    }
    for name, array in members.items():
        if array.dtype.hasobject:
            raise ValueError(f"{path}: array {name!r} holds Python objects; put them into the metadata")
    members[MEMBER] = np.array(json.dumps(dict(metadata)))
    with replacing(path) as file:
        np.savez(file, **members)  # type: ignore[arg-type]


def load(
    path: str | os.PathLike[str], kind: str | None = None, version: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of a file that `save` wrote; checked against `kind` and the newest `version` known.

    Raises ValueError, naming the file and the way out, if it is damaged, of another kind, or too new;
    FileNotFoundError if it is not there.
    """
    try:
        with open(path, "rb") as file:
            zipfile.ZipFile(file).close()  # np.load would go on to try other formats, and pickle
            file.seek(0)
            with np.load(file, allow_pickle=False) as members:
                arrays = dict(members)
        metadata = json.loads(str(arrays.pop(MEMBER)))
        found, made = metadata["kind"], metadata["version"]
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DAMAGE as error:
        raise ValueError(
            f"{path}: not a file written by mlipbook, or damaged ({type(error).__name__}: {error}); "
            "make it again, or restore it from a copy"
        ) from error
    if kind is not None and found != kind:
        raise ValueError(f"{path}: holds a {found!r}, expected a {kind!r}; give another file")
    if version is not None and made > version:
        raise ValueError(f"{path}: {found} version {made}, this mlipbook knows {version}; update mlipbook")
    return arrays, metadata
