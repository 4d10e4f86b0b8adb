"""What lies in files, and how one knows that it is what was written.

Arrays with a JSON description in one npz file (`save`, `load`): potentials, parts of trajectories in the
store of a run (state and series), checkpoints of fits, arrays beside stored results. JSON with a checksum
(`write_json`, `read_json`): results in results/full; finished jobs of campaigns and labels have one too. What
is not as it was written is `Damaged`; what belongs to something else is told by its `identity` and refused;
a store in use is `InUse`.
"""

from mlipbook.archive.arrays import load, load_arrays, save
from mlipbook.archive.documents import made, read_json, write_json
from mlipbook.archive.files import Damaged, reading, replacing
from mlipbook.archive.identity import Unidentified, described, identity, refuse_other
from mlipbook.archive.locks import InUse, locked

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
]
__all__ += ["read_json", "reading", "refuse_other", "replacing", "save", "write_json"]
