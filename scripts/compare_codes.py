"""Labels against those of another code or device, same structures: python scripts/compare_codes.py FOLDER

FOLDER holds frames of bundled sets labeled again by mlipbook.dft: extended xyz files in folders named as the
sets. Differences to labels of pw.x go to results/full/dft-against-pwx.json, those to labels of this package
from another device to dft-devices.json; scripts/make_data_cards.py takes them from there.
"""

import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlipbook import bookkit, datasets
from mlipbook.averages import mean
from mlipbook.units import GPa, meV

RESULTS = Path(__file__).parents[1] / "results" / "full"
UNITS = {"energy": "meV/atom", "force rms": "meV/A", "force largest": "meV/A", "stress largest": "GPa"}


def differences(again: Atoms, bundled: Atoms) -> dict[str, float]:
    """The new label minus the bundled one, in UNITS.

    Raises ValueError if the structures differ.
    """
    if not np.allclose(again.positions, bundled.positions, rtol=0, atol=1e-7):
        raise ValueError(f"frame {again.info['frame']}: another structure than in the data set")
    forces = (again.get_forces() - bundled.get_forces()) / meV
    return {
        "energy": float(again.get_potential_energy() - bundled.get_potential_energy()) / len(again) / meV,
        "force rms": float(np.sqrt((forces**2).mean())),
        "force largest": float(abs(forces).max()),
        "stress largest": float(abs(again.get_stress() - bundled.get_stress()).max() / GPa),
    }


def compared(name: str, again: Atoms, bundled: Atoms) -> tuple[str, dict]:
    """The result that a comparison belongs to, and its row there.

    Raises ValueError if both labels are of this package and one device, which would compare nothing.
    """
    frame, origin = again.info["frame"], bundled.info["provenance"]
    about = {"set": name, "frame": frame, "phase": bundled.info["phase"], "code": again.info["code"]}
    row = about | differences(again, bundled)
    if origin["calculator"] == "pw.x":
        return "dft-against-pwx", row
    devices = {"device": again.info["device"], "bundled device": origin.get("device", "cpu")}
    if len(set(devices.values())) == 1:
        raise ValueError(
            f"{name}: both labels of frame {frame} are of this package on {again.info['device']}"
        )
    return "dft-devices", row | devices


def main(folder: Path) -> None:
    found: dict[str, list[dict]] = {}
    began = time.perf_counter()
    for name in datasets.available():
        paths = sorted((folder / name).glob("*.xyz"))
        bundled = {atoms.info["frame"]: atoms for atoms in datasets.load(name)} if paths else {}
        for again in map(ase.io.read, paths):
            target, row = compared(name, again, bundled[again.info["frame"]])
            found.setdefault(target, []).append(row)
    for target, rows in found.items():
        records = {
            key: (mean([row[key] ** 2 for row in rows]) ** 0.5).record(unit) for key, unit in UNITS.items()
        }
        seconds = time.perf_counter() - began
        bookkit.save_result(RESULTS / f"{target}.json", records, seconds, seed=0, rows=rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
