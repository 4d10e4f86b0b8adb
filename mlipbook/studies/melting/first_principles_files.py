"""Files of a run of `first_principles`: checkpoint.npz, and part-0000.npz, ... with PART steps each."""

import json
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlipbook import archive
from mlipbook.bookkit import provenance
from mlipbook.dynamics import State
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures

PART = 50  # steps in a file
KIND, VERSION = "first-principles run", 1


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of numbers, by which these runs know their inner potential and their start."""
    return sha256(b"".join(x.detach().cpu().numpy().tobytes() for x in tensors)).hexdigest()


def moving(state: State) -> list[Tensor]:
    """What of a state its future depends on."""
    structures = state.structures
    return [structures.positions, structures.cells, structures.species, structures.masses, state.momenta]


def bare(state: State, step: int) -> State:
    """The state as it comes back from a file: what a step derived and carried on, to rounding, is dropped,
    and arrays lie in memory as read (the order of a sum, hence its last bit, depends on that).
    """
    structures, found = replace(state.structures), state.evaluated
    energies, forces, virials = (x.contiguous() for x in (found.energies, found.forces, found.virials))
    result = Evaluation(energies, forces, virials, structures.volumes)
    return replace(state, structures=structures, extended=dict(state.extended), result=result, step=step)


def save_state(path: Path, state: State, metadata: dict[str, Any], **arrays: Any) -> None:
    """A state, with its result if it has one, and other arrays."""
    totals = ("energies", "forces", "virials") if state.result else ()
    arrays = {
        **arrays,
        "positions": state.structures.positions,
        "cells": state.structures.cells,
        "species": state.structures.species,
        "momenta": state.momenta,
        **{f"extended.{name}": value for name, value in state.extended.items()},
        **{f"result.{name}": getattr(state.result, name) for name in totals},
    }
    metadata |= {"kind": KIND, "version": VERSION, "step": state.step, "free": state.degrees_of_freedom}
    archive.save(path, arrays, metadata)


def load_state(path: Path) -> tuple[State, dict[str, np.ndarray], dict[str, Any]]:
    arrays, metadata = archive.load(path, KIND, VERSION)
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    structures = Structures(tensors["positions"], tensors["cells"], tensors["species"])
    extended = {k.removeprefix("extended."): x for k, x in tensors.items() if k.startswith("extended.")}
    result = None
    if "result.energies" in tensors:
        energies, forces, virials = (tensors[f"result.{x}"] for x in ("energies", "forces", "virials"))
        result = Evaluation(energies, forces, virials, structures.volumes)
    momenta, free = tensors["momenta"], metadata["free"]
    state = State(structures, momenta, (0,), free, metadata["step"], extended, result)
    return state, arrays, metadata


def resume(target: Path, start: State, identity: dict[str, Any]) -> tuple[State, list[dict], list[dict]]:
    """State, rows of all steps, and the labels that are not yet in a part. ValueError if of another run."""
    if not (target / "checkpoint.npz").exists():
        # The inner potential's dynamics made it: neither its step nor its forces are of this run.
        return replace(start, step=0, result=None), [], []
    state, arrays, metadata = load_state(target / "checkpoint.npz")
    found, wanted = metadata["identity"], json.loads(json.dumps(identity))
    for name in found.keys() | wanted:
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{target}: its {name} is {found.get(name)}, not {wanted.get(name)}; move the folder away"
            )
    columns = [name for name in arrays if name.startswith("row.")]
    rows = [{name[4:]: float(arrays[name][k]) for name in columns} for k in range(state.step)]
    waiting = [name for name in arrays if name.startswith("label.")]
    labels = [{name[6:]: arrays[name][k] for name in waiting} for k in range(state.step % PART)]
    return state, rows, labels


def keep(target: Path, state: State, rows: list[dict], labels: list[dict], identity: dict[str, Any]) -> None:
    """The checkpoint, replaced whole; every PART steps the labels move to a file that never changes."""
    series = {f"row.{name}": np.array([row[name] for row in rows]) for name in rows[0]}
    source = provenance(series["row.seconds"].sum(), seed=0)
    metadata: dict[str, Any] = {"identity": identity, "provenance": source}
    if len(labels) == PART:
        part = {name: np.stack([x[name] for x in labels]) for name in labels[0]}
        part |= {"energy": series["row.energy"][-PART:], "time": series["row.time"][-PART:]}
        path = target / f"part-{state.step // PART - 1:04d}.npz"
        archive.save(path, part, {**metadata, "kind": KIND, "version": VERSION})
        labels.clear()
    waiting = {f"label.{name}": np.stack([x[name] for x in labels]) for name in labels[0]} if labels else {}
    save_state(target / "checkpoint.npz", state, metadata, **series, **waiting)
