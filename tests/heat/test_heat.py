"""Heat flux: only definition I is the time derivative of the barycenter of energy (Eq. 11-14).

The atomic virials themselves (symmetric or not, Eq. 12 by a backward pass per atom) are in test_potentials.
"""

from dataclasses import replace

import pytest
import torch
from conftest import BOX, CASES, AsymmetricPairs, ann, scattered

import mlipbook as mb
from mlipbook.dynamics import NVE, State
from mlipbook.potentials import EdgePotential, LennardJones
from mlipbook.studies.heat_flux import barycenter

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


def moving(structures: mb.Structures, v: torch.Tensor) -> State:
    return State(structures, structures.masses[:, None] * v, (0,), 3 * structures.n_atoms)


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def cluster(seed: int) -> mb.Structures:
    return mb.Structures.from_ase(scattered("Ag7Se5", 0.7 * BOX, False, seed))


# ---- the barycenter of energy, and what does not move it ---------------------------------------------------


def every_pair(potential: EdgePotential, structures: mb.Structures) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a cluster: r_ij = r_j - r_i and g_ij = d(eps_i)/d(r_ij), zero beyond the cutoff, (N, N, 3) each."""
    edges = mb.neighbors.build(structures, potential.cutoff)
    vectors = edges.vectors(structures)
    g = mb.potentials.edge_gradients(
        potential.atomic_energies(vectors.requires_grad_(), *edges.species(structures)), vectors
    )
    rows, columns = edges.real.nonzero().T
    dense = torch.zeros(structures.n_atoms, structures.n_atoms, 3, dtype=torch.float64)
    dense[rows, edges.neighbor[rows, columns]] = g[:, rows, columns].T
    positions = structures.positions[0]
    return positions[None] - positions[:, None], dense


def virial_flux(r: torch.Tensor, g: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """-sum_ij r_ij (g_ij . v), with v of either end, (N, N, 3)."""
    return -torch.einsum("ija,ijb,ijb->a", r, g, v.expand_as(r))


def halved(g: torch.Tensor) -> torch.Tensor:
    """A half list, every pair once (i < j), with the whole force -F_ij = g_ij - g_ji between them."""
    return torch.triu(torch.ones(g.shape[:2], dtype=g.dtype), 1)[..., None] * (g - g.transpose(0, 1))


def flux_of_half_list(r: torch.Tensor, g: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Half of each pair's virial to either atom."""
    return (virial_flux(r, halved(g), v) + virial_flux(r, halved(g), v[:, None])) / 2


# (r, g, v (N, 3)) -> virial flux; least error in units of the right one, root mean square of eight clusters
BROKEN = {
    "definition II": (lambda r, g, v: virial_flux(r, g, v[:, None]), 0.5),
    "definition III": (lambda r, g, v: (virial_flux(r, g, v) + virial_flux(r, g, v[:, None])) / 2, 0.25),
    "transposed": (lambda r, g, v: virial_flux(g, r, v), 0.05),
    "half list": (flux_of_half_list, 0.25),
    "half list, to the neighbor": (lambda r, g, v: virial_flux(r, halved(g), v), 0.25),
    "other sign": (lambda r, g, v: -virial_flux(r, g, v), 1.9),
}


@pytest.mark.parametrize("seed", range(8))
def test_definition_I_moves_the_barycenter_of_energy(seed):
    """Eq. 12 to round-off, in the library and written out for every pair."""
    structures = cluster(seed)
    potential, v = ann(structures, seed=seed), thermal(structures, seed)
    exact = barycenter.rate(potential, moving(structures, v))
    assert relative_error(mb.heat.flux(potential, structures, v)[0], exact) < 1e-12
    convective, virial_part = mb.heat.flux_parts(potential, structures, v)
    torch.testing.assert_close(
        convective + virial_part, mb.heat.flux(potential, structures, v), rtol=0, atol=0
    )
    r, g = every_pair(potential, structures)
    assert relative_error(virial_flux(r, g, v[0]), exact - convective[0]) < 1e-12


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_else_moves_the_barycenter_of_energy(name):
    """Other definitions, W^T v for W v, half lists: measured 1.6 (II), 0.8 (III), 0.13 (transposed)."""
    broken, least = BROKEN[name]
    errors = []
    for seed in range(8):
        structures = cluster(seed)
        potential, v = ann(structures, seed=seed), thermal(structures, seed)
        exact = mb.heat.flux_parts(potential, structures, v)[1][0]
        errors.append(relative_error(broken(*every_pair(potential, structures), v[0]), exact))
    assert torch.tensor(errors).square().mean().sqrt() > least


