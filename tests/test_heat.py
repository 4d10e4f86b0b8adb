"""Heat flux: only definition I is the time derivative of the barycenter of energy (Eq. 11-14)."""

import pytest
import torch
from conftest import CASES, ann, scattered
from test_potentials import AsymmetricPairs

import mlipbook as mb
from mlipbook.potentials import EdgePotential, LennardJones

DEFINITIONS = ("I", "II", "III")

# torch's first forward derivative loads decompositions through its own deprecated torch.jit.script.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def thermal(structures: mb.Structures, seed: int = 0) -> torch.Tensor:
    """Velocities of about 300 K, zero momentum, (B, N, 3)."""
    v = torch.randn(
        structures.positions.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    m = structures.masses[:, None]
    v = v * (0.025 / m) ** 0.5
    return v - (m * v).sum(-2, keepdim=True) / m.sum()


def barycenter_rate(potential: EdgePotential, structures: mb.Structures, v: torch.Tensor) -> torch.Tensor:
    """d/dt sum_i r_i E_i of an isolated cluster on its way, by the chain rule:

    sum_i E_i v_i + sum_i r_i (F_i . v_i + d(eps_i)/dt).
    """
    edges = mb.neighbors.build(structures, potential.cutoff)
    rows = torch.arange(structures.n_atoms)[:, None]
    r_dot = (v[0][edges.neighbor] - v[0][rows]).permute(2, 0, 1) * edges.real

    def energies(vectors: torch.Tensor) -> torch.Tensor:
        return potential.atomic_energies(vectors, *edges.species(structures))

    eps, eps_dot = (x.detach() for x in torch.func.jvp(energies, (edges.vectors(structures),), (r_dot,)))
    F = potential.evaluate(structures).forces[0]
    E = eps + 0.5 * structures.masses * v[0].square().sum(-1)
    return E @ v[0] + ((F * v[0]).sum(-1) + eps_dot) @ structures.positions[0]


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_definition_I_moves_the_barycenter_of_energy():
    """Eq. 12 to round-off on each of eight clusters. The error of the others, in units of the virial flux and
    as root mean square: measured 1.6 (Eq. 13), 0.8 (Eq. 14) and 0.13 (Eq. 12 transposed, W^T v for W v).
    """
    errors = []
    for seed in range(8):
        cell = [[6.3, 0, 0], [0, 6.5, 0], [0, 0, 6.7]]
        structures = mb.Structures.from_ase(scattered("Ag7Se5", cell, False, seed))
        potential, v = ann(structures, seed=seed), thermal(structures, seed)
        exact = barycenter_rate(potential, structures, v)
        I, II, III = (mb.heat.flux(potential, structures, v, d)[0] for d in DEFINITIONS)  # noqa: E741
        assert relative_error(I, exact) < 1e-12
        W = potential.evaluate(structures, "I").virials[0]
        virial_part = torch.einsum("iab,ib->a", W, v[0])
        transposed = I - virial_part + torch.einsum("iab,ia->b", W, v[0])
        errors.append(torch.stack([wrong - exact for wrong in (II, III, transposed)]) / virial_part.norm())
    second, third, turned = torch.stack(errors).square().sum(-1).mean(0).sqrt().tolist()
    assert second > 0.5
    assert third > 0.25
    assert turned > 0.05


def test_flux_is_equation_11(structures):
    """sum_i (t_i + eps_i + W_i) v_i, written out, for two members and every definition."""
    potential, v = ann(structures, members=2), thermal(structures)
    m = structures.masses.tolist()
    for definition in DEFINITIONS:
        result = potential.evaluate(structures, definition)
        found = mb.heat.flux(potential, structures, v, definition)
        assert found.shape == (2, len(structures), 3)
        expected = torch.zeros_like(found)
        for member in range(2):
            for b in range(len(structures)):
                for i in range(structures.n_atoms):
                    E = 0.5 * m[i] * v[b, i] @ v[b, i] + result.energies[member, b, i]
                    expected[member, b] += E * v[b, i] + result.virials[member, b, i] @ v[b, i]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_third_flux_is_the_mean_of_the_others(structures):
    potential, v = ann(structures), thermal(structures)
    I, II, III = (mb.heat.flux(potential, structures, v, d) for d in DEFINITIONS)  # noqa: E741
    torch.testing.assert_close(III, (I + II) / 2, rtol=1e-12, atol=1e-13)
    assert relative_error(II, I) > 1e-3


def test_pair_potential_has_one_flux(structures):
    potential, v = LennardJones(0.4, 2.3, 4.5), thermal(structures)
    I, II, III = (mb.heat.flux(potential, structures, v, d) for d in DEFINITIONS)  # noqa: E741
    torch.testing.assert_close(II, I, rtol=1e-12, atol=1e-12 * float(I.abs().max()))
    torch.testing.assert_close(III, I, rtol=1e-12, atol=1e-12 * float(I.abs().max()))


@pytest.mark.parametrize("name", ["two species", "small cell", "cluster"])
def test_uniform_velocity_carries_the_total_virial(name):
    """All atoms at velocity u: the potential part of the flux is (U + W) u, whatever the definition."""
    structures = CASES[name]
    potential, u = ann(structures), torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    v = u.expand(structures.positions.shape)
    result = potential.evaluate(structures)
    kinetic = 0.5 * structures.masses.sum() * u @ u
    expected = (kinetic + result.energy[0]) * u + result.virial[0] @ u
    for definition in DEFINITIONS:
        found = mb.heat.flux(potential, structures, v, definition)[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["triclinic", "small cell", "cluster"])
def test_energy_split_changes_definition_I_by_a_time_derivative(name):
    """Pair energies split 0.8 to 0.2 instead of in halves: the flux changes by dP/dt of the bounded
    P = -sum_i sum_(j > i) delta_ij u_ij r_ij, hence not the conductivity. Definitions II and III lack this.
    """
    structures, pairs = CASES[name], LennardJones(0.4, 2.3, 4.5)
    v = thermal(structures)
    edges = mb.neighbors.build(structures, pairs.cutoff)
    centers, around = edges.species(structures)
    rows = torch.arange(structures.n_atoms)[:, None]
    delta = 0.3 * torch.sign(centers[:, None] - around)

    def P(vectors: torch.Tensor) -> torch.Tensor:
        r = vectors.square().sum(0).sqrt()
        u = torch.where(r < pairs.cutoff, pairs.energy(r), 0.0)
        return -0.5 * (delta * u * vectors).sum((1, 2))  # every pair is listed twice

    r_dot = (v[0][edges.neighbor] - v[0][rows]).permute(2, 0, 1) * edges.real
    P_dot = torch.func.jvp(P, (edges.vectors(structures),), (r_dot,))[1]
    split = AsymmetricPairs(pairs, 0.8)
    change = {
        d: (mb.heat.flux(split, structures, v, d) - mb.heat.flux(pairs, structures, v, d))[0]
        for d in DEFINITIONS
    }
    assert relative_error(change["I"], P_dot) < 1e-11
    assert relative_error(change["II"], P_dot) > 0.1
    assert relative_error(change["III"], P_dot) > 0.1


def test_doubled_cell_carries_twice_the_flux():
    structures = CASES["triclinic"]
    potential, v = ann(structures), thermal(structures)
    doubled = mb.Structures.from_ase(structures.to_ase()[0] * (1, 2, 1))
    for definition in DEFINITIONS:
        one = mb.heat.flux(potential, structures, v, definition)
        two = mb.heat.flux(potential, doubled, v.repeat(1, 2, 1), definition)
        torch.testing.assert_close(two, 2 * one, rtol=1e-12, atol=1e-12)


def test_species_offset_adds_a_mass_current():
    """Constants c per species change the flux by sum_z c_z V_z (forces unchanged), at any definition."""
    structures = CASES["two species"]
    potential, v = ann(structures), thermal(structures)
    before = mb.heat.flux(potential, structures, v)[0]
    potential.reference_energies["Ag"] += 0.5
    silver = structures.species == 47
    after = mb.heat.flux(potential, structures, v)[0]
    torch.testing.assert_close(after - before, 0.5 * v[0, silver].sum(0), rtol=0, atol=1e-13)


def test_wrong_input_is_refused():
    structures = CASES["two species"]
    potential, v = ann(structures), thermal(structures)
    with pytest.raises(ValueError, match=r"velocities \(15, 3\) do not fit positions \(1, 15, 3\)"):
        mb.heat.flux(potential, structures, v[0])
    with pytest.raises(ValueError, match="definition 'i'"):
        mb.heat.flux(potential, structures, v, "i")
