"""Observables against exact answers: perfect crystals, the ideal gas, free flight, random walks, AR(1)."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from conftest import BOX, SKEW, scattered
from scipy.special import sph_harm_y

import mlipbook as mb
from mlipbook import observables, units

BCC = bulk("Na", "bcc", 4.2906, cubic=True) * 3
FCC = bulk("Cu", "fcc", 3.6, cubic=True) * 3
MASSES = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def batch(*frames: Atoms) -> mb.Structures:
    return mb.Structures.from_ase(frames)


def bonds(atoms: Atoms, neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, n, 3) to the nearest neighbors and their indices (N, n), by search over all images."""
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ atoms.cell.array
    vectors = atoms.positions[None, :, None] + images - atoms.positions[:, None, None]
    vectors = vectors.reshape(len(atoms), -1, 3)
    r = np.linalg.norm(vectors, axis=-1)
    nearest = np.argsort(r, axis=1)[:, 1 : neighbors + 1]  # the first one is the atom itself
    return np.take_along_axis(vectors, nearest[..., None], 1), nearest // len(images)


def bond_orders(atoms: Atoms, degree: int, neighbors: int) -> tuple[float, np.ndarray]:
    """Global and averaged order as printed, with scipy's harmonics."""
    vectors, index = bonds(atoms, neighbors)
    theta, phi = (
        np.arccos(vectors[..., 2] / np.linalg.norm(vectors, axis=-1)),
        np.arctan2(*vectors.T[1::-1]).T,
    )
    q = np.stack([sph_harm_y(degree, m, theta, phi).mean(1) for m in range(-degree, degree + 1)])
    averaged = (q + q[:, index].sum(-1)) / (neighbors + 1)
    norm = 4 * np.pi / (2 * degree + 1)
    return (norm * (abs(q.mean(1)) ** 2).sum()) ** 0.5, (norm * (abs(averaged) ** 2).sum(0)) ** 0.5


# ---- functions of a State ----------------------------------------------------------------------------


def test_thermodynamics_of_a_state():
    structures = batch(BCC, BCC)
    P = torch.tensor([0.0, 0.5]) * units.GPa
    state = SimpleNamespace(
        structures=structures,
        masses=structures.masses,
        two_K=torch.tensor([3.0, 5.0], dtype=torch.float64),
        potential_energy=torch.tensor([-10.0, -11.0], dtype=torch.float64),
        temperature=torch.tensor([300.0, 310.0]),
        instantaneous_pressure=torch.tensor([0.1, 0.2]),
        pressure_tensor=torch.eye(3).repeat(2, 1, 1),
    )
    V = 27 * 4.2906**3
    assert observables.kinetic_energy(state).tolist() == [1.5, 2.5]
    assert observables.volume(state).tolist() == pytest.approx([V, V])
    assert observables.enthalpy(state).tolist() == [-8.5, -8.5]
    assert observables.enthalpy(state, pressure=P).tolist() == pytest.approx([-8.5, -8.5 + float(P[1]) * V])
    for name in ("temperature", "potential_energy", "pressure_tensor"):
        assert getattr(observables, name)(state) is getattr(state, name)
    assert observables.pressure(state) is state.instantaneous_pressure
    assert observables.q6(state).tolist() == pytest.approx([0.51069] * 2, abs=1e-5)
    assert observables.shortest_distance(state).tolist() == pytest.approx([4.2906 * 3**0.5 / 2] * 2)
    # Two atoms of 22.98977 g/mol in (4.2906e-8 cm)^3, with Avogadro's number.
    by_hand = 2 * 22.98976928 / 6.02214076e23 / 4.2906e-8**3
    assert observables.density(state).tolist() == pytest.approx([by_hand] * 2, rel=1e-8)
    assert by_hand == pytest.approx(0.9666, abs=1e-4)


# ---- structure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "crystal, neighbors, q6, q4",
    [(BCC, 14, 0.51069, 0.03637), (FCC, 12, 0.57452, 0.19094)],
    ids=["bcc", "fcc"],
)
def test_bond_orders_of_perfect_crystals(crystal, neighbors, q6, q4):
    for degree, exact in ((6, q6), (4, q4)):
        averaged = observables.averaged_bond_order(batch(crystal), degree, neighbors)
        assert averaged.shape == (1, len(crystal))
        assert averaged.numpy() == pytest.approx(exact, abs=1e-5)
        assert float(observables.steinhardt(batch(crystal), degree, neighbors)) == pytest.approx(
            exact, abs=1e-5
        )


