"""Binary networks of aenet (.nn): reading and writing, byte for byte.

A Fortran sequential file of 36 records, little-endian, each between two 4-byte lengths. `records` has
that layout, from which reading and writing both follow, and what a sound file fulfills. Of the descriptors
only Chebyshev's are supported.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from mlipbook.aenet.files import FilePath
from mlipbook.aenet.records import CHECKS, RECORDS, NetworkFile, Values
from mlipbook.archive import replacing


def read_network(path: FilePath) -> NetworkFile:
    """Read a binary .nn file of aenet.

    Raises ValueError naming the file, the record and what was expected for anything else or damaged.
    """
    data, offset = Path(path).read_bytes(), 0
    values: Values = {}
    _refuse_other_formats(path, data)
    for number, (name, kind, shape) in enumerate(RECORDS, 1):
        where = f"{path}: record {number} ({name})"
        dimensions = () if shape is None else shape(values)
        size = int(kind[1:]) * int(np.prod(dimensions))
        value = _unpack(_record(data, offset, size, where), kind, dimensions)
        values[name] = value
        if kind == "f8" and not np.isfinite(value).all():
            raise ValueError(f"{where}: holds NaN or infinite numbers; write the file again with aenet")
        holds, expected = CHECKS.get(name, (lambda v: True, ""))
        if not holds(values):
            raise ValueError(f"{where}: expected {expected}, found {value!r:.200}")
        offset += size + 8
    if offset != len(data):
        raise ValueError(f"{path}: {len(data) - offset} bytes follow record 36, the last one; expected none")
    return NetworkFile(**values)


def write_network(path: FilePath, network: NetworkFile) -> None:
    """Write a binary .nn file; a file that was read comes out byte for byte.

    Raises ValueError for texts that are longer than their records.
    """
    with replacing(path) as file:
        for name, kind, _ in RECORDS:
            raw = _pack(getattr(network, name), kind, name)
            length = struct.pack("<i", len(raw))
            file.write(length + raw + length)


def _refuse_other_formats(path: FilePath, data: bytes) -> None:
    if b"\x04\0\0\0".startswith(data[:4]):
        return
    if data[:4] == b"\0\0\0\x04":
        why = "big-endian numbers; write it on a little-endian machine"
    elif data and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:200]):
        why = "text; if it is a .nn.ascii file, take the binary .nn file from which it was converted"
    else:
        why = "no Fortran record of 4 bytes"
    raise ValueError(f"{path}: record 1 (n_layers): the file begins with {why}; expected a binary .nn file")


def _record(data: bytes, offset: int, size: int, where: str) -> bytes:
    end = offset + size + 8
    for place in (offset, end - 4):
        if place + 4 > len(data):
            raise ValueError(
                f"{where}: expected {size} bytes, but the file ends at byte {len(data)}: it is truncated; "
                "copy it again"
            )
        (length,) = struct.unpack_from("<i", data, place)
        if length != size:
            raise ValueError(
                f"{where}: expected {size} bytes, but the length at byte {place} says {length}: the file is "
                "damaged or of another format; copy it again"
            )
    return data[offset + 4 : end - 4]


def _unpack(raw: bytes, kind: str, shape: tuple[int, ...]) -> Any:
    if kind[0] == "c":
        width = int(kind[1:])
        words = tuple(raw[i : i + width].decode("latin-1").rstrip(" ") for i in range(0, len(raw), width))
        return words if shape else words[0]
    array = np.frombuffer(raw, "<" + kind).reshape(shape, order="F").copy()
    return array if shape else array.item()


def _pack(value: Any, kind: str, name: str) -> bytes:
    if kind[0] != "c":
        return np.asarray(value, "<" + kind).tobytes(order="F")
    width = int(kind[1:])
    words = [word.encode("latin-1") for word in ([value] if isinstance(value, str) else value)]
    for word in words:
        if len(word) > width:
            raise ValueError(f"{name}: {word[:60]!r} has {len(word)} characters, aenet has room for {width}")
    return b"".join(word.ljust(width) for word in words)
