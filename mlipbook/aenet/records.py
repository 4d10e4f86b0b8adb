"""The layout of aenet's binary networks: their records in order, and what a sound file fulfills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from mlipbook.aenet.files import Setup

ACTIVATIONS = ("linear", "tanh", "sigmoid", "mtanh", "twist")  # in the order of aenet's codes


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """Contents of a binary .nn file, all 36 records in their order. Energies eV, lengths angstrom.

    weights: for each layer the matrix (n_out, n_in + 1), bias in the last column, column by column.
    feature_mean, feature_mean_square: over the atoms of this element in the training set.
    """

    n_layers: int
    n_nodes_max: int
    n_weights: int
    n_values: int
    n_nodes: np.ndarray  # (n_layers,), input and output included
    activations: np.ndarray  # (n_layers - 1,), codes: index into ACTIVATIONS
    weight_offsets: np.ndarray  # (n_layers,)
    value_offsets: np.ndarray  # (n_layers,)
    weights: np.ndarray  # (n_weights,)
    description: str  # lines joined by $$
    element: str
    n_environment: int
    environment: tuple[str, ...]
    r_min: float
    r_max: float
    descriptor: str
    n_features: int
    n_parameters: int
    feature_kinds: np.ndarray  # (n_features,), zeros
    feature_parameters: np.ndarray  # (4, n_features); first column: Rr, Nr, Ra, Na
    feature_environments: np.ndarray  # (2, n_features), zeros
    n_evaluated: int  # atoms of this element in the training set
    feature_min: np.ndarray  # (n_features,); minimum and maximum are not used
    feature_max: np.ndarray
    feature_mean: np.ndarray
    feature_mean_square: np.ndarray
    training_set: str
    normalized: int
    energy_scale: float
    energy_shift: float
    n_types: int
    types: tuple[str, ...]
    atomic_energies: np.ndarray  # (n_types,), E_atom
    n_atoms: int  # in the training set
    n_structures: int
    energy_range: np.ndarray  # normalized minimum, maximum, mean

    @property
    def setup(self) -> Setup:
        radial_cutoff, radial_order, angular_cutoff, angular_order = self.feature_parameters[:, 0].tolist()
        return Setup(
            self.element,
            self.environment,
            self.description.replace("$$", "\n").rstrip("\n"),
            self.r_min,
            radial_cutoff,
            int(radial_order),
            angular_cutoff,
            int(angular_order),
        )

    @property
    def matrices(self) -> list[np.ndarray]:
        """Weights of each layer, (n_out, n_in + 1), dimensionless, bias in the last column."""
        shapes = zip(self.n_nodes[1:], self.n_nodes[:-1] + 1, strict=True)
        blocks = np.split(self.weights, self.weight_offsets[1:-1])
        return [block.reshape(shape, order="F") for block, shape in zip(blocks, shapes, strict=True)]


Values = dict[str, Any]
Shape = Callable[[Values], tuple[int, ...]]


def _features(v: Values) -> tuple[int, ...]:
    return (v["n_features"],)


# Name, type (cN: N characters), shape (None: a single value).
RECORDS: tuple[tuple[str, str, Shape | None], ...] = (
    ("n_layers", "i4", None),
    ("n_nodes_max", "i4", None),
    ("n_weights", "i4", None),
    ("n_values", "i4", None),
    ("n_nodes", "i4", lambda v: (v["n_layers"],)),
    ("activations", "i4", lambda v: (v["n_layers"] - 1,)),
    ("weight_offsets", "i4", lambda v: (v["n_layers"],)),
    ("value_offsets", "i4", lambda v: (v["n_layers"],)),
    ("weights", "f8", lambda v: (v["n_weights"],)),
    ("description", "c1024", None),
    ("element", "c2", None),
    ("n_environment", "i4", None),
    ("environment", "c2", lambda v: (v["n_environment"],)),
    ("r_min", "f8", None),
    ("r_max", "f8", None),
    ("descriptor", "c100", None),
    ("n_features", "i4", None),
    ("n_parameters", "i4", None),
    ("feature_kinds", "i4", _features),
    ("feature_parameters", "f8", lambda v: (4, v["n_features"])),
    ("feature_environments", "i4", lambda v: (2, v["n_features"])),
    ("n_evaluated", "i4", None),
    ("feature_min", "f8", _features),
    ("feature_max", "f8", _features),
    ("feature_mean", "f8", _features),
    ("feature_mean_square", "f8", _features),
    ("training_set", "c1024", None),
    ("normalized", "i4", None),
    ("energy_scale", "f8", None),
    ("energy_shift", "f8", None),
    ("n_types", "i4", None),
    ("types", "c2", lambda v: (v["n_types"],)),
    ("atomic_energies", "f8", lambda v: (v["n_types"],)),
    ("n_atoms", "i4", None),
    ("n_structures", "i4", None),
    ("energy_range", "f8", lambda v: (3,)),
)


def _known(symbols: tuple[str, ...]) -> bool:
    return len(set(symbols)) == len(symbols) and all(s in atomic_numbers for s in symbols)


def _sizes_agree(v: Values) -> bool:
    n = v["n_nodes"]
    return (
        bool((n > 0).all())
        and n[-1] == 1
        and (n.max(), weight_offsets(n)[-1], n.sum() + len(n) - 1)
        == (v["n_nodes_max"], v["n_weights"], v["n_values"])
    )


def _orders_fit(v: Values) -> bool:
    radial_cutoff, radial_order, angular_cutoff, angular_order = v["feature_parameters"][:, 0]
    doubled = 1 if v["n_environment"] == 1 else 2
    return (
        min(radial_cutoff, angular_cutoff) > 0
        and min(radial_order, angular_order) >= 0
        and (radial_order + angular_order + 2) * doubled == v["n_features"]
    )


# What must hold once a record is read, and how to say it.
CHECKS: dict[str, tuple[Callable[[Values], Any], str]] = {
    "n_layers": (lambda v: 2 <= v["n_layers"] <= 100, "2 to 100 layers"),
    "n_weights": (lambda v: 0 < v["n_weights"] < 2**27, "a positive number of weights"),
    "n_nodes": (_sizes_agree, "positive sizes, the last 1, that agree with n_nodes_max, n_weights, n_values"),
    "activations": (
        lambda v: set(v["activations"]) <= set(range(5)) and v["activations"][-1] == 0,
        "codes 0 to 4 (linear, tanh, sigmoid, mtanh, twist), 0 for the output",
    ),
    "weight_offsets": (
        lambda v: np.array_equal(v["weight_offsets"], weight_offsets(v["n_nodes"])),
        "0 and the sums of n_out (n_in + 1)",
    ),
    "value_offsets": (
        lambda v: np.array_equal(v["value_offsets"], value_offsets(v["n_nodes"])),
        "0 and the sums of n + 1",
    ),
    "element": (lambda v: v["element"] in atomic_numbers, "a chemical symbol"),
    "n_environment": (lambda v: 1 <= v["n_environment"] <= 118, "1 to 118 species"),
    "environment": (lambda v: _known(v["environment"]), "different chemical symbols"),
    "r_min": (lambda v: v["r_min"] > 0, "a positive distance"),
    "descriptor": (lambda v: v["descriptor"] == "Chebyshev", "'Chebyshev', the one descriptor supported"),
    "n_features": (lambda v: v["n_features"] == v["n_nodes"][0], "as many features as input nodes"),
    "n_parameters": (lambda v: v["n_parameters"] == 4, "4"),
    "feature_parameters": (_orders_fit, "cutoffs > 0 and orders that give n_features in the first column"),
    "normalized": (lambda v: v["normalized"] != 0, "normalized energies (1)"),
    "energy_scale": (lambda v: v["energy_scale"] != 0, "a scale other than 0"),
    "n_types": (lambda v: 1 <= v["n_types"] <= 118, "1 to 118 species"),
    "types": (
        lambda v: _known(v["types"]) and v["element"] in v["types"],
        "different chemical symbols, the element's among them",
    ),
}


def weight_offsets(n_nodes: np.ndarray) -> np.ndarray:
    """0 and the cumulative sums of n_out (n_in + 1), (n_layers,)."""
    sizes = n_nodes[1:].astype(np.int64) * (n_nodes[:-1].astype(np.int64) + 1)
    return np.concatenate([[0], sizes.cumsum()])


def value_offsets(n_nodes: np.ndarray) -> np.ndarray:
    """0 and the cumulative sums of n + 1 over all layers but the output, (n_layers,)."""
    return np.concatenate([[0], (n_nodes[:-1].astype(np.int64) + 1).cumsum()])
