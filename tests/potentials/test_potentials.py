"""Everything from one gradient: forces, the three atomic virials, and what sets them apart."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from conftest import CASES, AsymmetricPairs, ann, derivative, moved, one, scattered, strained

import mlipbook as mb
from mlipbook.potentials import (
    CloserThanTrained,
    LennardJones,
    Mixture,
    Repulsion,
    species_pair,
)

DEFINITIONS = ("I", "II", "III")
POTENTIALS = {
    "ann": ann,
    "committee": lambda s: ann(s, members=2),
    "ann on repulsion": lambda s: ann(s, repulsion=3.9),
    "Lennard-Jones": lambda s: LennardJones(0.4, 2.3, 4.5),
    "repulsion": lambda s: Repulsion(3.9),
    "mixture": lambda s: Mixture(ann(s), LennardJones(0.4, 2.3, 4.5), 0.3),
    "mixture of committees": lambda s: Mixture(ann(s, members=2), Repulsion(3.9), 0.8),
}


@pytest.fixture(params=POTENTIALS)
def potential(request, structures):
    return POTENTIALS[request.param](structures)


def away_from_the_cutoff(structures: mb.Structures, cutoffs: tuple[float, ...], margin: float) -> bool:
    """No pair close to a cutoff, where the fifth derivative that central differences need is a jump."""
    edges = mb.neighbors.build(structures, 5.0)
    r = edges.vectors(structures).norm(dim=0)[edges.real]
    return all(float((r - cutoff).abs().min()) > margin for cutoff in cutoffs)


def test_forces_and_virials_are_central_differences(structures, potential):
    """-dU/dr_ia of every atom and -dU/dstrain_ab, to 1e-7 of the largest component."""
    step, N = 1e-4, structures.n_atoms

    def energy(s: mb.Structures) -> torch.Tensor:
        return potential.evaluate(s).energy

    for b in range(len(structures)):
        single = one(structures, b)
        assert away_from_the_cutoff(single, (3.9, 4.1, 4.5), 10 * step)
        result = potential.evaluate(single)
        each_atom = torch.eye(3 * N, dtype=torch.float64).view(-1, N, 3)
        each_strain = torch.eye(9, dtype=torch.float64).view(-1, 3, 3)
        F = -derivative(energy, lambda d, s=single: moved(s, d), each_atom, step).view_as(result.forces)
        W = -derivative(energy, lambda d, s=single: strained(s, d), each_strain, step).view_as(result.virial)
        scale = float(F.abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(result.forces, F, rtol=0, atol=1e-7 * scale)
        torch.testing.assert_close(result.virial, W, rtol=0, atol=1e-7 * float(W.abs().max()))


def test_forces_balance_and_virials_have_one_sum(structures, potential):
    """Round-off only: sums of a few hundred terms of the size of the largest."""
    results = [potential.evaluate(structures, definition) for definition in DEFINITIONS]
    forces, virial = results[0].forces, results[0].virial
    assert float(forces.sum(-2).abs().max()) < 1e-13 * max(1, float(forces.abs().max()))
    tolerance = 1e-13 * max(1, float(results[0].virials.abs().max()))
    assert float((virial - virial.mT).abs().max()) < 10 * tolerance  # no torque
    for result in results[1:]:
        torch.testing.assert_close(result.forces, forces, rtol=0, atol=0)
        torch.testing.assert_close(result.virial, virial, rtol=0, atol=10 * tolerance)


def test_only_definition_II_is_symmetric(structures):
    """W^II of one atom is the torque-free strain derivative of eps_i; W^I collects from its neighbors."""
    potential = ann(structures)
    asymmetry = {}
    for definition in DEFINITIONS:
        W = potential.evaluate(structures, definition).virials
        asymmetry[definition] = float((W - W.mT).abs().max() / W.abs().max())
    assert asymmetry["II"] < 1e-13
    assert asymmetry["I"] > 1e-3
    assert asymmetry["III"] > 1e-3


def test_third_definition_is_the_mean_of_the_others(structures):
    potential = ann(structures, members=2)
    I, II, III = (potential.evaluate(structures, d).virials for d in DEFINITIONS)  # noqa: E741
    torch.testing.assert_close(III, (I + II) / 2, rtol=0, atol=1e-13)
    assert float((I - II).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["two species", "small cell", "cluster"])
def test_equation_12_by_brute_force(name):
    """W_i = sum_j r_ij (x) d(eps_j)/d(r_ji), with one backward pass for every atom j, equals the scatter."""
    structures = CASES[name]
    potential = ann(structures)
    edges = mb.neighbors.build(structures, potential.cutoff)
    vectors = edges.vectors(structures).requires_grad_()
    energies = potential.atomic_energies(vectors, *edges.species(structures))
    W = {d: torch.zeros(structures.n_atoms, 3, 3, dtype=torch.float64) for d in DEFINITIONS}
    for j in range(structures.n_atoms):
        g = torch.autograd.grad(energies[j], vectors, retain_graph=True)[0]
        others = torch.arange(structures.n_atoms) != j
        assert not g[:, others].any()  # eps_j depends on the edges of j alone
        for column in range(g.shape[2]):
            i, r_ji = int(edges.neighbor[j, column]), vectors[:, j, column].detach()
            term = torch.outer(-r_ji, g[:, j, column])  # r_ij (x) d(eps_j)/d(r_ji)
            W["I"][i] += term
            W["II"][j] += term  # r_ji (x) d(eps_j)/d(r_ij), the same with both signs changed
            W["III"][i] += term / 2
            W["III"][j] += term / 2
    for definition in DEFINITIONS:
        found = potential.evaluate(structures, definition).virials[0]
        torch.testing.assert_close(found, W[definition], rtol=0, atol=1e-13)


def test_pair_potential_has_one_atomic_virial(structures):
    potential = LennardJones(0.4, 2.3, 4.5)
    I, II, III = (potential.evaluate(structures, d).virials for d in DEFINITIONS)  # noqa: E741
    tolerance = 1e-13 * max(1, float(I.abs().max()))
    torch.testing.assert_close(II, I, rtol=0, atol=tolerance)
    torch.testing.assert_close(III, I, rtol=0, atol=tolerance)


def test_rotation(structures, potential):
    """Energies are scalars, forces vectors, virials tensors."""
    R = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())[0]
    turned = replace(structures, positions=structures.positions @ R + 3.3, cells=structures.cells @ R)
    a, b = potential.evaluate(structures), potential.evaluate(turned)
    for before, after in (
        (a.energies, b.energies),
        (a.forces @ R, b.forces),
        (R.T @ a.virials @ R, b.virials),
    ):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12 * max(1, float(before.abs().max())))


@pytest.mark.parametrize("name", ["two species", "triclinic", "small cell"])
def test_permutation_and_supercell(name):
    atoms = CASES[name].to_ase()[0]
    potential = ann(CASES[name])
    order = np.random.default_rng(0).permutation(len(atoms))
    alone = potential.evaluate(CASES[name])
    for changed, rows in ((atoms[order], order), (atoms * (2, 1, 2), np.tile(np.arange(len(atoms)), 4))):
        result = potential.evaluate(mb.Structures.from_ase(changed))
        for found, expected in (
            (result.energies, alone.energies),
            (result.forces, alone.forces),
            (result.virials, alone.virials),
        ):
            torch.testing.assert_close(found, expected[:, rows], rtol=1e-12, atol=1e-12)


def test_structures_of_a_batch_do_not_mix(structures, potential):
    together = potential.evaluate(structures)
    for b in range(len(structures)):
        alone = potential.evaluate(one(structures, b))
        torch.testing.assert_close(
            together.energies[..., b : b + 1, :], alone.energies, rtol=1e-13, atol=1e-13
        )
        torch.testing.assert_close(
            together.forces[..., b : b + 1, :, :], alone.forces, rtol=1e-13, atol=1e-12
        )


def test_a_list_with_skin_gives_the_same(structures):
    for potential in (ann(structures, members=2), LennardJones(0.4, 2.3, 4.5), Repulsion(3.0)):
        edges = mb.neighbors.build(structures, potential.cutoff, skin=1.2)
        a, b = potential.evaluate(structures), potential.evaluate(structures, edges=edges)
        for before, after in ((a.energies, b.energies), (a.forces, b.forces), (a.virials, b.virials)):
            torch.testing.assert_close(after, before, rtol=0, atol=1e-13 * max(1, float(before.abs().max())))


@pytest.mark.parametrize(
    "atoms", [bulk("Na", "bcc", 4.2), bulk("Na", "fcc", 5.3), bulk("Na", "bcc", 4.2, cubic=True) * 2]
)
def test_no_force_at_perfect_lattice_sites(atoms):
    structures = mb.Structures.from_ase(atoms)
    result = ann(structures).evaluate(structures)
    assert torch.isfinite(result.virials).all() and result.virials.abs().max() > 1e-3
    assert float(result.forces.abs().max()) < 1e-13


def test_shapes_and_signs():
    structures = CASES["mixed batch"]
    N, V = structures.n_atoms, structures.volumes
    for members, front in ((1, ()), (3, (3,))):
        result = ann(structures, members=members).evaluate(structures)
        assert result.energies.shape == (*front, 3, N) and result.energy.shape == (*front, 3)
        assert result.forces.shape == (*front, 3, N, 3) and result.virials.shape == (*front, 3, N, 3, 3)
        assert result.stress.shape == (*front, 3, 3, 3) and result.pressure.shape == (*front, 3)
        torch.testing.assert_close(result.stress, -result.virial / V[:, None, None])
        trace = sum(result.stress[..., k, k] for k in range(3))
        torch.testing.assert_close(result.pressure, -trace / 3)


def test_compression_makes_pressure():
    """The sign: two repelling neighbors push outward, P > 0."""
    dimer = mb.Structures.from_ase(Atoms("Ar2", [[0, 0, 0], [3.0, 0, 0]], cell=12 * np.eye(3), pbc=True))
    result = LennardJones(0.01, 3.4, 5.0).evaluate(dimer)
    assert result.forces[0, 1, 0] > 0 and result.pressure[0] > 0 and result.virial[0, 0, 0] > 0


def test_known_energies():
    """Lennard-Jones: -epsilon at 2^(1/6) sigma; ZBL copper at 1 A: 14.4*29^2 phi(a)/r; both by hand."""
    shifted = 4 * 0.01 * ((3.4 / 8) ** 12 - (3.4 / 8) ** 6)
    dimer = mb.Structures.from_ase(Atoms("Ar2", [[0, 0, 0], [2 ** (1 / 6) * 3.4, 0, 0]]))
    energies = LennardJones(0.01, 3.4, 8.0).evaluate(dimer).energies
    np.testing.assert_allclose(energies, [[(-0.01 - shifted) / 2] * 2], rtol=1e-12)
    x = 1.0 / (0.8854 * 0.529177210903 / (2 * 29**0.23))
    terms = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
    phi = sum(c * np.exp(-d * x) for c, d in terms)
    taper = ((np.cos(np.pi / 2.2) + 1) / 2) ** 2
    copper = mb.Structures.from_ase(Atoms("Cu2", [[0, 0, 0], [1.0, 0, 0]]))
    energy = float(Repulsion(2.2).evaluate(copper).energy)
    assert energy == pytest.approx(14.399645 * 29**2 * phi * taper, rel=1e-7)


def test_mixture_interpolates():
    structures = CASES["mixed batch"]
    a, b = ann(structures, members=2), LennardJones(0.4, 2.3, 4.5)
    A, B = a.evaluate(structures), b.evaluate(structures)
    lam = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    mixed = Mixture(a, b, lam).evaluate(structures)
    for k, x in enumerate(lam):
        torch.testing.assert_close(mixed.energy[:, k], x * A.energy[:, k] + (1 - x) * B.energy[k])
        torch.testing.assert_close(mixed.forces[:, k], x * A.forces[:, k] + (1 - x) * B.forces[k])
        torch.testing.assert_close(mixed.virials[:, k], x * A.virials[:, k] + (1 - x) * B.virials[k])


def test_energy_split_leaves_forces_alone():
    structures, pairs = CASES["triclinic"], LennardJones(0.4, 2.3, 4.5)
    half, split = pairs.evaluate(structures), AsymmetricPairs(pairs, 0.8).evaluate(structures)
    tolerance = 1e-13 * float(half.forces.abs().max())
    torch.testing.assert_close(split.forces, half.forces, rtol=0, atol=tolerance)
    torch.testing.assert_close(split.virial, half.virial, rtol=0, atol=20 * tolerance)
    assert float((split.energies - half.energies).abs().max()) > 1e-3
    assert float((split.virials - half.virials).abs().max()) > 1e-3


def test_cluster_has_a_virial_but_no_stress():
    result = ann(CASES["cluster"]).evaluate(CASES["cluster"])
    assert float(result.virial.abs().max()) > 1e-3
    with pytest.raises(ValueError, match="an isolated cluster has no volume, hence no stress; use .virial"):
        _ = result.stress
    with pytest.raises(ValueError, match="no stress"):
        _ = result.pressure


def test_arguments_are_left_alone():
    structures = CASES["two species"]
    before = structures.positions.clone(), structures.cells.clone()
    potential = ann(structures)
    parameters = [p.clone() for p in potential.parameters()]
    potential.evaluate(structures)
    assert torch.equal(structures.positions, before[0]) and torch.equal(structures.cells, before[1])
    assert not structures.positions.requires_grad
    assert all(
        torch.equal(p, q) and p.grad is None for p, q in zip(potential.parameters(), parameters, strict=True)
    )


def test_wrong_input_is_refused():
    structures = CASES["two species"]
    potential = ann(structures)
    with pytest.raises(ValueError, match="definition 'IV': the atomic virial is one of I, II, III"):
        potential.evaluate(structures, "IV")
    with pytest.raises(ValueError, match="atom 0 is Na, but the descriptor knows only Ag, Se"):
        potential.evaluate(CASES["one species"])
    close = structures.positions.clone()
    close[0, 3] = close[0, 2] + 1e-3
    with pytest.raises(ValueError, match="structure 0: atoms 2 and 3 overlap"):
        potential.evaluate(replace(structures, positions=close))
    close[0, 3, 1] = torch.nan
    with pytest.raises(ValueError, match="structure 0, atom 3: position is .* not finite"):
        replace(structures, positions=close)


def test_pairs_closer_than_trained_are_reported():
    structures = mb.Structures.from_ase(scattered("Ag2Se2", 9 * np.eye(3), seed=3))
    potential = ann(structures)
    edges = mb.neighbors.build(structures, 4.5)
    distances, (centers, around) = edges.vectors(structures).norm(dim=0), edges.species(structures)
    assert species_pair(47, 34) == species_pair(34, 47) == ("Ag", "Se")
    nearest = float(distances[edges.real & (centers[:, None] != around)].min())
    potential.shortest = {("Ag", "Ag"): 0.5, ("Ag", "Se"): nearest - 1e-6, ("Se", "Se"): 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential.evaluate(structures)
    potential.shortest[("Ag", "Se")] = nearest + 1e-3
    with pytest.warns(CloserThanTrained, match=r"Ag-Se pairs closer than .* were not in the training set"):
        potential.evaluate(structures)


def test_single_precision(structures):
    """Energies and forces of a float32 network: a millionth of the largest, times a few dozen roundings."""
    double, single = ann(structures), ann(structures).to(torch.float32)
    a, b = double.evaluate(structures), single.evaluate(structures)
    assert b.energies.dtype == b.forces.dtype == b.virials.dtype == torch.float64
    for exact, rounded in ((a.energies, b.energies), (a.forces, b.forces), (a.virials, b.virials)):
        assert 0 < float((exact - rounded).abs().max()) < 2e-5 * max(1, float(exact.abs().max()))


def test_evaluate_needs_no_gradients_from_outside(structures):
    potential = ann(structures)
    expected = potential.evaluate(structures).forces
    with torch.no_grad():
        assert torch.equal(potential.evaluate(structures).forces, expected)


def test_lists_that_are_too_short_are_refused():
    structures = CASES["two species"]
    edges = mb.neighbors.build(structures, 4.0)
    with pytest.raises(ValueError, match=r"neighbor list reaches 4.0 A, the potential 4.5 A"):
        ann(structures).evaluate(structures, edges=edges)


def test_pairs_never_seen_in_training_are_reported():
    structures = CASES["two species"]
    potential = ann(structures)
    potential.shortest = {("Ag", "Ag"): 0.1, ("Ag", "Se"): 0.1}
    with pytest.warns(CloserThanTrained, match="Se-Se pairs were not in the training set"):
        potential.evaluate(structures)
