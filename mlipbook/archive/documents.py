"""JSON files that carry their own checksum: results, finished jobs, notes of what a file was made of."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlipbook.archive.files import FilePath, reading, replacing
from mlipbook.archive.identity import described, refuse_other

SEAL = "sha256"  # name of the last entry
LENGTH = 64


def write_json(path: FilePath, content: Mapping[str, Any], **options: Any) -> None:
    """Write a JSON object with a last entry "sha256", of all others; options: of json.dumps. Raises
    ValueError if it has an entry of that name, TypeError for what JSON cannot hold (ValueError for NaN with
    allow_nan=False), OSError if the file cannot be written.
    """
    if SEAL in content:
        raise ValueError(f"{path}: an entry {SEAL!r} is the checksum's; take another name")
    plain = json.loads(json.dumps(content, **options))
    with replacing(path) as file:
        file.write((json.dumps({**plain, SEAL: _checksum(plain)}, indent=1) + "\n").encode())


def read_json(path: FilePath) -> dict[str, Any]:
    """The content that `write_json` was given, or an object without checksum, from elsewhere or older. Raises
    Damaged (a ValueError) for anything else; FileNotFoundError if there is no file.
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


def made(path: FilePath, **of: Any) -> bool:
    """Whether this file is there and was made of these values (`archive.identity`). If it is not there, notes
    beside it, in PATH.made-of.json, what the caller will make it of.

    Raises ValueError, naming both, for a file that was made of something else. A file without such a note, of
    an older version, is taken as it is, with a warning.
    """
    path, wanted = Path(path), {name: described(value) for name, value in of.items()}
    note = path.with_name(f"{path.name}.made-of.json")
    if not path.exists():
        write_json(note, wanted)
        return False
    if note.exists():
        refuse_other(path, read_json(note), wanted, "move it away to have it made again")
    else:
        words = ", ".join(f"{name} {text}" for name, text in wanted.items())
        warnings.warn(f"{path}: nothing tells what it was made of; taken as made of {words}", stacklevel=2)
    return True
