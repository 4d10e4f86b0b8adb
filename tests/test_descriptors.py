"""Chebyshev features against their definition, the printed series, and the symmetries of physics."""

from itertools import combinations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from conftest import BOX, CASES, SKEW, TINY, features, scattered
from numpy.polynomial import chebyshev, legendre

import mlipbook as mb
from mlipbook.descriptors import chebyshev_series, cutoff_function

WEIGHTS = {1: [1], 2: [-1, 1], 3: [-1, 0, 1], 4: [-2, -1, 1, 2], 5: [-2, -1, 0, 1, 2]}


def fc(r: np.ndarray, cutoff: float) -> np.ndarray:
    return np.where(r < cutoff, (np.cos(np.pi * r / cutoff) + 1) / 2, 0)


def environment(atoms: Atoms, i: int, cutoff: float) -> tuple[np.ndarray, list[str]]:
    """Vectors (K, 3) from atom i to all images within the cutoff, and their symbols, by plain search."""
    reach = [int(np.ceil(cutoff * np.linalg.norm(row))) for row in np.linalg.pinv(atoms.cell.array).T]
    spans = [range(-n - 1, n + 2) if periodic else (0,) for n, periodic in zip(reach, atoms.pbc, strict=True)]
    vectors, symbols = [], []
    for S in np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 3):
        for x, symbol in zip(atoms.positions, atoms.symbols, strict=True):
            r = x + S @ atoms.cell.array - atoms.positions[i]
            if 1e-12 < np.linalg.norm(r) < cutoff:
                vectors.append(r)
                symbols.append(symbol)
    return np.reshape(vectors, (-1, 3)), symbols


def triplet_sum(descriptor: mb.Chebyshev, atoms: Atoms, i: int) -> np.ndarray:
    """The definition: sums over neighbors and over all pairs of neighbors, as printed."""
    vectors, symbols = environment(atoms, i, descriptor.cutoff)
    r = np.linalg.norm(vectors, axis=1)
    order = descriptor.environments[atoms.symbols[i]]
    w = np.array([WEIGHTS[len(order)][order.index(s)] for s in symbols])
    radial = chebyshev.chebvander(
        np.minimum(2 * r / descriptor.radial_cutoff - 1, 1), descriptor.radial_order
    )
    radial *= fc(r, descriptor.radial_cutoff)[:, None]
    f, u, blocks = fc(r, descriptor.angular_cutoff), vectors / r[:, None], []
    for weight in (np.ones(len(r)), w)[: 1 if len(order) == 1 else 2]:
        angular = np.zeros(descriptor.angular_order + 1)
        g = weight * f
        for j, k in combinations(range(len(r)), 2):
            angular += g[j] * g[k] * chebyshev.chebvander(u[j] @ u[k], descriptor.angular_order)[0]
        blocks += [weight @ radial, angular]
    return np.concatenate(blocks)


@pytest.mark.parametrize("radial_cutoff, angular_cutoff", [(4.5, 4.5), (5.0, 3.5), (3.5, 4.5)])
@pytest.mark.parametrize("orders", [(16, 4), (10, 10), (1, 0), (0, 1), (3, 14)], ids=str)
@pytest.mark.parametrize("formula", ["Na3", "Ag3Se2", "LiNaK2", "LiNaKRb"])
def test_power_spectrum_is_the_triplet_sum(formula, orders, radial_cutoff, angular_cutoff):
    species = tuple(dict.fromkeys(Atoms(formula).symbols))
    descriptor = mb.Chebyshev(species, radial_cutoff, orders[0], angular_cutoff, orders[1])
    for cell, pbc in ((1.1 * TINY, True), (0.6 * SKEW, False)):
        atoms = scattered(formula, cell, pbc, seed=8, closest=1.7)
        found = descriptor.compute(atoms)
        assert found.shape == (len(atoms), descriptor.n_features)
        for i in (0, len(atoms) - 1):
            reference = triplet_sum(descriptor, atoms, i)
            np.testing.assert_allclose(found[i], reference, rtol=0, atol=1e-12 * max(1, abs(reference).max()))


