"""Files that are made once: whether one is there, and of what."""

import os
import warnings
from pathlib import Path
from typing import Any

from mlipbook.archive.documents import read_json, write_json
from mlipbook.archive.identity import described, refuse_other


def made(path: str | os.PathLike[str], **of: Any) -> bool:
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
