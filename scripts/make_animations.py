"""Make an animation of a page's viewer (chemiscope): python scripts/make_animations.py melting|silver

melting: the teacher of chapter 7 melts a crystal, book/animations/ch07_melting.json. silver: silver flows
through the lattice of selenium, ch11_silver.json; the run is that of the superionic study at 500 K, and with
--folder it is read from there, not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk

from mlipbook import Structures, archive, bookkit, load, observables
from mlipbook.dynamics import NPT, Limits, Ramp, thermalize
from mlipbook.studies.conductivity import superionic
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE
from mlipbook.studies.melting import ramps as hysteresis
from mlipbook.units import fs, ps

FOLDER = Path(__file__).parents[1] / "book" / "animations"
HEATING, RATE = (300.0, 540.0), 25.0  # K, K/ps
VIEW = {"bonds": False, "unitCell": True, "keepOrientation": True, "environments": {"activated": False}}


def melting(frames: int) -> dict:
    """One heating ramp, observed at every frame."""
    first, last = HEATING
    every = round((last - first) / RATE * 1e3 / hysteresis.TIMESTEP / frames)
    potential = hysteresis.in_single_precision(load(bookkit.full_file("hysteresis-teacher.npz")))
    crystal = bulk("Na", "bcc", a=hysteresis.LATTICE, cubic=True) * (4, 4, 4)
    simulation = NPT(potential, hysteresis.TIMESTEP * fs, Ramp(first, last, every * frames))
    watched = {"density": observables.density, "Q6": observables.q6}
    options: dict[str, Any] = {"limits": Limits(closest=hysteresis.CLOSEST), "progress": False}
    start = thermalize(crystal, 2 * first, seed=1)  # half of it goes into vibrations
    run = simulation.run(start, every * frames, watched, every, frames=every, **options)
    cells = run.cells[:, 0]
    inside = (run.positions[:, 0] @ torch.linalg.inv(cells) + 1 / 16) % 1  # lattice planes off the faces
    structures = Structures(inside @ cells, cells, run.state.structures.species)
    columns = {
        "temperature": (np.linspace(*HEATING, len(cells) + 1)[1:], "K", "structure"),
        "density": (run.observed["density"][:, 0], "g/cm³", "structure"),
        "Q6": (run.observed["Q6"][:, 0], "", "structure"),
        "local order": (observables.averaged_bond_order(structures, 6).flatten(), "", "atom"),
    }
    view = {"playbackDelay": 100, "color": colored("local order", 0.05, 0.45)}
    return scene("Melting of sodium", structures, columns, ("temperature", "density", "Q6"), view, 3)


def silver(frames: int, folder: Path | None) -> dict:
    """How far each ion is from where it was."""
    run = superionic.run(TEMPERATURE, superionic.Sizes(), folder=folder)
    chosen = torch.linspace(0, len(run.positions) - 1, frames).long()
    positions, cells, like = run.positions[chosen, 0], run.cells[chosen, 0], run.state.structures
    way = (positions - positions[0]).norm(dim=-1)  # (frames, N)
    msd = {z: way[:, [s == z for s in like.symbols]].square().mean(1) for z in ("Ag", "Se")}
    edges = run.cells[0, 0].diagonal()
    structures = Structures((positions + edges / 16) % edges, cells, like.species)
    columns = {
        "time": (superionic.TIMESTEP / ps * superionic.EVERY * (chosen - chosen[0]), "ps", "structure"),
        "MSD of Ag": (msd["Ag"], "Å²", "structure"),
        "MSD of Se": (msd["Se"], "Å²", "structure"),
        "way": (way.flatten(), "Å", "atom"),
    }
    view = {"spaceFilling": False, "playbackDelay": 120, "color": colored("way", 0, 6)}
    axes = ("time", "MSD of Ag", "MSD of Se")
    return scene("Silver flows through selenium's lattice", structures, columns, axes, view, 2)


def colored(name: str, low: float, high: float) -> dict:
    return {"property": name, "min": low, "max": high, "palette": "viridis"}


def scene(title: str, frames: Structures, columns: dict, axes: tuple, view: dict, digits: int) -> dict:
    """Frames as chemiscope reads them. columns: name -> values, unit, of a structure or an atom; axes: what
    the map shows as x, y, and color.
    """
    return {
        "meta": {"name": title},
        "structures": [
            frame(x, cell, frames.symbols) for x, cell in zip(frames.positions, frames.cells, strict=True)
        ],
        "properties": {
            name: {"target": target, "values": np.round(np.asarray(values), digits).tolist()}
            | ({"units": unit} if unit else {})
            for name, (values, unit, target) in columns.items()
        },
        "settings": {
            "target": "structure",
            "map": {at: {"property": name} for at, name in zip(("x", "y", "color"), axes, strict=True)},
            "structure": [VIEW | view],
        },
    }


def frame(positions: torch.Tensor, cell: torch.Tensor, symbols: tuple[str, ...]) -> dict:
    axes = {name: np.round(x.numpy(), 2).tolist() for name, x in zip("xyz", positions.T, strict=True)}
    box = np.round(cell.flatten(), 3).tolist()
    return {"size": len(positions), "names": list(symbols), **axes, "cell": box}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=["melting", "silver"])
    parser.add_argument("--frames", type=int, help="default: 80 of melting, 40 of silver")
    parser.add_argument("--folder", type=Path, help="trajectories of the superionic study")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.name == "melting":
        path, content = FOLDER / "ch07_melting.json", melting(given.frames or 80)
    else:
        path, content = FOLDER / "ch11_silver.json", silver(given.frames or 40, given.folder)
    with archive.replacing(path) as file:
        file.write((json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    main()
