"""Labels of this package against those of pw.x, same structures: python scripts/compare_codes.py FOLDER

FOLDER holds frames of bundled sets labeled again by mlipbook.dft: extended xyz files in na-gamma/ and na-4k/.
The differences go to results/full/dft-against-pwx.json, from which scripts/make_data_cards.py takes them.
"""

import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlipbook import bookkit, datasets
from mlipbook.studies.active_learning import rmse
from mlipbook.units import GPa, meV

TARGET = Path(__file__).parents[1] / "results" / "full" / "dft-against-pwx.json"
UNITS = {"energy": "meV/atom", "force rms": "meV/A", "force largest": "meV/A", "stress largest": "GPa"}


def differences(ours: Atoms, theirs: Atoms) -> dict[str, float]:
    """Ours minus theirs, in UNITS.

    Raises ValueError if the structures differ.
    """
    if not np.allclose(ours.positions, theirs.positions, rtol=0, atol=1e-7):
        raise ValueError(f"frame {ours.info['frame']}: another structure than in the data set")
    forces = (ours.get_forces() - theirs.get_forces()) / meV
    return {
        "energy": float(ours.get_potential_energy() - theirs.get_potential_energy()) / len(ours) / meV,
        "force rms": float(np.sqrt((forces**2).mean())),
        "force largest": float(abs(forces).max()),
        "stress largest": float(abs(ours.get_stress() - theirs.get_stress()).max() / GPa),
    }


def main(folder: Path) -> None:
    rows, began = [], time.perf_counter()
    for name in ("na-gamma", "na-4k"):
        theirs = {atoms.info["frame"]: atoms for atoms in datasets.load(name)}
        for path in sorted((folder / name).glob("*.xyz")):
            ours = ase.io.read(path)
            frame = ours.info["frame"]
            if theirs[frame].info["provenance"]["calculator"] != "pw.x":
                raise ValueError(f"{name}: frame {frame} of the data set is not labeled by pw.x")
            about = {"set": name, "frame": frame, "phase": theirs[frame].info["phase"]}
            rows.append(about | differences(ours, theirs[frame]) | {"code": ours.info["code"]})
    records = {key: rmse(np.array([row[key] ** 2 for row in rows]), unit) for key, unit in UNITS.items()}
    bookkit.save_result(TARGET, records, time.perf_counter() - began, seed=0, rows=rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
