"""Make book/animations/ch07_melting.json: the teacher of chapter 7 melts a crystal, for the page's viewer.

python scripts/make_animation.py [--rate 25] [--frames 80]
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk

from mlipbook import Structures, bookkit, load, observables
from mlipbook.dynamics import NPT, Limits, Ramp, Trajectory, thermalize
from mlipbook.studies.melting import runs as hysteresis
from mlipbook.units import fs

HEATING = 300.0, 540.0  # K
TARGET = Path(__file__).parents[1] / "book" / "animations" / "ch07_melting.json"
VIEW = {
    "bonds": False,
    "unitCell": True,
    "keepOrientation": True,
    "playbackDelay": 100,
    "environments": {"activated": False},
    "color": {"property": "local order", "min": 0.05, "max": 0.45, "palette": "viridis"},
}
MAP = {"x": {"property": "temperature"}, "y": {"property": "density"}, "color": {"property": "Q6"}}


def melt(rate: float, frames: int) -> Trajectory:
    """One heating ramp at this rate (K/ps), observed at every frame."""
    first, last = HEATING
    every = round((last - first) / rate * 1e3 / hysteresis.TIMESTEP / frames)
    potential = hysteresis.in_single_precision(load(bookkit.full_file("hysteresis-teacher.npz")))
    crystal = bulk("Na", "bcc", a=hysteresis.LATTICE, cubic=True) * (4, 4, 4)
    simulation = NPT(potential, hysteresis.TIMESTEP * fs, Ramp(first, last, every * frames))
    watched = {"density": observables.density, "Q6": observables.q6}
    start = thermalize(crystal, 2 * first, seed=1)  # half of it goes into vibrations
    limits = Limits(closest=hysteresis.CLOSEST)
    return simulation.run(start, every * frames, watched, every, frames=every, limits=limits, progress=False)


def scene(run: Trajectory) -> dict:
    """The trajectory as chemiscope reads it: structures, properties of structures and of atoms."""
    cells = run.cells[:, 0]
    inside = (run.positions[:, 0] @ torch.linalg.inv(cells) + 1 / 16) % 1  # lattice planes off the faces
    structures = Structures(inside @ cells, cells, run.state.structures.species)
    local = observables.averaged_bond_order(structures, 6)
    temperature = np.linspace(*HEATING, len(cells) + 1)[1:]
    columns = {
        "temperature": (temperature, {"units": "K"}, "structure"),
        "density": (run.observed["density"][:, 0], {"units": "g/cm³"}, "structure"),
        "Q6": (run.observed["Q6"][:, 0], {}, "structure"),
        "local order": (local.flatten(), {}, "atom"),
    }
    return {
        "meta": {"name": "Melting of sodium"},
        "structures": [frame(x, cell) for x, cell in zip(structures.positions, cells, strict=True)],
        "properties": {
            name: {"target": target, "values": np.round(np.asarray(values), 3).tolist(), **unit}
            for name, (values, unit, target) in columns.items()
        },
        "settings": {"target": "structure", "map": MAP, "structure": [VIEW]},
    }


def frame(positions: torch.Tensor, cell: torch.Tensor) -> dict:
    axes = {name: np.round(x.numpy(), 2).tolist() for name, x in zip("xyz", positions.T, strict=True)}
    names = ["Na"] * len(positions)
    return {"size": len(positions), "names": names, **axes, "cell": np.round(cell.flatten(), 3).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=25.0, help="K/ps")
    parser.add_argument("--frames", type=int, default=80)
    given = parser.parse_args()
    content = scene(melt(given.rate, given.frames))
    temporary = TARGET.with_suffix(".tmp")
    TARGET.parent.mkdir(exist_ok=True)
    temporary.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
    os.replace(temporary, TARGET)


if __name__ == "__main__":
    main()
