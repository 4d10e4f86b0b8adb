"""What must hold exactly in plane-wave DFT: derivatives, symmetries, and the same results on other ways."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from dft_cases import prepared, references, solved, summary
from test_dft_parts import SODIUM, gaussian_upf
from torch import Tensor

import mlipbook.dft
from mlipbook.dft.basis import grid_shape, monkhorst_pack, sphere
from mlipbook.dft.energy import exchange_correlation
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.scf import Settings, solve
from mlipbook.units import GPa, Ry, bohr, hartree

EV, EV_PER_A = 1 / hartree, bohr / hartree  # in atomic units
GPA = GPa * bohr**3 / hartree


def sodium() -> Atoms:
    """Two atoms in a cubic cell, away from the sites of bcc; at 10 Ry supercells have grids twice as fine."""
    positions = 4.25 * np.array([[0.02, 0.01, -0.015], [0.49, 0.52, 0.503]])
    return Atoms("Na2", positions, cell=[4.25] * 3, pbc=True)


@pytest.fixture(scope="module")
def alloy(tmp_path_factory) -> tuple[Nuclei, Settings]:
    """Sodium, and a made-up element of three electrons with s, p, d projectors and a core, in a skew cell."""
    path = tmp_path_factory.mktemp("upf") / "K.upf"
    path.write_text(gaussian_upf(width=1.6).replace('element="Xx"', 'element="K"'))
    cell = np.array([[4.1, 0.0, 0.3], [-0.9, 4.4, 0.2], [0.5, 0.6, 5.0]])
    atoms = Atoms("NaK", [[0.1, 0.2, -0.1], [1.9, 2.3, 2.8]], cell=cell, pbc=True)
    pseudopotentials = {"Na": SODIUM, "K": path}
    return prepared(atoms, pseudopotential=pseudopotentials, kpts=(2, 1, 1), shift=(1, 0, 0))


@pytest.fixture
def held(monkeypatch) -> Callable[[Tensor], None]:
    """Holds Miller indices and grids at those of a cell: the stress is without Pulay correction."""

    def hold(cell: Tensor) -> None:
        for module in (mlipbook.dft.basis, mlipbook.dft.energy):
            monkeypatch.setattr(module, "sphere", lambda _, *rest: sphere(cell, *rest))
        for module in (mlipbook.dft.scf, mlipbook.dft.energy):
            monkeypatch.setattr(module, "grid_shape", lambda _, cutoff: grid_shape(cell, cutoff))

    return hold


def deformed(nuclei: Nuclei, displacements: Tensor, strain: Tensor) -> Nuclei:
    map = torch.eye(3).to(strain) + strain
    return replace(nuclei, positions=(nuclei.positions + displacements) @ map, cell=nuclei.cell @ map)


def slope(energy: Callable[[float], float], step: float) -> float:
    """Derivative at 0, by five points."""
    up, down, up2, down2 = (energy(s * step) for s in (1, -1, 2, -2))
    return (8 * (up - down) - (up2 - down2)) / (12 * step)


@pytest.mark.slow
@pytest.mark.parametrize("xc, smearing", [("PBE", "fermi-dirac"), ("LDA", "cold")])
def test_forces_and_stress_are_derivatives_of_the_energy(alloy, held, xc, smearing):
    """Along a random direction of all atoms, and of strain (rotation included), to 1e-6."""
    nuclei, settings = alloy[0], replace(alloy[1], xc=xc, smearing=smearing)
    held(nuclei.cell)
    solution = solve(nuclei, settings)
    _, forces, stress = summary(solution)
    generator = torch.Generator().manual_seed(1)
    move, strain = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (2, 3))

    def energy(displacements: Tensor, strain: Tensor) -> float:
        return summary(solve(deformed(nuclei, displacements, strain), settings, solution))[0]

    still = torch.zeros(3, 3, dtype=torch.float64)
    by_move = slope(lambda s: energy(s * move, still), 0.006)
    by_strain = slope(lambda s: energy(still[:2], s * strain), 0.002)
    assert by_move == pytest.approx(-float((forces * move).sum()), rel=1e-6)
    assert by_strain == pytest.approx(float(nuclei.volume * (stress * strain).sum()), rel=1e-6)
    assert float((stress - stress.mT).abs().max()) < 1e-10 * float(stress.abs().max())


@pytest.mark.slow
def test_the_core_charge_thins_out_with_the_volume():
    """Known codes forget that: without the 1/Omega of the core density the stress is 108 GPa off."""
    [atoms] = references("na2.xyz")
    nuclei, settings = prepared(
        atoms, ecut=20 * Ry, kpts=(4, 4, 4), shift=(1, 1, 1), bands=10, tolerance=1e-9
    )
    solution = solve(nuclei, settings)
    _, _, stress = summary(solution)
    cell = nuclei.cell.clone().requires_grad_()

    def xc_stress(thins_out: bool) -> float:
        [element] = nuclei.elements
        positions = nuclei.positions @ torch.linalg.solve(nuclei.cell, cell)
        strained = replace(nuclei, cell=cell, positions=positions)
        scale = 1.0 if thins_out else strained.volume / nuclei.volume
        changed = replace(element, core=lambda q: scale * element.core(q))
        strained = replace(strained, elements=(changed,))
        energy = exchange_correlation(solution.number, strained, solution.basis, "PBE")
        (gradient,) = torch.autograd.grad(energy, cell)
        return float((nuclei.cell.mT @ gradient).trace() / 3 / nuclei.volume)

    assert abs(xc_stress(False) - xc_stress(True)) / GPA == pytest.approx(108, abs=0.5)
    reference = -np.trace(atoms.get_stress(voigt=False)) / 3 / GPa
    assert -float(stress.trace()) / 3 / GPA == pytest.approx(reference, abs=0.002)


def test_energy_is_the_same_a_grid_point_further():
    atoms = sodium()
    energy, forces, stress = solved(atoms)
    nuclei, settings = prepared(atoms)
    n_x, n_y, n_z = grid_shape(nuclei.cell, settings.density_cutoff)
    atoms.positions += 4.25 * np.array([3 / n_x, -1 / n_y, 5 / n_z])
    moved = solved(atoms)
    assert moved[0] == pytest.approx(energy, abs=1e-9 * EV)
    assert float((moved[1] - forces).abs().max()) < 1e-7 * EV_PER_A
    assert float((moved[2] - stress).abs().max()) < 1e-7 * GPA


@pytest.mark.slow
def test_a_supercell_at_gamma_is_the_cell_on_a_mesh():
    """2x2x2 cells at Gamma (real wavefunctions) and k points 0 and 1/2 of each reciprocal vector."""
    cell, supercell = sodium(), sodium() * 2
    one = solved(cell, ecut=10 * Ry, kpts=(2, 2, 2), bands=8)
    eight = solved(supercell, ecut=10 * Ry, bands=28)
    assert eight[0] / 16 == pytest.approx(one[0] / 2, abs=1e-8 * EV)
    assert float((eight[1].reshape(8, 2, 3) - one[1]).abs().max()) < 1e-6 * EV_PER_A
    assert float((eight[2] - one[2]).abs().max()) < 1e-5 * GPA


def same(found: tuple[float, Tensor, Tensor], expected: tuple[float, Tensor, Tensor]) -> None:
    """Energy to 1e-9 eV, forces to 1e-7 eV/A, stress to 1e-6 GPa."""
    assert found[0] == pytest.approx(expected[0], abs=1e-9 * EV)
    assert float((found[1] - expected[1]).abs().max()) < 1e-7 * EV_PER_A
    assert float((found[2] - expected[2]).abs().max()) < 1e-6 * GPA


def test_wavefunctions_at_gamma_can_be_real():
    """A k point that is zero but for rounding is solved with complex ones."""
    nearly = torch.tensor([[1e-13, 0, 0]], dtype=torch.float64)
    atoms = sodium()
    same(solved(atoms), solved(atoms, {"k": nearly}))


def test_results_do_not_depend_on_how_many_k_points_are_solved_together():
    """Blocks pad their spheres to the largest."""
    atoms, mesh = sodium(), {"kpts": (3, 2, 1), "shift": (0, 1, 0)}
    alone = solved(atoms, {"k_at_once": 1}, **mesh)
    for k_at_once in (2, 6):
        same(solved(atoms, {"k_at_once": k_at_once}, **mesh), alone)


def test_time_reversal_halves_the_mesh():
    mesh, shift = (3, 2, 1), (0, 1, 0)
    axes = [(torch.arange(n, dtype=torch.float64) + s / 2) / n for n, s in zip(mesh, shift, strict=True)]
    k = torch.cartesian_prod(*axes)
    reduced, weights = monkhorst_pack(mesh, shift)
    assert (len(k), len(reduced), float(weights.sum())) == (6, 3, pytest.approx(1))
    whole = {"k": k, "weights": torch.full((6,), 1 / 6, dtype=torch.float64)}
    same(solved(sodium(), whole, kpts=mesh, shift=shift), solved(sodium(), kpts=mesh, shift=shift))