@pytest.mark.parametrize("degree", [4, 6])
def test_bond_orders_are_their_definition(degree):
    crystal = BCC.copy()
    crystal.rattle(0.4, seed=1)
    frames = [crystal, scattered("Na96", 1.8 * SKEW, seed=2)]
    for atoms in frames:
        q, averaged = bond_orders(atoms, degree, 14)
        assert float(observables.steinhardt(batch(atoms), degree)) == pytest.approx(q, rel=1e-12)
        found = observables.averaged_bond_order(batch(atoms), degree)[0].numpy()
        assert found == pytest.approx(averaged, rel=1e-12)
        assert len(set(averaged.round(8))) == len(atoms)  # no two alike


def test_structure_does_not_depend_on_rotation_wrapping_order_or_batching(monkeypatch):
    edges, rng = torch.linspace(2.0, 6.0, 41, dtype=torch.float64), np.random.default_rng(0)
    crystals = [BCC.copy(), BCC.copy()]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.3, seed=seed)
    other = crystals[1].copy()
    other.positions += rng.integers(-2, 3, (54, 3)) @ other.cell.array + 1.3
    other.rotate(51, (1, 2, 3), rotate_cell=True)
    other = other[rng.permutation(54)]
    functions = (
        observables.steinhardt,
        lambda s: observables.averaged_bond_order(s).sort().values,
        lambda s: observables.pair_distribution(s, edges),
        lambda s: observables.shortest_distance(SimpleNamespace(structures=s)),
    )
    for function in functions:
        alone, changed = function(batch(crystals[1]))[0], function(batch(other))[0]
        torch.testing.assert_close(changed, alone, rtol=1e-10, atol=1e-10)
        together = function(batch(*crystals))
        torch.testing.assert_close(together[1], alone, rtol=1e-13, atol=1e-13)
        assert not torch.allclose(together[0], alone)
        with monkeypatch.context() as m:
            m.setattr(observables, "PAIRS_AT_ONCE", 1)
            torch.testing.assert_close(function(batch(*crystals)), together, rtol=1e-13, atol=1e-13)


def test_pair_distribution_counts_the_shells_of_a_crystal():
    a, edges = 4.2906, torch.arange(0.0, 6.4, 0.1, dtype=torch.float64)
    (g,) = observables.pair_distribution(batch(BCC), edges)
    N, V = len(BCC), BCC.get_volume()
    counts = g * (N - 1) / V * 4 * np.pi / 3 * (edges**3).diff()
    shells = {3**0.5 / 2 * a: 8, a: 6, 2**0.5 * a: 12}
    expected = torch.zeros(len(counts))
    for r, number in shells.items():
        expected[int(r / 0.1)] = number
    torch.testing.assert_close(counts, expected.double())


@pytest.mark.parametrize("cell", [BOX, SKEW], ids=["box", "triclinic"])
@pytest.mark.parametrize("N", [2, 5, 30])
def test_pair_distribution_of_the_ideal_gas_is_one(cell, N):
    x = torch.as_tensor(np.random.default_rng(N).random((4000, N, 3)) @ cell)
    cells = torch.as_tensor(cell).expand(4000, 3, 3)
    gas = mb.Structures(x, cells, torch.full((N,), 11))
    half = 0.5 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()
    g = observables.pair_distribution(gas, torch.linspace(0.5, half, 8, dtype=torch.float64))
    z = (g.mean(0) - 1) / (g.std(0) / 4000**0.5)
    assert abs(z).max() < 4
    # The sum of all bins is known to 1 %/ sqrt(pairs) or better: N^2 in place of N(N-1) would show.
    total = g @ (torch.linspace(0.5, half, 8, dtype=torch.float64) ** 3).diff() / (half**3 - 0.5**3)
    error = float(total.std()) / 4000**0.5
    assert abs(float(total.mean()) - 1) < 4 * error < 1 / N


def test_structure_refuses_what_it_cannot_count():
    edges, small = torch.tensor([1.0, 7.0]), batch(bulk("Na", "bcc", 4.2, cubic=True) * 2)
    with pytest.raises(ValueError, match=r"7\.00 A, but half .* structure 0 is 6\.44 A.*repeat"):
        observables.pair_distribution(batch(BCC), edges)
    for wrong in ([2.0, 1.0], [-1.0, 2.0], [1.0], 3.0):
        with pytest.raises(ValueError, match="increasing edges"):
            observables.pair_distribution(batch(BCC), torch.tensor(wrong))
    with pytest.raises(ValueError, match="two atoms"):
        observables.pair_distribution(batch(Atoms("Na", cell=[9] * 3, pbc=True)), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="structure 0: an atom's 14 nearest .* repeat"):
        observables.steinhardt(small)
    with pytest.raises(ValueError, match="neighbors 16: give a whole number, 1 to 15"):
        observables.steinhardt(small, neighbors=16)
    with pytest.raises(ValueError, match="pbc=True"):
        observables.steinhardt(batch(scattered("Na20", BOX, pbc=False)), neighbors=3)


