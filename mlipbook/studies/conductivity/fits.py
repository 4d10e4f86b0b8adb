"""The ten potentials of `conductivity`: labeled frames, a committee, and crystals whose silver is melted.

python -m mlipbook study conductivity.fits --folder F
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from torch import Tensor

from mlipbook import archive, neighbors
from mlipbook.archive import made
from mlipbook.fast.graphs import compiled
from mlipbook.potentials import AgSe, EdgePotential, shortest_distances
from mlipbook.potentials.ann import MemberPerReplica, load
from mlipbook.structures import Structures
from mlipbook.studies.command import command
from mlipbook.studies.conductivity.readings import MEMBERS
from mlipbook.studies.conductivity.silver_selenide import equilibrated, labeled, split
from mlipbook.studies.stress import cost_weights
from mlipbook.units import ps

COSTS = [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0)]  # p_U, p_F, p_W of EF and EFP
FRAMES, INTERVAL = 50, 0.2 * ps  # labeled ones of each of six trajectories


@command()
def prepare(folder: Path, replicas: int = 24, epochs: int = 200, device: str = "cpu") -> None:
    """Labeled frames (*.xyz), a committee of all MODELS (potentials.npz), melted crystals (starts.npz).

    What is there already is not made again; made of something else, it is refused. replicas: of each model.
    """
    folder.mkdir(exist_ok=True, parents=True)
    parts = [folder / f"{name}.xyz" for name in ("train", "valid", "test")]
    if not made(parts[-1], frames=FRAMES, interval=INTERVAL):
        for path, frames in zip(parts, split(labeled(equilibrated(6), FRAMES, INTERVAL)), strict=True):
            ase.io.write(path, frames)
    learn, valid = (list(ase.io.iread(path)) for path in parts[:2])
    options: dict[str, Any] = {"members": MEMBERS, "epochs": epochs}
    if not made(folder / "potentials.npz", costs=COSTS, train=learn, valid=valid, **options):
        options |= {"repulsion": closest(learn), "device": device}
        cost_weights.fit_map(COSTS, learn, valid, **options).cpu().save(folder / "potentials.npz")
    if not made(folder / "starts.npz", replicas=replicas):
        melts = equilibrated(replicas, seed=100, device=device).structures
        keep(folder / "starts.npz", {"positions": melts.positions})


def closest(frames: Sequence[Atoms]) -> float:
    """The shortest distance of any two atoms, A: what a network says below it was never learned."""
    structures = Structures.from_ase(frames)
    edges = neighbors.build(structures, cost_weights.CUTOFF)
    return min(shortest_distances(edges.vectors(structures), edges, structures).values())


@cache
def potential_of(model: str, folder: Path, device: str) -> EdgePotential:
    """The "reference", or all "students" in single precision, each with replicas of its own; for a GPU, where
    days pay for a minute, compiled."""
    students = AgSe() if model == "reference" else MemberPerReplica(load(folder / "potentials.npz").float())
    potential = students.to(device)
    return potential if device == "cpu" else compiled(potential)


def keep(path: Path, arrays: dict[str, Any]) -> None:
    """Write an npz, complete or not at all; series in single precision."""
    plain = {k: v.numpy(force=True) if isinstance(v, Tensor) else np.asarray(v) for k, v in arrays.items()}
    small: dict[str, Any] = {
        k: np.float32(v) if v.ndim > 1 and k != "positions" else v for k, v in plain.items()
    }
    with archive.replacing(path) as file:
        np.savez_compressed(file, **small)
