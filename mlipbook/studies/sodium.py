"""What the studies of sodium share: the bundled labels, their parts, and potentials trained on them."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import datasets
from mlipbook.accuracy import predict
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials import Potential
from mlipbook.potentials.ann import ANNPotential
from mlipbook.training.cost import Cost
from mlipbook.training.fitting import fit
from mlipbook.units import GPa, meV

Weights = tuple[float, float, float]  # p_U, p_F, p_W of Eq. 3
Phase = Literal["solid", "liquid"]
PHASES: tuple[Any, ...] = get_args(Phase)
LATTICE = 4.27  # A, of crystals that start; a barostat finds its own
LIQUID_Q6 = 0.12  # frames that start a liquid have less: some cold ones have begun to crystallize
RICHER = Chebyshev(("Na",), radial_cutoff=7.0, radial_order=20, angular_cutoff=7.0, angular_order=8)


def descriptor() -> Chebyshev:
    return Chebyshev(("Na",), radial_cutoff=6.5, radial_order=16, angular_cutoff=6.5, angular_order=4)


def trained(
    parts: dict[str, list[Atoms]],
    weights: Weights,
    *,
    learns: Chebyshev | None = None,
    members: int = 1,
    seed: int = 0,
    epochs: int,
    learning_rate: float = 2e-2,
    progress: bool = True,
    **network: Any,
) -> ANNPotential:
    """A committee that has learned the parts train and valid in float32, in float64. learns: its descriptor;
    network: options of ANNPotential."""
    potential = ANNPotential(learns or descriptor(), members=members, seed=seed, **network).float()
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "progress": progress}
    fit(potential, parts["train"], parts["valid"], Cost(*weights), seed=seed, **options)
    return potential.double()


def in_single_precision(potential: ANNPotential, member: int = 0) -> ANNPotential:
    """A copy of a member with a float32 network, silent about close pairs: ramps observe the shortest
    distance, and references of free energies make close pairs at small lambda."""
    copy = potential.member(member).float()
    copy.shortest = {}
    return copy


# ---- labeled frames ------------------------------------------------------------------------------------


def by_part(frames: Sequence[Atoms]) -> dict[str, list[Atoms]]:
    """Train, valid and test, by info["split"]."""
    return {part: [atoms for atoms in frames if atoms.info["split"] == part] for part in datasets.SPLITS}


def of_phase(frames: Sequence[Atoms], phase: str) -> list[Atoms]:
    return [atoms for atoms in frames if atoms.info["phase"] == phase]


def cubic(frames: Sequence[Atoms]) -> list[Atoms]:
    """Without the strained cells of na-gamma-active and their namesakes."""
    return [atoms for atoms in frames if not is_strained(atoms)]


def is_strained(atoms: Atoms) -> bool:
    return atoms.info.get("kind", "").startswith("strained")


def at_gamma() -> list[Atoms]:
    """All frames with labels at the Gamma point but those of strained cells, whose stress it gets wrong."""
    return datasets.load("na-gamma") + cubic(datasets.load("na-gamma-active"))


def liquids(temperature: float, number: int | None = None) -> list[Atoms]:
    """Labeled liquids, those of the nearest temperatures (K) first. number: how many, again and again if
    there are fewer (default: each once)."""
    labeled = [atoms for atoms in datasets.load("na-gamma") if atoms.info["q6"] < LIQUID_Q6]
    nearest = sorted(labeled, key=lambda atoms: abs(atoms.info["md_temperature_K"] - temperature))
    return [nearest[b % len(nearest)].copy() for b in range(number or len(nearest))]


def means(potential: Potential, frames: Sequence[Atoms]) -> list[dict[str, np.ndarray]]:
    """Mean of the members of each frame: energy (eV), forces (N, 3) eV/A, stress (6,) eV/A^3."""
    return [{name: x.mean(0) for name, x in found.items()} for found in predict(potential, frames)]


def deviations(
    frames: Sequence[Atoms], predicted: Sequence[dict[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """Predicted minus labeled of each frame: energy (meV/atom), forces (meV/A), stress (GPa)."""
    return [
        {
            "energy": (p["energy"] - atoms.get_potential_energy()) / len(atoms) / meV,
            "forces": (p["forces"] - atoms.get_forces()) / meV,
            "stress": (p["stress"] - atoms.get_stress()) / GPa,
        }
        for atoms, p in zip(frames, predicted, strict=True)
    ]


def by_frame(each: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of `deviations` of a mean, (frames,): energy (meV/atom), force (rms, meV/A), pressure (GPa)."""
    return {
        "energy": np.array([d["energy"] for d in each]),
        "force": np.array([np.sqrt((d["forces"] ** 2).mean()) for d in each]),
        "pressure": np.array([-d["stress"][:3].mean() for d in each]),
    }


def relabeled(atoms: Atoms, **labels: Any) -> Atoms:
    """A copy with these labels."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **labels)
    return copy


def predicted(potential: Potential, frames: Sequence[Atoms]) -> list[Atoms]:
    """Copies of the frames with the mean of the members as labels."""
    found = zip(frames, means(potential, frames), strict=True)
    return [relabeled(atoms, **labels, free_energy=labels["energy"]) for atoms, labels in found]