@pytest.mark.parametrize(
    "n, series",
    [
        (2, {0: -1 / 3, 2: 4 / 3}),
        (3, {1: -3 / 5, 3: 8 / 5}),
        (4, {0: -1 / 15, 2: -16 / 21, 4: 64 / 35}),
        (
            10,
            {
                0: -1 / 99,
                2: -500 / 9009,
                4: -128 / 1001,
                6: -512 / 1683,
                8: -32768 / 24453,
                10: 131072 / 46189,
            },
        ),
    ],
)
def test_chebyshev_polynomials_as_legendre_series(n, series):
    """The printed coefficients of T_n = sum_l c_nl P_l."""
    row = mb.Chebyshev(("Na",), 6.5, 4, 6.5, 10).legendre[n].numpy()
    expected = np.zeros(11)
    expected[list(series)] = list(series.values())
    np.testing.assert_allclose(row, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 4, 10, 20])
def test_addition_theorem(order):
    """sum_m Q_lm(z) Q_lm(z') (cos m phi cos m phi' + sin m phi sin m phi') = P_l(cos angle).

    To a tenth of what features are held to; the terms cancel more at high orders.
    """
    rng = np.random.default_rng(order)
    z, phi = rng.uniform(-1, 1, 2), rng.uniform(-np.pi, np.pi, 2)
    s = np.sqrt(1 - z**2)
    m = np.arange(order + 1)
    circular = np.concatenate(
        [s ** m[:, None] * np.cos(m[:, None] * phi), (s ** m[:, None] * np.sin(m[:, None] * phi))[1:]]
    )
    table = mb.Chebyshev(("Na",), 6.5, 4, 6.5, order).harmonics.numpy()
    Y = np.einsum("mlp,xp,mx->xml", table, chebyshev.chebvander(z, order), circular)
    cosine = z[0] * z[1] + s[0] * s[1] * np.cos(phi[0] - phi[1])
    expected = legendre.legvander(cosine, order)[0]
    np.testing.assert_allclose((Y[0] * Y[1]).sum(0), expected, rtol=0, atol=1e-12)


def test_chebyshev_recurrence():
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    expected = np.cos(np.arange(21)[:, None] * np.arccos(x.numpy()))
    np.testing.assert_allclose(chebyshev_series(x, 20, torch.ones_like(x)), expected, rtol=0, atol=1e-13)


def test_reversed_environment_order():
    """Weights -1, +1 become +1, -1: linear sums change sign, quadratic ones do not."""
    atoms = scattered("Ag5Se3", SKEW, seed=2)
    forward, backward = (
        mb.Chebyshev(species, 4.5, 6, 4.1, 3).compute(atoms) for species in (("Ag", "Se"), ("Se", "Ag"))
    )
    Gr, Ga, Grw, Gaw = np.split(forward, [7, 11, 18], axis=1)
    assert abs(Grw).max() > 0.1 and abs(Gaw).max() > 0.1
    np.testing.assert_allclose(backward, np.hstack([Gr, Ga, -Grw, Gaw]), rtol=0, atol=1e-12)


def test_environment_order_of_each_center():
    atoms = scattered("Ag5Se3", SKEW, seed=2)
    forward, backward = (mb.Chebyshev(s, 4.5, 6, 4.1, 3).compute(atoms) for s in (("Ag", "Se"), ("Se", "Ag")))
    mixed = mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3, environments={"Se": ("Se", "Ag")}).compute(atoms)
    silver = atoms.symbols == "Ag"
    np.testing.assert_array_equal(mixed[silver], forward[silver])
    np.testing.assert_array_equal(mixed[~silver], backward[~silver])


DESCRIPTOR = mb.Chebyshev(("Ag", "Se", "Na"), 4.5, 10, 4.1, 6)