# ---- motion ------------------------------------------------------------------------------------------


def test_mean_square_displacement_is_the_double_loop():
    positions = normal(23, 2, 3, 3).cumsum(0) + 50
    r = positions - torch.einsum("tbna,n->tba", positions, MASSES / 8)[:, :, None]
    for atoms, chosen in ((slice(None), [0, 1, 2]), (torch.tensor([0, 2]), [0, 2])):
        expected = torch.zeros(23, 2, dtype=torch.float64)
        for lag in range(23):
            for t in range(23 - lag):
                moved = (r[t + lag] - r[t])[:, chosen].square().sum(-1)
                expected[lag] += moved.mean(-1) / (23 - lag)
        found = observables.mean_square_displacement(positions, MASSES, atoms)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_free_flight_is_ballistic_and_the_center_of_mass_does_not_count():
    v, t = normal(2, 3, 3, seed=1), torch.arange(40, dtype=torch.float64)
    v -= (v * MASSES[:, None]).sum(1, keepdim=True) / 8
    drift = normal(40, 2, 1, 3, seed=2).cumsum(0)
    positions = normal(2, 3, 3, seed=3) + v * t[:, None, None, None] + drift
    exact = v.square().sum(-1).mean(-1) * t[:, None] ** 2
    found = observables.mean_square_displacement(positions, MASSES)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-8)


def test_diffusion_of_a_random_walk_is_exact_within_its_error():
    T, B, N, step, interval = 400, 40, 10, 0.3, 2.0
    masses = torch.ones(N, dtype=torch.float64)
    time = torch.arange(T) * interval
    D = step**2 / 2 / interval * (1 - 1 / N)  # without the motion of the center of mass
    z = []
    for seed in range(5):
        positions = step * normal(T, B, N, 3, seed=seed).cumsum(0)
        msd = observables.mean_square_displacement(positions, masses)
        found, error = observables.diffusion(time, msd, (10.0, 60.0))
        assert error < 0.02 * D
        z.append((found - D) / error)
    assert max(map(abs, z)) < 4 and abs(np.mean(z)) < 4 / 5**0.5
    one_long = observables.blocks(step * normal(8000, 1, N, 3).cumsum(0), 20)
    msd = observables.mean_square_displacement(one_long, masses)
    found, error = observables.diffusion(time, msd, (10.0, 60.0))
    assert abs(found - D) < 4 * error < 0.2 * D


def test_blocks_follow_each_other_and_end_with_the_series():
    series = torch.arange(11)[:, None] + torch.tensor([0, 100])
    cut = observables.blocks(series, 3)
    assert cut.T.tolist() == [
        [2, 3, 4],
        [102, 103, 104],
        [5, 6, 7],
        [105, 106, 107],
        [8, 9, 10],
        [108, 109, 110],
    ]


def test_a_breathing_cell_moves_no_atom():
    edge = 10 + 0.1 * normal(30, 2)
    cells = edge[..., None, None] * torch.as_tensor(SKEW)
    fractional = 3 * normal(2, 5, 3, seed=1)
    positions = observables.in_mean_cell(fractional @ cells, cells)
    exact = (fractional @ cells.mean(0)).expand(30, 2, 5, 3)
    torch.testing.assert_close(positions, exact, rtol=1e-12, atol=1e-12)


