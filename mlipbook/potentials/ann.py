"""The ANN potential: one feed-forward network per species on Chebyshev descriptors (Eq. 1-2).

    eps_i = y(x)/scale + shift + E_atom(species),     x = (G - mean)/sqrt(<G^2> - mean^2)

Normalization and layout as in aenet (Artrith, Urban, CMS 114, 135 (2016)). All parameters carry a
leading member axis: a committee of M networks is M networks trained and evaluated in one pass.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from mlipbook import archive
from mlipbook.checks import of_type, positive, whole
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials import EdgePotential, Repulsion, Wrapper
from mlipbook.potentials.contract import forwarded
from mlipbook.structures import Structures


def mtanh(x: Tensor) -> Tensor:
    """1.7159 tanh(2x/3), with 2/3 as typed in aenet."""
    return 1.7159 * torch.tanh(0.666666666666667 * x)


ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mtanh": mtanh,
    "twist": lambda x: mtanh(x) + 0.1 * x,
}


DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


class Network(nn.Module):
    """M feed-forward networks of one shape: features (A, F) or (M, A, F) to (M, A), one number per atom.
    weights[k]: (M, n_out, n_in + 1), the last column is the bias. mean, mean_square: (F,) feature statistics
    of the training set; features without spread (<= 1e-10) are ignored.
    """

    mean: Tensor
    mean_square: Tensor

    def __init__(self, sizes: Sequence[int], activations: Sequence[str], members: int):
        super().__init__()
        if unknown := [a for a in activations if a not in ACTIVATIONS]:
            raise ValueError(f"activation {unknown[0]!r}: choose from {', '.join(ACTIVATIONS)}")
        self.sizes, self.activations = tuple(sizes), tuple(activations)
        shapes = [(members, n_out, n_in + 1) for n_in, n_out in pairwise(sizes)]
        self.weights = nn.ParameterList(torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        self.register_buffer("mean", torch.zeros(sizes[0], dtype=torch.float64))
        self.register_buffer("mean_square", torch.ones(sizes[0], dtype=torch.float64))

    def initialize(self, member: int, generator: torch.Generator) -> None:
        """Uniform weights of standard deviation 1/sqrt(n_in + 1), as in aenet."""
        for weight in self.weights:
            draw = torch.rand(weight.shape[1:], generator=generator, dtype=torch.float64)
            weight.data[member] = (2 * draw - 1) * (3 / weight.shape[-1]) ** 0.5

    def forward(self, features: Tensor) -> Tensor:
        spread = (self.mean_square - self.mean**2).clamp(min=0).sqrt()
        inverse = torch.where(spread > 1e-10, 1 / spread, torch.zeros_like(spread))
        x = (features - self.mean) * inverse
        x = x.expand(self.weights[0].shape[0], *x.shape[-2:])  # (M, A, F)
        for weight, activation in zip(self.weights, (*self.activations, "linear"), strict=True):
            x = ACTIVATIONS[activation](torch.baddbmm(weight[:, None, :, -1], x, weight[:, :, :-1].mT))
        return x[..., 0]


class ANNPotential(EdgePotential):
    """Committee of ANN potentials on one descriptor.

    hidden: sizes of the hidden layers, for all species or {element: sizes}; activation: tanh, sigmoid,
    mtanh, twist or linear (a name, or {element: one name per hidden layer}). seed: member m starts from
    seed + m. repulsion: cutoff (angstrom) of a fixed short-range repulsion under the network, or None.
    Outputs have a member axis in front if members > 1. The potential is ready after `fit` or `load`.
    Raises ValueError for unknown activations or species.
    """

    energy_scale: Tensor
    energy_shift: Tensor
    aenet: Mapping[str, Any] = MappingProxyType({})  # element -> NetworkFile, of one read from aenet's files

    def __init__(
        self,
        descriptor: Chebyshev,
        hidden: Sequence[int] | dict[str, Sequence[int]] = (20, 20),
        activation: str | dict[str, Sequence[str]] = "tanh",
        members: int = 1,
        seed: int = 0,
        repulsion: float | None = None,
    ):
        super().__init__()
        self.descriptor, self.species, self.shortest = descriptor, descriptor.species, {}
        self.members, seed = whole(members, "members"), whole(seed, "seed", least=0)
        self.cutoff = descriptor.cutoff
        if repulsion is not None:
            repulsion = positive(repulsion, "repulsion", "in angstrom, or None", most=self.cutoff)
        self.repulsion_cutoff = repulsion
        self.repulsion = Repulsion(repulsion) if repulsion else None
        self.networks: dict[str, Network] = nn.ModuleDict()  # type: ignore[assignment]
        for element in self.species:
            for name, setting in (("hidden", hidden), ("activation", activation)):
                if isinstance(setting, dict) and element not in setting:
                    raise ValueError(f"{name} lacks {element}; give it for each of {', '.join(self.species)}")
            sizes = hidden[element] if isinstance(hidden, dict) else hidden
            of_type(sizes, "hidden", Iterable, "a size for each hidden layer, such as (20, 20)")
            layers = tuple(whole(n, "hidden", hint="a size of each layer") for n in sizes)
            names = activation[element] if isinstance(activation, dict) else [activation] * len(layers)
            if len(names) != len(layers):
                raise ValueError(f"{element}: {len(names)} activations for {len(layers)} hidden layers")
            self.networks[element] = Network((descriptor.n_features, *layers, 1), names, self.members)
        for m in range(self.members):
            generator = torch.Generator().manual_seed(seed + m)
            for network in self.networks.values():
                network.initialize(m, generator)
        self.register_buffer("energy_scale", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("energy_shift", torch.tensor(0.0, dtype=torch.float64))
        self.reference_energies = dict.fromkeys(descriptor.species, 0.0)  # E_atom, eV

    @property
    def normalized(self) -> bool:
        """True once feature statistics are set, by a fit or from a file; the weights then mean something."""
        return any(bool((network.mean != 0).any()) for network in self.networks.values())

    def check(self, structures: Structures) -> None:
        self.descriptor.check_species(structures)

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        """eps_i, (A,) eV, or (members, A)."""
        features = self.descriptor.features(vectors, center_species, neighbor_species)
        energies = self.from_features(features, center_species)
        if self.repulsion is not None:
            energies = energies + self.repulsion.atomic_energies(vectors, center_species, neighbor_species)
        return energies

    def from_features(self, features: Tensor, species: Tensor) -> Tensor:
        """eps_i without repulsion, (A,) or (members, A) eV, from features (A, F) or (members, A, F)."""
        energies = self.network_energies(features, species) + self.reference_energy(species)
        return energies[0] if self.members == 1 else energies

    def network_energies(self, features: Tensor, species: Tensor) -> Tensor:
        """Cohesive energies eps_i - E_atom, (members, A) eV, from features (A, F) or (members, A, F)."""
        outputs = {element: network(features) for element, network in self.networks.items()}
        y = next(iter(outputs.values()))
        for element in list(outputs)[1:]:  # of all atoms, then chosen: shapes do not depend on species
            y = torch.where(species == atomic_numbers[element], outputs[element], y)
        return y / self.energy_scale + self.energy_shift

    def reference_energy(self, species: Tensor) -> Tensor:
        """E_atom of each atom, (A,) eV, float64; species (A,) atomic numbers."""
        energies = torch.zeros(len(species), dtype=torch.float64, device=species.device)
        for element, energy in self.reference_energies.items():
            energies = torch.where(species == atomic_numbers[element], energy, energies)
        return energies

    def member(self, m: int) -> "ANNPotential":
        """Member m as a potential of its own (a copy)."""
        arrays, metadata = self._state()
        arrays |= {name: array[m : m + 1] for name, array in arrays.items() if ".weights." in name}
        return _restore(arrays, {**metadata, "members": 1}).to(self.energy_scale.device)

    def save(self, path: str | os.PathLike) -> None:
        """Write one npz file with JSON metadata, weights in their dtype; read it with mb.load."""
        archive.save(path, *self._state())

    def _state(self) -> tuple[dict[str, Tensor], dict]:
        metadata = {
            "kind": "ANNPotential",
            "version": 1,
            "descriptor": self.descriptor.settings,
            "hidden": {s: n.sizes[1:-1] for s, n in self.networks.items()},
            "activation": {s: n.activations for s, n in self.networks.items()},
            "members": self.members,
            "dtype": str(self.dtype).removeprefix("torch."),
            "repulsion": self.repulsion_cutoff,
            "reference_energies": self.reference_energies,
            "shortest": [[*pair, distance] for pair, distance in self.shortest.items()],
        }
        own = {k: v.detach().cpu() for k, v in self.state_dict().items() if not k.startswith("descriptor.")}
        return own, metadata


class MemberPerReplica(Wrapper, EdgePotential):  # type: ignore[misc]
    """A committee of M whose members drive replicas of their own: B = M R replicas, the first R the first's.
    One batch for many potentials, with one pass over the descriptors. Raises ValueError for another B.
    """

    potential: ANNPotential  # the committee
    members = 1
    descriptor = forwarded("descriptor")
    repulsion = forwarded("repulsion")
    atomic_energies = ANNPotential.atomic_energies  # type: ignore[assignment]

    def check(self, structures: Structures) -> None:
        self.potential.check(structures)
        B, M = len(structures), self.potential.members
        if B % M:
            raise ValueError(f"{B} replicas for {M} members: give each as many")

    def from_features(self, features: Tensor, species: Tensor) -> Tensor:
        """eps_i without repulsion, (A,) eV, from features (A, F)."""
        M = self.potential.members
        shares = features.view(M, -1, features.shape[-1])
        energies = self.potential.network_energies(shares, species.view(M, -1)[0]).flatten()
        return energies + self.potential.reference_energy(species)


def _restore(arrays: dict, metadata: dict) -> ANNPotential:
    own = metadata["descriptor"]
    first = (own["radial_order"] + own["angular_order"] + 2) * (1 + (len(own["species"]) > 1))
    for element in own["species"]:  # nothing is made larger than the arrays that are there
        for k, (n_in, n_out) in enumerate(pairwise((first, *metadata["hidden"][element], 1))):
            shape = arrays[name := f"networks.{element}.weights.{k}"].shape
            if shape != (metadata["members"], n_out, n_in + 1):
                raise ValueError(f"{name} of shape {shape}, told to be {n_out} x {n_in + 1}")
    names = ("hidden", "activation", "members", "repulsion")
    potential = ANNPotential(Chebyshev(**own), **{name: metadata[name] for name in names})
    state = {k: torch.as_tensor(v) for k, v in arrays.items()}
    tables = {k: v for k, v in potential.state_dict().items() if k.startswith("descriptor.")}
    potential.load_state_dict(state | tables)
    potential.reference_energies = {s: float(metadata["reference_energies"][s]) for s in own["species"]}
    potential.shortest = {(a, b): float(distance) for a, b, distance in metadata["shortest"]}
    return potential.to(DTYPES[metadata.get("dtype", "float64")])  # version 0.1's first files do not tell


def load(path: str | os.PathLike) -> ANNPotential:
    """Read a potential written by `ANNPotential.save`. Raises ValueError (Damaged) for other files."""
    arrays, metadata = archive.load(path, kind="ANNPotential", version=1)
    with archive.reading(path, "a potential with all its parts"):
        return _restore(arrays, metadata)
