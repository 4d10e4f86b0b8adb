"""Make book/animations/ch11_silver.json: silver flows through the lattice of selenium, for the page's viewer.

    python scripts/make_silver_animation.py [--frames 40] [--folder FOLDER]

The run is that of the superionic study at 500 K; with its folder it is read from there, not run again.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from mlipbook.potentials import AgSe
from mlipbook.studies.conductivity import superionic
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE
from mlipbook.units import ps

TARGET = Path(__file__).parents[1] / "book" / "animations" / "ch11_silver.json"
VIEW = {
    "bonds": False,
    "spaceFilling": False,
    "unitCell": True,
    "keepOrientation": True,
    "playbackDelay": 120,
    "environments": {"activated": False},
    "color": {"property": "way", "min": 0, "max": 6, "palette": "viridis"},
}
MAP = {"x": {"property": "time"}, "y": {"property": "MSD of Ag"}, "color": {"property": "MSD of Se"}}


def scene(positions: torch.Tensor, cell: torch.Tensor, symbols: tuple[str, ...], times: np.ndarray) -> dict:
    """positions: (frames, N, 3) A, not wrapped; times: (frames,) ps."""
    way = (positions - positions[0]).norm(dim=-1)  # (frames, N)
    msd = {z: way[:, [s == z for s in symbols]].square().mean(1) for z in ("Ag", "Se")}
    columns = {
        "time": (times, {"units": "ps"}, "structure"),
        "MSD of Ag": (msd["Ag"], {"units": "Å²"}, "structure"),
        "MSD of Se": (msd["Se"], {"units": "Å²"}, "structure"),
        "way": (way.flatten(), {"units": "Å"}, "atom"),
    }
    edges = cell.diagonal()
    inside = (positions + edges / 16) % edges  # lattice planes off the faces
    return {
        "meta": {"name": "Silver flows through selenium's lattice"},
        "structures": [frame(x, cell, symbols) for x in inside],
        "properties": {
            name: {"target": target, "values": np.round(np.asarray(values), 2).tolist(), **unit}
            for name, (values, unit, target) in columns.items()
        },
        "settings": {"target": "structure", "map": MAP, "structure": [VIEW]},
    }


def frame(positions: torch.Tensor, cell: torch.Tensor, symbols: tuple[str, ...]) -> dict:
    axes = {name: np.round(x.numpy(), 2).tolist() for name, x in zip("xyz", positions.T, strict=True)}
    box = np.round(cell.flatten(), 3).tolist()
    return {"size": len(positions), "names": list(symbols), **axes, "cell": box}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="trajectories of the superionic study")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = superionic.run(AgSe(), TEMPERATURE, superionic.Sizes(), folder=given.folder)
    chosen = torch.linspace(0, len(run.positions) - 1, given.frames).long()
    times = superionic.TIMESTEP / ps * superionic.EVERY * (chosen - chosen[0]).numpy()
    symbols = run.state.structures.symbols
    content = scene(run.positions[chosen, 0], run.cells[0, 0], symbols, times)
    temporary = TARGET.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
    os.replace(temporary, TARGET)


if __name__ == "__main__":
    main()
