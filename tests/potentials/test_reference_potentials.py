"""Where integrations begin: soft core, Einstein crystal, ideal gas; and mixtures with them (Eq. 5)."""

import numpy as np
import pytest
import torch
from ase import Atoms
from conftest import BOX, batch, derivative, moved, scattered, strained

import mlipbook as mb
from mlipbook.potentials import Einstein, IdealGas, LennardJones, Mixture, SoftCore

ATOMS = batch(scattered("Na12", BOX, seed=3))
SITES = ATOMS.positions + 0.3 * torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(1)).double()


def pair(r: float) -> mb.Structures:
    return batch(Atoms("Na2", [[0, 0, 0], [r, 0, 0]], cell=[30] * 3, pbc=True))


def test_soft_core_is_the_paper_s():
    """mu = 7.92e-4 hartree, sigma = 6.752 bohr (Eq. 7); the energy at r = sigma is mu less the shift."""
    core = SoftCore(cutoff=8.0)
    sigma, mu = 6.752 * 0.529177210903, 7.92e-4 * 27.211386245988
    energy = float(core.evaluate(pair(sigma)).energy)
    assert energy == pytest.approx(mu * (1 - (sigma / 8) ** 12), rel=1e-12)
    force = float(core.evaluate(pair(3.0)).forces[0, 1, 0])
    assert force == pytest.approx(12 * mu / 3 * (sigma / 3) ** 12, rel=1e-12)
    other = SoftCore(0.1, 3.0, n=9, cutoff=6.0).evaluate(pair(2.5)).energy
    assert float(other) == pytest.approx(0.1 * ((3 / 2.5) ** 9 - 0.5**9), rel=1e-12)


def test_soft_core_has_no_step_at_the_cutoff():
    inside, outside = (float(SoftCore(cutoff=6.0).evaluate(pair(r)).energy) for r in (6 - 1e-9, 6 + 1e-9))
    assert outside == 0 and 0 < inside < 1e-9


def test_einstein_crystal_is_harmonic():
    """Energy, forces and virials of springs; sites move with the cell under strain."""
    crystal = Einstein(SITES, 0.15)
    result = crystal.evaluate(ATOMS)
    u = ATOMS.positions - SITES
    assert float(result.energy) == pytest.approx(0.075 * float(u.square().sum()), rel=1e-13)
    torch.testing.assert_close(result.forces, -0.15 * u)
    strains = torch.eye(9, dtype=torch.float64).view(-1, 3, 3)

    def energy(deformed: mb.Structures) -> torch.Tensor:
        cells = torch.linalg.solve(ATOMS.cells, deformed.cells)  # the deformation, also of the sites
        return Einstein(SITES @ cells, 0.15).evaluate(deformed).energy

    W = -derivative(energy, lambda s: strained(ATOMS, s), strains).view(1, 3, 3)
    torch.testing.assert_close(result.virial, W, rtol=0, atol=1e-9)


def test_einstein_crystal_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="spring -1"):
        Einstein(SITES, -1.0)
    with pytest.raises(ValueError, match="give one set"):
        Einstein(SITES[:, :5], 1.0).evaluate(ATOMS)


def test_ideal_gas_is_nothing():
    result = IdealGas().evaluate(ATOMS)
    assert result.virials.shape == (1, 12, 3, 3)
    assert not any(x.any() for x in (result.energies, result.forces, result.virials))


@pytest.mark.parametrize("b", [Einstein(SITES, 0.15), IdealGas(), SoftCore(0.02, 2.5, cutoff=4.0)])
def test_mixture_tells_its_derivative(b):
    """dU/dlambda = U_a - U_b, by differences, for one lambda per replica; forces stay gradients of U."""
    a = LennardJones(0.4, 2.3, 4.5)
    three = moved(ATOMS, 0.05 * torch.randn(3, 12, 3, generator=torch.Generator().manual_seed(2)).double())
    lam = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    result = Mixture(a, b, lam).evaluate(three)
    h = 1e-3
    up, down = (Mixture(a, b, lam + s * h).evaluate(three).energy for s in (1, -1))
    torch.testing.assert_close(result.difference, (up - down) / (2 * h), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.difference, a.evaluate(three).energy - b.evaluate(three).energy)
    torch.testing.assert_close(result.forces[0], b.evaluate(three).forces[0])
    torch.testing.assert_close(result.forces[2], a.evaluate(three).forces[2])


def test_references_run_in_dynamics():
    """Neighbor lists are built for their small cutoffs, too; a crystal's springs hold it."""
    crystal = Einstein(ATOMS.positions, 1.0)
    state = mb.dynamics.thermalize(ATOMS, 300.0)
    simulation = mb.dynamics.Langevin(crystal, 2 * mb.units.fs, 300.0)
    u = simulation.run(state, 50, progress=False).state.structures.positions - ATOMS.positions
    assert 0 < float(u.abs().max()) < 6 * np.sqrt(mb.units.kB * 300)
    assert float(u.mean(1).abs().max()) < 1e-10  # the center stays
