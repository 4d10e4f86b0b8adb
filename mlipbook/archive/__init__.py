"""What lies in files, and how one knows that it is what was written."""

from mlipbook.archive.arrays import load, load_arrays, save
from mlipbook.archive.documents import read_json, write_json
from mlipbook.archive.files import Damaged, reading, replacing
from mlipbook.archive.identity import Unidentified, described, identity, refuse_other
from mlipbook.archive.locks import InUse, locked
from mlipbook.archive.made import made

__all__ = [
    "Damaged",
    "InUse",
    "Unidentified",
    "described",
    "identity",
    "load",
    "load_arrays",
    "locked",
    "made",
    "read_json",
    "reading",
    "refuse_other",
    "replacing",
    "save",
    "write_json",
]