def test_library_and_pairs_agree_on_II_and_III():
    structures = cluster(0)
    potential, v = ann(structures), thermal(structures)
    pairs = every_pair(potential, structures)
    for definition in ("II", "III"):
        found = mb.heat.flux_parts(potential, structures, v, definition)[1][0]
        assert relative_error(BROKEN[f"definition {definition}"][0](*pairs, v[0]), found) < 1e-12


def test_barycenter_along_a_step_of_dynamics():
    """(sum r_i E_i (t + dt) - sum r_i E_i (t - dt))/2 dt is the flux I up to O(dt^2), and not II or III."""
    structures = cluster(3)
    potential, v = ann(structures), thermal(structures)
    start = moving(structures, v)

    def moment(timestep: float, steps: int) -> torch.Tensor:
        begin = start if steps > 0 else replace(start, momenta=-start.momenta)  # Verlet runs backward
        state = NVE(potential, timestep).run(begin, abs(steps), progress=False).state
        E = state.evaluated.energies[0] + 0.5 * state.masses * state.velocities[0].square().sum(-1)
        return E @ state.structures.positions[0]

    errors = {}
    for dt in (0.04, 0.02, 0.01):
        rate = (moment(dt, 1) - moment(dt, -1)) / (2 * dt)
        for d in DEFINITIONS:
            errors[d, dt] = relative_error(mb.heat.flux(potential, structures, v, d)[0], rate)
    assert errors["I", 0.01] < 1e-5
    assert errors["I", 0.04] / errors["I", 0.02] == pytest.approx(4, rel=0.01)
    assert errors["I", 0.02] / errors["I", 0.01] == pytest.approx(4, rel=0.01)
    assert min(errors["II", 0.01], errors["III", 0.01]) > 0.01


# ---- one gradient, three virials ---------------------------------------------------------------------------


def test_virials_have_the_sum_that_strain_has(structures):
    """-dU/dstrain and forces by autograd, through positions and cells, not through edges: to 1e-12."""
    potential = ann(structures)
    edges = mb.neighbors.build(structures, potential.cutoff)
    B = len(structures)
    strain = torch.zeros(B, 3, 3, dtype=torch.float64, requires_grad=True)
    positions = structures.positions.clone().requires_grad_()
    deformation = torch.eye(3, dtype=torch.float64) + strain.mT
    deformed = replace(structures, positions=positions @ deformation, cells=structures.cells @ deformation)
    U = potential.atomic_energies(edges.vectors(deformed), *edges.species(structures)).sum()
    dU = torch.autograd.grad(U, (positions, strain))
    for definition in DEFINITIONS:
        result = potential.evaluate(structures, definition)
        scale = max(1.0, float(result.virials.abs().max()))
        torch.testing.assert_close(result.virial, -dU[1], rtol=0, atol=1e-12 * scale)
        torch.testing.assert_close(result.forces, -dU[0], rtol=0, atol=1e-12 * scale)
        assert float(result.forces.sum(1).abs().max()) < 1e-13 * scale
        turned = (result.virials - result.virials.mT).abs().amax((-1, -2)) / scale  # per atom
        assert float((result.virial - result.virial.mT).abs().max()) < 1e-13 * scale
        assert float(turned.max()) < 1e-14 if definition == "II" else float(turned.max()) > 1e-3


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
    """I = II = III = -1/2 sum_ij r_ij (F_ij . v_i), F_ij the force of j on i."""
    potential, v = LennardJones(0.4, 2.3, 4.5), thermal(structures)
    edges = mb.neighbors.build(structures, potential.cutoff)
    vectors = edges.vectors(structures)
    r = vectors.square().sum(0).sqrt().requires_grad_()
    slope = torch.autograd.grad(torch.where(r < potential.cutoff, potential.energy(r), 0.0).sum(), r)[0]
    F = vectors * slope / r.detach()  # at the center, from the neighbor: (3, A, K)
    flux = -0.5 * torch.einsum("aek,bek,eb->ea", vectors, F, v.reshape(-1, 3))
    exact = flux.view(v.shape).sum(1)
    for definition in DEFINITIONS:
        found = mb.heat.flux_parts(potential, structures, v, definition)[1]
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12 * float(exact.abs().max()))


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