def test_lindemann_of_oscillators_and_after_a_jump():
    T, N, period = 300, 50, 20
    phases = 2 * np.pi * torch.as_tensor(np.random.default_rng(0).random((1, N, 3)))
    angle = 2 * np.pi * torch.arange(T, dtype=torch.float64)[:, None, None, None] / period
    amplitudes = torch.tensor([0.2, 0.4], dtype=torch.float64)[:, None, None]
    positions = amplitudes * torch.cos(angle + phases)
    heavy = torch.ones(N, dtype=torch.float64)
    heavy[0] = 1e12  # holds the center of mass at its own place: an atom that does not move
    positions[:, :, 0] = 0
    exact = [(1.5 * (N - 1) / N) ** 0.5 * A / 3.7 for A in (0.2, 0.4)]
    found = observables.lindemann(positions, heavy, 3.7, window=2 * period)
    assert found.shape == (T - 2 * period + 1, 2)
    torch.testing.assert_close(
        found, torch.tensor(exact, dtype=found.dtype).expand_as(found), rtol=1e-9, atol=0
    )
    positions[T // 2 :, :, 1:] += 3.0  # all jump once: seen for the length of the window only
    jumped = observables.lindemann(positions, heavy, 3.7, window=2 * period)
    assert (jumped[T // 2 - period] > 2 * found[0]).all()
    torch.testing.assert_close(jumped[[0, -1]], found[[0, -1]], rtol=1e-6, atol=0)


def test_motion_refuses_what_it_cannot_fit():
    time, msd = torch.arange(10.0), torch.rand(10, 1)
    with pytest.raises(ValueError, match="1 lags .* widen"):
        observables.diffusion(time, msd, (1.5, 2.5))
    with pytest.raises(ValueError, match=r"blocks\(positions, number\)"):
        observables.diffusion(time, msd, (2.0, 8.0))
    with pytest.raises(ValueError, match="number 11: give a whole number, 1 to 10"):
        observables.blocks(msd, 11)
    for window in (1, 11):
        with pytest.raises(ValueError, match=f"window {window}: give a whole number, 2 to 10"):
            observables.lindemann(normal(10, 1, 3, 3), MASSES, 3.7, window)


# ---- averages ----------------------------------------------------------------------------------------


def autoregressive(phi: float, T: int, B: int) -> torch.Tensor:
    """x_t = phi x_(t-1) + noise, stationary, mean 0, variance 1: tau = (1 + phi)/(1 - phi)/2."""
    noise = normal(T, B)
    x = [noise[0]]
    for kick in noise[1:]:
        x.append(phi * x[-1] + (1 - phi**2) ** 0.5 * kick)
    return torch.stack(x)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_block_average_knows_the_autocorrelation_time(phi):
    T, B = 4000, 100
    series = autoregressive(phi, T, B)
    found = observables.block_average(series)
    tau = (1 + phi) / (1 - phi) / 2
    found_tau = T / 2 / found.n
    spread = float(found_tau.std()) / B**0.5
    # The window of 5 tau leaves out exp(-5) of the sum, noise at tau = 1/2 only adds.
    assert abs(float(found_tau.mean()) - tau) < 4 * spread + 0.03 * tau
    torch.testing.assert_close(found.value, series.mean(0))
    # Variance of the mean of a finite stationary series, exactly.
    lags = torch.arange(1, T, dtype=torch.float64)
    exact = (1 + 2 * ((1 - lags / T) * phi**lags).sum()) / T
    assert float(found.error.square().mean() / exact) == pytest.approx(1, abs=0.08)
    z = found.value / found.error  # the true mean is 0
    assert abs(float(z.square().mean()) - 1) < 4 * (2 / B) ** 0.5


def test_block_average_of_other_shapes_constants_and_anticorrelation():
    series = autoregressive(0.5, 1000, 6)
    shaped = observables.block_average(series.view(1000, 2, 3))
    alone = observables.block_average(series[:, 4])
    assert shaped.value.shape == shaped.error.shape == shaped.n.shape == (2, 3)
    for together, single in zip((*shaped, shaped.n), (*alone, alone.n), strict=True):
        assert single.shape == () and float(together[1, 1]) == pytest.approx(float(single), rel=1e-12)
    constant = observables.block_average(torch.full((100,), 1 / 3))
    assert float(constant.error) == 0 and float(constant.n) == 100
    alternating = observables.block_average(torch.tensor([1.0, -1.0] * 50))
    assert float(alternating.n) == 100 and float(alternating.error) > 0.09


def test_block_average_refuses_and_warns():
    with pytest.raises(ValueError, match="9 samples"):
        observables.block_average(normal(9, 3))
    with pytest.raises(ValueError, match="finite"):
        observables.block_average(torch.tensor([1.0] * 20 + [float("nan")]))
    with pytest.warns(RuntimeWarning, match="200 samples are only .* autocorrelation times"):
        observables.block_average(autoregressive(0.95, 200, 1))
    with pytest.warns(RuntimeWarning, match="autocorrelation times"):  # a drift has no mean
        observables.block_average(torch.linspace(0, 1, 1000))


def test_bins_hold_their_lower_edge_and_not_their_upper_one():
    """[edge_k, edge_k+1): two atoms 4 A apart are in the bin that begins there."""
    atoms = Atoms("Na2", [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]], cell=[16.0] * 3, pbc=True)
    g = observables.pair_distribution(batch(atoms), torch.tensor([2.0, 3.0, 4.0, 5.0]))
    assert (g[0] > 0).tolist() == [False, False, True]


def test_error_counts_the_lags_of_its_window():
    """times 1 + (2W + 1)/T: an alternating series closes its window at W = 1."""
    series = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50)
    assert float(observables.block_average(series).error) == pytest.approx(((1 + 3 / 100) / 100) ** 0.5)
