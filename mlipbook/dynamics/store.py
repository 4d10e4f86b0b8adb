"""Trajectories in files: a folder with one file per chunk of steps.

Each file holds what was observed in its chunk and the state at its end, appears under its name only when
complete, and is never changed: the last one is the checkpoint.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlipbook import archive
from mlipbook.dynamics.state import State
from mlipbook.dynamics.trajectory import SERIES, Trajectory, write_extxyz

KIND, VERSION = "part of a trajectory", 4  # 3: identities by archive.identity; 4: momenta of frames


class Store:
    """The folder of a run, or none, which keeps nothing. identity: name -> what tells it from other runs."""

    def __init__(self, folder: str | os.PathLike[str] | None, identity: Mapping[str, str]):
        self.folder, self.identity = None if folder is None else Path(folder), dict(identity)
        self.lock = self.folder and self.folder / "lock"

    def parts(self, like: State, end: int) -> list[Trajectory]:
        """What is there, on the device of this state. ValueError if damaged, of another run, beyond `end`."""
        found = self.folder.glob("part-*.npz") if self.folder else ()
        paths = sorted(found, key=lambda path: (len(path.name), path.name))  # 100000 after 99999
        for path, name in zip(paths, map(name_of, range(len(paths))), strict=True):
            if path.name != name:
                raise ValueError(f"{path.with_name(name)} is missing; put it back, or give another folder")
        parts = [self.load(path, like) for path in paths]
        if parts and parts[-1].state.step > end:
            raise ValueError(
                f"{self.folder}: holds steps up to {parts[-1].state.step}, the run shall end at {end}; "
                "ask for more steps, or give another folder"
            )
        return parts

    def save(self, parts: Sequence[Trajectory]) -> None:
        """Write the last of these parts."""
        if self.folder:
            state = parts[-1].state
            metadata = {
                "kind": KIND,
                "version": VERSION,
                "identity": self.identity,
                "step": state.step,
                "seeds": list(state.seeds),
                "degrees_of_freedom": state.degrees_of_freedom,
            }
            archive.save(self.folder / name_of(len(parts) - 1), arrays_of(parts[-1]), metadata)

    def save_frames(self, state: State) -> None:
        """All replicas of the last good state before a run stopped."""
        if self.folder:
            write_extxyz(self.folder / "last-good.extxyz", state.to_ase())

    def load(self, path: Path, like: State) -> Trajectory:
        arrays, metadata = archive.load(path, KIND, VERSION)
        sound = partial(archive.reading, path, "a part of a trajectory", "delete it and all later parts")
        way = "give another folder, or delete this one to start again"
        if metadata["version"] < VERSION:
            raise ValueError(f"{path}: of an older version, which keeps and tells less; {way}")
        with sound():
            told = {str(name): str(text) for name, text in dict(metadata["identity"]).items()}
        archive.refuse_other(path, told, self.identity, way)
        with sound():
            groups: dict[str, Any] = defaultdict(dict)
            for name, array in arrays.items():
                group, _, key = name.partition(".")
                groups[group][key] = torch.as_tensor(array)
            own = {"observed": groups["observed"], "times": groups["times"], **groups["series"]}
            return Trajectory(state_from(groups["state"], groups["extended"], metadata, like), **own)


def name_of(number: int) -> str:
    return f"part-{number:05d}.npz"


def arrays_of(part: Trajectory) -> dict[str, Tensor]:
    state, structures = part.state, part.state.structures
    groups = {
        "state": {"positions": structures.positions, "cells": structures.cells, "momenta": state.momenta},
        "extended": state.extended,
        "observed": part.observed,
        "times": part.times,
        "series": {name: getattr(part, name) for name in SERIES},
    }
    return {f"{group}.{name}": value for group, of in groups.items() for name, value in of.items()}


def state_from(own: Mapping[str, Tensor], more: Mapping[str, Tensor], told: dict, like: State) -> State:
    mine, extended = ({name: x.to(like.momenta.device) for name, x in of.items()} for of in (own, more))
    structures = replace(like.structures, positions=mine["positions"], cells=mine["cells"])
    seeds, free, step = told["seeds"], told["degrees_of_freedom"], told["step"]
    whole = all(isinstance(number, int) for number in (*seeds, free, step))
    if not whole or len(seeds) != len(like) or extended.keys() != like.extended.keys():
        raise ValueError(f"seeds {seeds}, {free} degrees of freedom, step {step}, and {', '.join(extended)}")
    return State(structures, mine["momenta"], tuple(seeds), free, step, extended)
