"""One npz file for named arrays and a JSON description of them: potentials, checkpoints, derived data.

No pickle: a file from a stranger is data, never code.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from torch import Tensor

from mlipbook.archive.files import Damaged, FilePath, reading, replacing

MEMBER = "__metadata__"
ROOM = 2**26  # bytes that may be unpacked from any file,
TIMES = 20  # or from a larger one so many times its size
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def save(path: FilePath, arrays: Mapping[str, np.ndarray | Tensor], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata (JSON types; must hold "kind": str and "version": int) to one npz file.
    Raises ValueError if kind or version are missing or an array holds Python objects, TypeError if the
    metadata are not JSON, OSError if the file cannot be written.
    """
    if not isinstance(metadata.get("kind"), str) or not isinstance(metadata.get("version"), int):
        raise ValueError(f"{path}: metadata need 'kind' (str) and 'version' (int), have {sorted(metadata)}")
    members = {MEMBER: np.array(json.dumps(dict(metadata)))}
    for name, array in arrays.items():
        members[name] = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
        if members[name].dtype.hasobject:
            raise ValueError(f"{path}: array {name!r} holds Python objects; put them into the metadata")
    with replacing(path) as file:
        np.savez(file, **members)  # type: ignore[arg-type]


def load(
    path: FilePath, kind: str | None = None, version: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of a file that `save` wrote; checked against `kind` and the newest `version` known.
    Raises Damaged (a ValueError), naming file and way out, for a file that is not what was written;
    ValueError if it is of another kind or too new; FileNotFoundError if it is not there.
    """
    arrays = load_arrays(path)
    with reading(path):
        metadata = json.loads(str(arrays.pop(MEMBER)))
        found, made = metadata["kind"], metadata["version"]
        if not isinstance(found, str) or not isinstance(made, int):
            raise TypeError(f"kind {found!r}, version {made!r}")
    if kind is not None and found != kind:
        raise ValueError(f"{path}: holds a {found!r}, expected a {kind!r}; give another file")
    if version is not None and made > version:
        raise ValueError(f"{path}: {found} version {made}, this mlipbook knows {version}; update mlipbook")
    return arrays, metadata


def load_arrays(path: FilePath) -> dict[str, np.ndarray]:
    """All arrays of an npz file. np.load does not look at the checksums of members above 4 kB; this does.
    Raises Damaged for anything but a sound npz file without pickles, FileNotFoundError if it is not there.
    """
    with open(path, "rb") as file, reading(path), zipfile.ZipFile(file) as archive:
        members, packed = archive.infolist(), os.fstat(file.fileno()).st_size
        unpacked = sum(member.file_size for member in members)
        if unpacked > max(ROOM, TIMES * packed):
            raise Damaged(
                f"{path}: {packed} bytes that would unpack to {unpacked}, more than {TIMES} times their "
                "size: no file of ours; make it again, or restore it from a copy"
            )
        arrays = {each.filename.removesuffix(".npy"): _array(archive.read(each), each) for each in members}
        if len(arrays) < len(members):
            raise ValueError("two members of one name")
        return arrays


def _array(content: bytes, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member, of which zipfile has checked the checksum, if the length is what it says."""
    stream = BytesIO(content)
    shape, fortran, dtype = HEADERS[npy.read_magic(stream)](stream)
    expected = stream.tell() + prod(shape) * dtype.itemsize
    if dtype.hasobject or not len(content) == member.file_size == expected:
        raise ValueError(f"{member.filename}: {len(content)} bytes for {shape} of {dtype}")
    array = np.frombuffer(bytearray(content), dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")
