"""What the damped and shifted Coulomb interaction of the alpha-Ag2Se model leaves out of Ewald's sum."""

import torch
from torch import Tensor

from mlipbook.dft.ewald import ewald
from mlipbook.potentials.ionic import Ionic, read
from mlipbook.structures import Structures
from mlipbook.units import GPa, bohr, hartree, meV

PARAMETERS = "ag2se-project-B.toml"


def bare_coulomb() -> Ionic:
    """The damped and shifted Coulomb interaction of the reference potential, and nothing else."""
    parameters = read(PARAMETERS)
    repulsion = {pair: values | {"H": 0.0} for pair, values in parameters["repulsion"].items()}
    return Ionic(parameters | {"repulsion": repulsion, "polarizability": {"Ag": 0.0, "Se": 0.0}})


def full_coulomb(structures: Structures, charge: dict[str, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Energies (B,) eV, forces (B, N, 3) eV/A, virials (B, 3, 3) eV of point charges by Ewald's sum."""
    charges = torch.tensor([charge[symbol] for symbol in structures.symbols], dtype=torch.float64)
    found = []
    for positions, cell in zip(structures.positions / bohr, structures.cells / bohr, strict=True):
        x, strain = positions.clone().requires_grad_(), torch.zeros(3, 3).double().requires_grad_()
        deform = torch.eye(3) + strain
        energy = ewald(x @ deform, cell @ deform, charges)
        dx, dstrain = torch.autograd.grad(energy, (x, strain))
        found.append((energy.detach() * hartree, -dx * hartree / bohr, -dstrain * hartree))
    energies, forces, virials = (torch.stack(parts) for parts in zip(*found, strict=True))
    return energies, forces, virials


def differences(structures: Structures) -> dict[str, Tensor]:
    """Damped and shifted minus full, (B,): "energy" (meV/atom; the damped sum lacks a self-energy, so that
    only the scatter counts), "force" (eV/A, rms), "pressure" (GPa); and "full force" (eV/A, rms).
    """
    damped = bare_coulomb().evaluate(structures)
    energy, forces, virial = full_coulomb(structures, read(PARAMETERS)["charge"])
    virials = (damped.virial - virial).diagonal(dim1=1, dim2=2).mean(-1)
    return {
        "energy": (damped.energy - energy) / structures.n_atoms / meV,
        "force": rms(damped.forces - forces),
        "pressure": virials / structures.volumes / GPa,
        "full force": rms(forces),
    }


def rms(forces: Tensor) -> Tensor:
    return forces.square().mean((1, 2)).sqrt()
