"""Potentials of aenet in, potentials for aenet out.

    potential = read({"Ag": "Ag.nn", "Se": "Se.nn"})     energies, forces, virials as aenet computes them
    write(potential, folder)                             Ag.nn and Se.nn, byte for byte if nothing changed
    descriptor(read_setup(path) for path in files)       the features alone

aenet: N. Artrith, A. Urban, Comput. Mater. Sci. 114, 135 (2016); Chebyshev descriptors: N. Artrith, A. Urban,
G. Ceder, Phys. Rev. B 96, 014112 (2017).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlipbook._version import __version__
from mlipbook.aenet.files import FilePath, Setup
from mlipbook.aenet.network import ACTIVATIONS, NetworkFile, read_network, sizes_of, write_network
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials.ann import ANNPotential

R_MIN = 0.75  # A; it only sizes aenet's neighbor arrays, so it must lie below any distance that occurs


def descriptor(setups: Iterable[Setup]) -> Chebyshev:
    """The descriptor that one setup per element describes; each keeps its order of neighbors (weights).

    Raises ValueError if cutoffs or orders differ between elements, an element is missing from an
    environment, or an environment lists an element without a setup; and for several elements with
    radial_cutoff < angular_cutoff, where aenet 2.0.4 computes the weighted angular features wrongly.
    """
    by_element = {setup.element: setup for setup in setups}
    first = next(iter(by_element.values()))
    numbers = attrgetter("radial_cutoff", "radial_order", "angular_cutoff", "angular_order")
    for element, setup in by_element.items():
        if (own := numbers(setup)) != numbers(first):
            raise ValueError(
                f"setup of {element}: radial cutoff and order, angular cutoff and order {own} differ from "
                f"{first.element}'s {numbers(first)}; use networks that were made with the same"
            )
        for e in sorted(by_element.keys() - {*setup.environment}):
            raise ValueError(
                f"setup of {element}: {e} is missing from its ENV {setup.environment}, so that {e} neighbors "
                f"would have no weight; train it with {e} in ENV"
            )
        for e in sorted({*setup.environment} - by_element.keys()):
            raise ValueError(f"setup of {element}: its environment lists {e}; give the file of {e}, too")
    if len(by_element) > 1 and first.radial_cutoff < first.angular_cutoff:
        raise ValueError(
            f"radial cutoff {first.radial_cutoff} A < angular cutoff {first.angular_cutoff} A with several "
            "species: aenet 2.0.4 computes the weighted angular features of such setups wrongly, and trains "
            "its networks on them; retrain with radial_Rc >= angular_Rc"
        )
    environments = {element: setup.environment for element, setup in by_element.items()}
    return Chebyshev(tuple(by_element), *numbers(first), environments=environments)


def read(files: Mapping[str, FilePath]) -> ANNPotential:
    """The potential of aenet's networks, {element: path of its binary .nn file}.

    The files stay with it as `potential.aenet`, {element: NetworkFile}; what `save` writes and `member`
    copies is without them. Raises ValueError naming file and record if one is damaged, belongs to another
    element, or does not go with the others (see `descriptor`).
    """
    if not files:
        raise ValueError('no files: give {element: path}, such as {"Na": "Na.nn"}')
    networks = {element: read_network(path) for element, path in files.items()}
    first = networks[origin := next(iter(files))]
    for element, network in networks.items():
        if network.element != element:
            raise ValueError(f"{files[element]}: the network is that of {network.element}, not of {element}")
        for name in ("energy_scale", "energy_shift"):
            one, other = getattr(network, name), getattr(first, name)
            if one != other:
                differs = f"{name} {one} differs from {other} of {files[origin]}"
                way = "the networks were trained on different sets; use those of one training"
                raise ValueError(f"{files[element]}: {differs}: {way}")
    potential = ANNPotential(
        descriptor(network.setup for network in networks.values()),
        hidden={element: network.n_nodes[1:-1].tolist() for element, network in networks.items()},
        activation={s: [ACTIVATIONS[code] for code in n.activations[:-1]] for s, n in networks.items()},
    )
    for element, network in networks.items():
        module: Any = potential.networks[element]
        for weight, matrix in zip(module.weights, network.matrices, strict=True):
            weight.data = torch.as_tensor(np.ascontiguousarray(matrix))[None]
        module.mean = torch.as_tensor(network.feature_mean)
        module.mean_square = torch.as_tensor(network.feature_mean_square)
        energy = network.atomic_energies[network.types.index(element)]
        potential.reference_energies[element] = float(energy)
    potential.energy_scale.fill_(first.energy_scale)
    potential.energy_shift.fill_(first.energy_shift)
    potential.aenet = networks  # type: ignore[assignment]
    return potential


def write(potential: ANNPotential, folder: FilePath, member: int = 0) -> list[Path]:
    """Write <element>.nn for each element, of one member, into a folder; returns the paths.

    A potential that `read` made keeps all records that it does not use, so that an unchanged one gives the
    same bytes. Of a potential trained here aenet uses the weights, the normalization and the descriptor; what
    it stores beside them is filled in: r_min 0.75 A, minimum and maximum of the features as mean -+ standard
    deviation, numbers of atoms and structures 0, energies -1 to 1 with mean 0.

    Raises ValueError for what aenet has no place for: a short-range repulsion, a radial cutoff below the
    angular one with several species.
    """
    if potential.repulsion is not None:
        raise ValueError(
            "the potential has a short-range repulsion under its network, which a .nn file cannot hold; "
            "train one with repulsion=None"
        )
    if not 0 <= member < potential.members:
        raise ValueError(f"member {member}: the potential has members 0 to {potential.members - 1}")
    files = {Path(folder) / f"{s}.nn": _file(potential, s, member) for s in potential.networks}
    descriptor(network.setup for network in files.values())  # refuses what aenet would compute otherwise
    for path, network in files.items():
        write_network(path, network)
    return list(files)


def _file(potential: ANNPotential, element: str, member: int) -> NetworkFile:
    """What the potential holds of an element, in the records that `read` kept, or in new ones."""
    module: Any = potential.networks[element]
    file = potential.aenet.get(element) or _blank(potential, element)
    matrices = [weight.detach()[member].double().cpu().numpy() for weight in module.weights]
    energies = zip(file.types, file.atomic_energies, strict=True)
    return replace(
        file,
        weights=np.concatenate([matrix.flatten(order="F") for matrix in matrices]),
        feature_mean=module.mean.double().cpu().numpy(),
        feature_mean_square=module.mean_square.double().cpu().numpy(),
        energy_scale=potential.energy_scale.item(),
        energy_shift=potential.energy_shift.item(),
        atomic_energies=np.array([potential.reference_energies.get(t, energy) for t, energy in energies]),
    )


def _blank(potential: ANNPotential, element: str) -> NetworkFile:
    """New records; zeros where `_file` puts what the potential holds."""
    module: Any = potential.networks[element]
    d, n_nodes = potential.descriptor, np.array(module.sizes)
    filled: dict[str, Any] = dict.fromkeys(("n_evaluated", "n_atoms", "n_structures"), 0)
    filled |= dict.fromkeys(("energy_scale", "energy_shift"), 0.0)
    filled |= dict.fromkeys(("feature_kinds", "feature_mean", "feature_mean_square"), np.zeros(d.n_features))
    parameters = np.zeros((4, d.n_features))
    parameters[:, 0] = d.radial_cutoff, d.radial_order, d.angular_cutoff, d.angular_order
    mean, mean_square = module.mean.double().cpu().numpy(), module.mean_square.double().cpu().numpy()
    deviation = np.sqrt(np.clip(mean_square - mean**2, 0, None))
    return NetworkFile(
        **sizes_of(n_nodes),
        **filled,
        n_nodes=n_nodes,
        activations=np.array([ACTIVATIONS.index(name) for name in (*module.activations, "linear")]),
        description=f"trained with mlipbook {__version__}$$",
        element=element,
        n_environment=len(d.environments[element]),
        environment=d.environments[element],
        r_min=R_MIN,
        r_max=d.cutoff,
        descriptor="Chebyshev",
        n_features=d.n_features,
        n_parameters=4,
        feature_parameters=parameters,
        feature_environments=np.zeros((2, d.n_features)),
        feature_min=mean - deviation,
        feature_max=mean + deviation,
        weights=np.zeros(0),
        training_set="",
        normalized=1,
        n_types=len(d.species),
        types=d.species,
        atomic_energies=np.zeros(len(d.species)),
        energy_range=np.array([-1.0, 1.0, 0.0]),
    )
