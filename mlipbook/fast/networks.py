"""The force call of an ANN potential on a CPU as two loops over atoms, in C (networks.c).

PyTorch makes one array over all edges for every order of every polynomial; here each atom's neighbors stay in
the first cache from distance to force. What is computed, and its names, are those of module `descriptors`:
first the features G of every atom; the networks, in PyTorch, turn them into energies and slopes dE/dG; then
the chain rule, by hand,

    dE/dA_lm = A_lm sum_n c_nl dE/dGa_n      dE/dM_mp = sum_l Q_lmp dE/dA_lm
    dE/de_m = f sum_p dE/dM_mp T_p(z)        dE/d(f T_p) = sum_m dE/dM_mp e_m        and so on

leads from slopes to edge gradients g, and from these to forces and virials as everywhere (module
`potentials.edge`). Needs a C compiler (`cc`, or what the environment variable CC names); two seconds of
compilation for each shape of descriptor in each process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, Evaluation
from mlipbook.potentials.ann import ANNPotential, MemberPerReplica
from mlipbook.potentials.close_pairs import report_close_pairs, species_pair
from mlipbook.potentials.edge import list_for, volumes_of
from mlipbook.structures import Structures

FLAGS = ["-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"]  # sums of many at a time
FLAGS += {"x86_64": ["-march=native", "-mprefer-vector-width=512"]}.get(platform.machine(), ["-mcpu=native"])
REALS = {torch.float32: "float", torch.float64: "double"}
CLOSE, REPELLED = 1, 2  # what networks.c tells of pairs
SHARES = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (0.5, 0.5)}  # of an edge's virial: neighbor, center


@cache
def library(source: str, *defined: str) -> ctypes.CDLL:
    """A C file of this folder, compiled with macros NAME=value. Raises RuntimeError if the compiler is not
    there, or fails, with what it says.
    """
    compiler = os.environ.get("CC", "cc")
    macros = [f"-D{each}" for each in defined]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "native.so"
        path = Path(__file__).with_name(source)
        command = [compiler, *FLAGS, *macros, "-o", str(file), str(path), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or error
            raise RuntimeError(
                f"{compiler} could not compile {source} ({said}); install a C compiler, or name one in the "
                "environment variable CC, or use the potential as it is"
            ) from error
        return ctypes.CDLL(str(file))


def described(
    name: str, integers: Sequence[str], doubles: Sequence[str], arrays: Sequence[str]
) -> type[ctypes.Structure]:
    """A C struct of 64-bit integers, doubles and pointers to arrays, in this order."""
    kinds = ((integers, ctypes.c_int64), (doubles, ctypes.c_double), (arrays, ctypes.c_void_p))
    fields = [(field, kind) for names, kind in kinds for field in names]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


ARRAYS = ("x", "cells", "shifts", "neighbor", "counts", "z", "weights", "known", "legendre", "harmonics")
Input = described(
    "Input",
    integers=("atoms", "of_a_structure", "columns", "elements"),
    doubles=("radial_cutoff", "angular_cutoff", "repulsion_cutoff"),
    arrays=ARRAYS,
)


class Native:
    """An ANN potential, or one with a member per replica, with a faster `evaluate` for structures on a CPU.

    Results are those of the potential but for rounding: distances in float64, features, slopes and edge
    gradients in the potential's dtype, sums over edges in float64. Raises TypeError for other potentials,
    RuntimeError if networks.c cannot be compiled.
    """

    def __init__(self, potential: ANNPotential | MemberPerReplica):
        committee = potential.potential if isinstance(potential, MemberPerReplica) else potential
        if not isinstance(committee, ANNPotential):
            raise TypeError(f"{type(potential).__name__}: native force calls are those of ANN potentials")
        self.potential, self.descriptor, self.repulsion = potential, committee.descriptor, committee.repulsion
        self.cutoff, self.shortest = potential.cutoff, potential.shortest
        self.members = potential.members
        d = self.descriptor
        sets = 1 + (len(d.species) > 1)
        self.dtype = potential.dtype
        shape = (f"R={d.radial_order + 1}", f"P={d.angular_order + 1}", f"SETS={sets}")
        self.library = library("networks.c", f"real={REALS[self.dtype]}", *shape)
        tables = {"weights": d.weights, "legendre": d.legendre, "harmonics": d.harmonics}
        self.tables = {name: table.double().numpy() for name, table in tables.items()}
        self.tables["known"] = self.known_distances() ** 2

    def identified_by(self) -> Any:
        """What `archive.identity` knows it by: results are those of the potential."""
        return self.potential

    def known_distances(self) -> np.ndarray:
        """The shortest trained distances of pairs of elements, (Z, Z) angstrom."""
        known = np.zeros(self.descriptor.weights.shape)
        numbers = [atomic_numbers[symbol] for symbol in self.descriptor.species]
        if self.shortest:
            for a, b in product(numbers, repeat=2):
                known[a, b] = self.shortest.get(species_pair(a, b), self.cutoff)
        return known

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential: arguments, units, errors and warnings."""
        edges = list_for(self.potential, structures, definition, edges)
        arrays = self.arrays(structures, edges)
        given = self.given(arrays, structures)
        G = torch.zeros(len(arrays["x"]), self.descriptor.n_features, dtype=self.dtype)
        told = self.library.features(ctypes.byref(given), pointer(G))
        energies, slopes = self.energies(G, torch.from_numpy(arrays["z"]))
        shape = (*energies.shape[:-1], len(structures), structures.n_atoms)
        forces, virials = (torch.zeros(*shape, *more, dtype=torch.float64) for more in ((3,), (3, 3)))
        for dG, F, W in zip(*(x.view(self.members, -1) for x in (slopes, forces, virials)), strict=True):
            shares = map(ctypes.c_double, SHARES[definition])
            self.library.gradients(ctypes.byref(given), pointer(dG), *shares, pointer(F), pointer(W))
        result = Evaluation(energies.double().view(shape), forces, virials, volumes_of(structures))
        if told & CLOSE and self.shortest:
            report_close_pairs(edges.vectors(structures), edges, structures, self.shortest)
        if told & REPELLED and self.repulsion is not None:
            near = edges.narrowed(structures, self.repulsion.cutoff - edges.cutoff)  # few pairs
            return added(result, self.repulsion.evaluate(structures, definition, near))
        return result

    def arrays(self, structures: Structures, edges: Edges) -> dict[str, np.ndarray]:
        """What networks.c reads: where neighbors are, and tables."""
        tensors = {
            "x": structures.positions.reshape(-1, 3),
            "cells": structures.cells,
            "shifts": edges.shifts,
            "neighbor": edges.neighbor,
            "counts": edges.real.sum(-1),
            "z": structures.species.repeat(len(structures)),
        }
        return {**{name: x.contiguous().numpy() for name, x in tensors.items()}, **self.tables}

    def given(self, arrays: dict[str, np.ndarray], structures: Structures) -> ctypes.Structure:
        columns, elements = arrays["neighbor"].shape[1], len(arrays["weights"])
        counts = (len(arrays["x"]), structures.n_atoms, columns, elements)
        repulsion = self.repulsion.cutoff if self.repulsion else 0.0
        cutoffs = (self.descriptor.radial_cutoff, self.descriptor.angular_cutoff, repulsion)
        return Input(*counts, *cutoffs, *(arrays[name].ctypes.data for name in ARRAYS))

    def energies(self, G: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Atomic energies (A,), or (members, A), and their slopes dE/dG (..., A, F)."""
        if self.members > 1:
            G = G.expand(self.members, *G.shape)
        with torch.enable_grad():
            G = G.detach().requires_grad_()
            energies = self.potential.from_features(G, species)
            [slopes] = torch.autograd.grad(energies.sum(), G)
        return energies.detach(), slopes.contiguous()


def added(one: Evaluation, other: Evaluation) -> Evaluation:
    """The sum of two potentials."""
    names = ("energies", "forces", "virials")
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in names})


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