def test_flux_is_a_vector(structures):
    """It turns with the structure."""
    potential, v = ann(structures), thermal(structures)
    R = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())[0]
    turned = replace(structures, positions=structures.positions @ R + 3.3, cells=structures.cells @ R)
    for definition in DEFINITIONS:
        before = mb.heat.flux(potential, structures, v, definition) @ R
        after = mb.heat.flux(potential, turned, v @ R, definition)
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12 * max(1, float(before.abs().max())))


@pytest.mark.parametrize("name", ["two species", "triclinic", "small cell", "mixed batch"])
def test_order_and_images_of_atoms_do_not_count(name):
    structures = CASES[name]
    potential, v = ann(structures), thermal(structures)
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(-2, 3, structures.positions.shape, generator=generator).double() @ structures.cells
    order = torch.randperm(structures.n_atoms, generator=generator)
    elsewhere = replace(structures, positions=structures.positions + images)
    atoms = {"species": structures.species[order], "masses": structures.masses[order]}
    permuted = replace(structures, positions=structures.positions[:, order], **atoms)
    for definition in DEFINITIONS:
        before = mb.heat.flux(potential, structures, v, definition)
        tolerance = 1e-12 * max(1, float(before.abs().max()))
        for after in (
            mb.heat.flux(potential, elsewhere, v, definition),
            mb.heat.flux(potential, permuted, v[:, order], definition),
        ):
            torch.testing.assert_close(after, before, rtol=0, atol=tolerance)


def test_species_offset_adds_a_mass_current():
    """Constants c per species leave forces alone and change every flux by sum_z c_z V_z. At rest that is
    (c_A - c_B m_A/m_B) V_A: equal constants change it too, unless the masses are equal.
    """
    structures = CASES["two species"]
    potential, v = ann(structures), thermal(structures)
    c, m = {"Ag": 0.5, "Se": -1.3}, dict(zip(structures.symbols, structures.masses.tolist(), strict=True))
    before = {d: mb.heat.flux(potential, structures, v, d) for d in DEFINITIONS}
    forces = potential.evaluate(structures).forces
    for symbol, offset in c.items():
        potential.reference_energies[symbol] += offset
    assert torch.equal(potential.evaluate(structures).forces, forces)
    V = {symbol: mb.heat.mass_current(v, structures, symbol) for symbol in c}
    for definition in DEFINITIONS:
        change = mb.heat.flux(potential, structures, v, definition) - before[definition]
        torch.testing.assert_close(change, c["Ag"] * V["Ag"] + c["Se"] * V["Se"], rtol=0, atol=1e-13)
        expected = (c["Ag"] - c["Se"] * m["Ag"] / m["Se"]) * V["Ag"]
        torch.testing.assert_close(change, expected, rtol=0, atol=1e-13)
        assert float((change - (c["Ag"] - c["Se"]) * V["Ag"]).abs().max()) > 1e-3


def test_wrong_input_is_refused():
    structures = CASES["two species"]
    potential, v = ann(structures), thermal(structures)
    with pytest.raises(ValueError, match=r"velocities \(15, 3\) are not finite or do not fit positions"):
        mb.heat.flux(potential, structures, v[0])
    with pytest.raises(ValueError, match="definition 'i'"):
        mb.heat.flux(potential, structures, v, "i")