def test_rotation_and_translation(structures):
    """Scalars of the environment: 1e-12, round-off of sums of up to a hundred terms."""
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    shift = torch.tensor([11.0, -7.3, 0.4], dtype=torch.float64)
    turned = mb.Structures(
        structures.positions @ rotation + shift,
        structures.cells @ rotation,
        structures.species,
        structures.pbc,
    )
    G = features(DESCRIPTOR, structures)
    torch.testing.assert_close(features(DESCRIPTOR, turned), G, rtol=1e-12, atol=1e-12)


def test_permutation():
    atoms = scattered("Ag5Se3", SKEW, seed=2)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(
        DESCRIPTOR.compute(atoms[order]), DESCRIPTOR.compute(atoms)[order], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("cell", [BOX, SKEW, TINY], ids=["box", "skew", "tiny"])
def test_supercells_and_wrapping(cell):
    atoms = scattered("Ag2Se", 1.1 * cell, seed=6)
    G = DESCRIPTOR.compute(atoms)
    np.testing.assert_allclose(
        DESCRIPTOR.compute(atoms * (2, 1, 3)), np.tile(G, (6, 1)), rtol=1e-12, atol=1e-12
    )
    atoms.positions += [[-2, 0, 1], [0, 5, 0], [1, 1, 1]] @ atoms.cell.array
    np.testing.assert_allclose(DESCRIPTOR.compute(atoms), G, rtol=1e-12, atol=1e-12)


def test_another_basis_of_the_same_lattice():
    atoms = scattered("Ag2Se", SKEW, seed=6)
    same = Atoms(
        atoms.symbols, atoms.positions, cell=[[1, 0, 0], [1, 1, 0], [-1, 2, 1]] @ atoms.cell.array, pbc=True
    )
    np.testing.assert_allclose(DESCRIPTOR.compute(same), DESCRIPTOR.compute(atoms), rtol=1e-12, atol=1e-12)


def test_smooth_at_the_cutoff():
    """A neighbor leaving the sphere takes its features to zero as distance^2: value and slope vanish."""
    descriptor = mb.Chebyshev(("Na",), 4.5, 6, 4.0, 3)
    for cutoff in (4.5, 4.0):
        r = torch.tensor([cutoff - 1e-4, cutoff - 5e-5, cutoff, cutoff + 1e-4], dtype=torch.float64)
        f = cutoff_function(r, cutoff)
        expected = (np.pi / (2 * cutoff)) ** 2 * 1e-8
        np.testing.assert_allclose(f, [expected, expected / 4, 0, 0], rtol=1e-6)
    G = []
    for distance in (4.5 - 1e-4, 4.5 + 1e-4):
        G.append(descriptor.compute(Atoms("Na3", [[0, 0, 0], [2.5, 0, 0], [0, distance, 0]]))[0])
    assert 0 < abs(G[0] - G[1]).max() < 2e-9


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Na", "bcc", 4.2),
        bulk("Na", "fcc", 5.3),
        bulk("Na", "bcc", 4.2, cubic=True) * 2,
        Atoms("Na5", [[0, 0, z] for z in (-3, -1.5, 0, 1.5, 3)]),  # along z, the pole of the harmonics
        Atoms("Na5", [[x, x, x] for x in (-3, -1.5, 0, 1.5, 3)]),
    ],
    ids=["bcc", "fcc", "bcc supercell", "chain along z", "chain along 111"],
)
def test_perfect_lattices_and_chains(atoms):
    """Angles of exactly 0 and 180 degrees: features are the triplet sums, gradients are finite and right."""
    descriptor = mb.Chebyshev(("Na",), 5.9, 8, 5.9, 5)
    np.testing.assert_allclose(
        descriptor.compute(atoms)[0], triplet_sum(descriptor, atoms, 0), rtol=0, atol=1e-11
    )
    structures = mb.Structures.from_ase(atoms)
    edges = mb.neighbors.build(structures, descriptor.cutoff)
    species = edges.species(structures)
    vectors = edges.vectors(structures).requires_grad_()
    weights = torch.linspace(-1, 1, descriptor.n_features).double()

    def total(r: torch.Tensor) -> torch.Tensor:
        return (descriptor.features(r, *species) @ weights).sum()

    g = torch.autograd.grad(total(vectors), vectors)[0]
    assert torch.isfinite(g).all()
    for seed in range(3):
        direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed)).double()
        h, r = 1e-4, vectors.detach()
        up, down, up2, down2 = (total(r + s * h * direction) for s in (1, -1, 2, -2))
        slope = (8 * (up - down) - (up2 - down2)) / (12 * h)
        assert float((g * direction)[:, edges.real].sum()) == pytest.approx(float(slope), rel=1e-8, abs=1e-8)


