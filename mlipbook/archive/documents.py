"""JSON files that carry their own checksum: results, finished jobs."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlipbook.archive.files import reading, replacing

SEAL = "sha256"  # name of the last entry
LENGTH = 64


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any], **options: Any) -> None:
    """Write a JSON object with a last entry "sha256", of all others; options: of json.dumps.

    Raises ValueError if it has an entry of that name, TypeError for what JSON cannot hold (ValueError for
    NaN with allow_nan=False), OSError if the file cannot be written.
    """
    if SEAL in content:
        raise ValueError(f"{path}: an entry {SEAL!r} is the checksum's; take another name")
    plain = json.loads(json.dumps(content, **options))
    with replacing(path) as file:
        file.write((json.dumps({**plain, SEAL: _checksum(plain)}, indent=1) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content that `write_json` was given, or an object without checksum, from elsewhere or older.

    Raises Damaged (a ValueError) for anything else; FileNotFoundError if there is no file.
    """
    with reading(path):
        content = json.loads(Path(path).read_bytes().decode())
        if not isinstance(content, dict):
            raise TypeError(f"{content!r:.50} instead of an object")
        name, last = next(reversed(content.items()), ("", None))
        # A checksum whose name is damaged is still known, by its place and length.
        sealed = SEAL in content or (isinstance(last, str) and len(last) == LENGTH)
        if sealed and (content.pop(name) != _checksum(content) or name != SEAL):
            raise ValueError("its checksum is not that of its content")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
