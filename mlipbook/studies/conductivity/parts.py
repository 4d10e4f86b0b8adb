"""A run of many replicas of several models, done in parts: each part has some replicas of every model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

AXES = {"correlations": 0, "lasted": 0, "field": 0, "flux": 1, "current": 1, "temperature": -1}  # of replicas


def joined(parts: Sequence[Mapping[str, Any]], copies: int) -> dict[str, Any]:
    """Parts of a run as one; replicas stay model by model, of so many models (or fields).

    Raises ValueError for parts of different lengths.
    """
    for name in ("steps", "timestep"):
        if len(found := {float(x[name]) for x in parts}) > 1:
            raise ValueError(f"parts of a run differ in {name}: {sorted(found)}; delete the older ones")
    whole = dict(parts[0])
    for name in AXES.keys() & whole.keys():
        each = [np.moveaxis(x[name], AXES[name], 0) for x in parts]
        models = [x.reshape(copies, -1, *x.shape[1:]) for x in each]
        replicas = np.concatenate(models, 1).reshape(-1, *each[0].shape[1:])
        whole[name] = np.moveaxis(replicas, 0, AXES[name])
    whole["seconds"] = sum(float(x["seconds"]) for x in parts)
    whole["commit"] = ", ".join(sorted({str(x["commit"]) for x in parts}))
    whole["broken"] = np.concatenate([broken_of(parts, k, copies) for k in range(len(parts))])
    return whole


def broken_of(parts: Sequence[Mapping[str, Any]], k: int, copies: int) -> np.ndarray:
    """Numbers, in all parts joined, and times of the replicas of part k that broke, (n, 2)."""
    counts = [len(x["lasted"]) // copies for x in parts]  # replicas of a model
    number, time_of_break = np.asarray(parts[k]["broken"], dtype=float).T
    model, own = np.divmod(number, counts[k])
    return np.stack([model * sum(counts) + sum(counts[:k]) + own, time_of_break], -1)