def test_skin_and_padding_change_nothing(structures):
    G = features(DESCRIPTOR, structures)
    torch.testing.assert_close(features(DESCRIPTOR, structures, skin=1.5), G, rtol=1e-13, atol=1e-13)


def test_single_precision(structures):
    """Relative to the largest feature: 24 bits, lost a few times over in sums of squares."""
    single = mb.Chebyshev(("Ag", "Se", "Na"), 4.5, 10, 4.1, 6).to(torch.float32)
    edges = mb.neighbors.build(structures, single.cutoff)
    G = features(DESCRIPTOR, structures)
    found = single.features(edges.vectors(structures).float(), *edges.species(structures))
    assert found.dtype == torch.float32
    assert 0 < float((found - G).abs().max() / G.abs().max()) < 2e-6


def test_unknown_species_are_refused():
    descriptor = mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3)
    with pytest.raises(ValueError, match="atom 2 is Na, but the descriptor knows only Ag, Se; list Na"):
        descriptor.compute(Atoms("AgSeNa", 3 * np.eye(3)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((("Na", "Na"), 6.5, 4, 6.5, 4), "give each element symbol once"),
        (((), 6.5, 4, 6.5, 4), "give each element symbol once"),
        ((("Qq",), 6.5, 4, 6.5, 4), "species 'Qq': give a chemical symbol"),
        ((("Na",), 0.0, 4, 6.5, 4), "radial_cutoff 0.0: give a positive"),
        ((("Na",), 6.5, -1, 6.5, 4), "radial_order -1: give a whole number, 0 to 100"),
        ((("Ag", "Se"), 6.5, 4, 6.5, 4, {"Ag": ("Ag",)}), "environment of Ag lists"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mb.Chebyshev(*arguments)


def test_isolated_atom_has_no_features():
    assert not DESCRIPTOR.compute(Atoms("Na")).any()


def test_cases_reach_the_corners():
    """What the table of structures claims: self images, several images, an atom without the other kind."""
    tiny = CASES["small cell"]
    edges = mb.neighbors.build(tiny, 4.5)
    rows = torch.arange(len(edges.neighbor))[:, None]
    assert bool((edges.real & (edges.neighbor == rows)).any())
    assert int(edges.real.sum(1).max()) > 2 * tiny.n_atoms


def test_a_trip_through_single_precision_leaves_no_trace():
    """Tables are made again, not rounded: training in float32, evaluation in float64."""
    structures = CASES["triclinic"]
    descriptor = mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 5)
    before = features(descriptor, structures)
    assert torch.equal(features(descriptor.to(torch.float32).double(), structures), before)


def test_moving_a_descriptor_keeps_its_precision():
    descriptor = mb.Chebyshev(("Na",), 6.5, 4, 6.5, 2).float().to("cpu")
    assert {table.dtype for table in descriptor.buffers()} == {torch.float32}
    exact = mb.Chebyshev(("Na",), 6.5, 4, 6.5, 2)
    for table, reference in zip(descriptor.double().buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(table, reference, rtol=0, atol=0)
