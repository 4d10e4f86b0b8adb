"""The force call of an ANN potential on a CPU as two loops over atoms, in C (networks.c).

PyTorch makes one array over all edges for every order of every polynomial; here each atom's neighbors stay in
the first cache from distance to force. What is computed, and its names, are those of module `descriptors`:
first the features G of every atom; the networks, in PyTorch, turn them into energies and slopes dE/dG; then
the chain rule, by hand,

    dE/dA_lm = A_lm sum_n c_nl dE/dGa_n      dE/dM_mp = sum_l Q_lmp dE/dA_lm
    dE/de_m = f sum_p dE/dM_mp T_p(z)        dE/d(f T_p) = sum_m dE/dM_mp e_m        and so on

leads from slopes to edge gradients g, and from these to forces and virials as everywhere (module
`potentials.edge`). Needs a C compiler (`cc`, or what the environment variable CC names); two seconds of
compilation for each shape of descriptor, once (module `library`).
"""

import ctypes
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.descriptors import Chebyshev
from mlipbook.fast.library import described, library, pointer
from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, Evaluation
from mlipbook.potentials.ann import ANNPotential, MemberPerReplica
from mlipbook.potentials.close_pairs import known_squares, report_close_pairs
from mlipbook.potentials.contract import Form
from mlipbook.potentials.edge import list_for, volumes_of
from mlipbook.structures import Structures

REALS = {torch.float32: "float", torch.float64: "double"}
ORDERS = 64  # Chebyshev polynomials of a kind: what networks.c keeps of an atom has room on the stack
CLOSE, REPELLED = 1, 2  # what networks.c tells of pairs
SHARES = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (0.5, 0.5)}  # of an edge's virial: neighbor, center

ARRAYS = ("x", "cells", "shifts", "neighbor", "counts", "z", "weights", "known", "legendre", "harmonics")
Input = described(
    "Input",
    integers=("atoms", "of_a_structure", "columns", "elements"),
    doubles=("radial_cutoff", "angular_cutoff", "repulsion_cutoff"),
    arrays=ARRAYS,
)


class Native(Form):
    """An ANN potential, or one with a member per replica, with a faster `evaluate` for structures on a CPU.

    Results are those of the potential but for rounding: distances in float64, features, slopes and edge
    gradients in the potential's dtype, sums over edges in float64. Weights and settings are read at each
    call: what changes in the potential changes here. On a GPU the potential is asked itself. Raises TypeError
    for other potentials, dtypes and orders, RuntimeError if networks.c cannot be compiled.
    """

    potential: ANNPotential | MemberPerReplica

    def __init__(self, potential: ANNPotential | MemberPerReplica):
        super().__init__(potential)
        known = type(potential) in (ANNPotential, MemberPerReplica)
        if not known or "atomic_energies" in vars(potential):  # another class, or compiled
            raise TypeError(
                f"{type(potential).__name__}: no ANN potential; of pair potentials, see NativePairs"
            )
        if type(descriptor := potential.descriptor) is not Chebyshev:
            raise TypeError(f"{type(descriptor).__name__}: networks.c computes Chebyshev descriptors")
        self.library()

    def library(self) -> ctypes.CDLL:
        """networks.c, compiled for these orders and this dtype."""
        d = self.potential.descriptor
        R, P, sets = d.radial_order + 1, d.angular_order + 1, 1 + (len(d.species) > 1)
        if max(R, P) > ORDERS or self.dtype not in REALS:
            raise TypeError(
                f"orders {R - 1} and {P - 1} in {self.dtype}: networks.c takes orders below {ORDERS}, in "
                "float32 or float64"
            )
        return library("networks.c", f"real={REALS[self.dtype]}", f"R={R}", f"P={P}", f"SETS={sets}")

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential: arguments, units, errors and warnings."""
        if {structures.positions.device.type, self.device.type} != {"cpu"}:
            return self.potential.evaluate(structures, definition, edges)
        edges = list_for(self.potential, structures, definition, edges)
        library, arrays = self.library(), self.arrays(structures, edges)
        given = self.given(arrays, structures)
        G = torch.zeros(len(arrays["x"]), self.potential.descriptor.n_features, dtype=self.dtype)
        told = library.features(ctypes.byref(given), pointer(G))
        energies, slopes = self.energies(G, torch.from_numpy(arrays["z"]))
        shape = (*energies.shape[:-1], len(structures), structures.n_atoms)
        forces, virials = (torch.zeros(*shape, *more, dtype=torch.float64) for more in ((3,), (3, 3)))
        for dG, F, W in zip(*(x.view(self.members, -1) for x in (slopes, forces, virials)), strict=True):
            shares = map(ctypes.c_double, SHARES[definition])
            library.gradients(ctypes.byref(given), pointer(dG), *shares, pointer(F), pointer(W))
        result = Evaluation(energies.double().view(shape), forces, virials, volumes_of(structures))
        repulsion = self.potential.repulsion
        if told & CLOSE and self.shortest:
            report_close_pairs(edges.vectors(structures), edges, structures, self.shortest)
        if told & REPELLED and repulsion is not None:
            near = edges.narrowed(structures, repulsion.cutoff - edges.cutoff)  # few pairs
            more = repulsion.evaluate(structures, definition, near)
            names = ("energies", "forces", "virials")
            result = replace(result, **{name: getattr(result, name) + getattr(more, name) for name in names})
        return result

    def arrays(self, structures: Structures, edges: Edges) -> dict[str, np.ndarray]:
        """What networks.c reads: where neighbors are, and tables."""
        d, A = self.potential.descriptor, len(structures) * structures.n_atoms
        lowest, highest = torch.aminmax(edges.neighbor)
        if int(lowest) < 0 or int(highest) >= A:
            raise ValueError(f"the neighbor list has rows {int(lowest)} to {int(highest)} of {A} atoms")
        kinds = tuple(atomic_numbers[s] for s in d.species) if self.shortest else ()
        tensors = {
            "x": structures.positions.reshape(-1, 3),
            "cells": structures.cells,
            "shifts": edges.shifts,
            "neighbor": edges.neighbor,
            "counts": edges.real.sum(-1),
            "z": structures.species.repeat(len(structures)),
            "known": known_squares(tuple(self.shortest.items()), kinds, self.cutoff),
            **{name: table.double() for name, table in d.named_buffers()},
        }
        return {name: x.contiguous().numpy() for name, x in tensors.items()}

    def given(self, arrays: Mapping[str, np.ndarray], structures: Structures) -> ctypes.Structure:
        columns, elements = arrays["neighbor"].shape[1], len(arrays["weights"])
        counts = (len(arrays["x"]), structures.n_atoms, columns, elements)
        d, repulsion = self.potential.descriptor, self.potential.repulsion
        cutoffs = (d.radial_cutoff, d.angular_cutoff, repulsion.cutoff if repulsion else 0.0)
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
