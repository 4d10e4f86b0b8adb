"""Thermodynamic integration by molecular dynamics against exact free energies.

Harmonic crystals and springs are exact at any stable time step of the integrator, which allows long steps.
Every result is compared in units of its standard error, and that error is bounded: noise cannot pass for
agreement, and the classic mistakes must fall outside.
"""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk

import mlipbook as mb
from mlipbook import free_energy
from mlipbook.dynamics import thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.free_energy import replicas, sampling, series
from mlipbook.free_energy.phases import remarks
from mlipbook.free_energy.replicas import Sampler, Sampling
from mlipbook.potentials import Base, Einstein, Evaluation, IdealGas
from mlipbook.units import fs, hbar, kB

T, NA = 350.0, 22.98976928
kT = kB * T
HOW = Sampling.__dataclass_fields__


def options(**given):
    """Arguments of `windows`, those that say how it samples put together."""
    how = {name: value for name, value in given.items() if name in HOW}
    return {"sampling": Sampling(**how), **{name: given[name] for name in given.keys() - how.keys()}}


LONG_STEP = {"timestep": 20 * fs, "friction_time": 60 * fs, "every": 5, "progress": False}
SHORT = pytest.mark.filterwarnings("ignore:the series at lambda:RuntimeWarning")


def sodium(cells) -> mb.Structures:
    return mb.Structures.from_ase(bulk("Na", "bcc", 4.306, cubic=True) * cells)


class Harmonic(Base):
    """Springs between first and second neighbors, K along a bond and K/4 across: U = u H u/2.

    With the volume the sites move and the springs soften, H ~ V^(-2 gamma): so do all frequencies, with the
    same Grueneisen parameter gamma.
    """

    cutoff = 1.0

    def __init__(self, structures: mb.Structures, stiffness: float, gamma: float = 1 / 3):
        super().__init__()
        self.gamma, self.volume = gamma, float(structures.volumes[0])
        edges = mb.neighbors.build(structures, 5.0)
        N = structures.n_atoms
        n = edges.vectors(structures).permute(1, 2, 0)
        n = n / n.norm(dim=-1, keepdim=True)
        bonds = stiffness * (0.75 * n[..., :, None] * n[..., None, :] + 0.25 * torch.eye(3))
        bonds = torch.where(edges.real[..., None, None], bonds, 0.0)
        H = torch.zeros(N, N, 3, 3, dtype=torch.float64)
        rows = torch.arange(N)[:, None].expand_as(edges.neighbor)
        H.index_put_((rows, edges.neighbor), -bonds, accumulate=True)
        H.index_put_((torch.arange(N), torch.arange(N)), bonds.sum(1), accumulate=True)
        self.register_buffer("sites", structures.positions.clone())
        self.register_buffer("hessian", H.transpose(1, 2).reshape(3 * N, 3 * N))

    def evaluate(self, structures, definition="I", edges=None):
        u = structures.positions - self.sites
        F = -(u.flatten(1) @ self.hessian).view_as(u)
        energies = -(u * F).sum(-1) / 2
        virials = (6 * self.gamma - 2) / 3 * energies[..., None, None] * torch.eye(3)  # -dU/dstrain
        return Evaluation(energies, F, virials, structures.volumes)

    def exact(self, volume: float) -> float:
        """kT sum' ln(hbar omega/kT) - kT ln[(V/N)/Lambda_M^3] over N, with the 3N - 3 modes that vibrate."""
        N = len(self.hessian) // 3
        stiffness = torch.linalg.eigvalsh(self.hessian) * (self.volume / volume) ** (2 * self.gamma)
        assert float(stiffness[2]) < 1e-10 < 1e-3 < float(stiffness[3])  # no others are free
        modes = float((hbar * (stiffness[3:] / NA).sqrt() / kT).log().sum())
        heavy = free_energy.thermal_wavelength(N * NA, T)
        return kT * (modes - math.log(volume / N / heavy**3)) / N


# ---- solids --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells, settings",
    [
        ((3, 3, 3), {}),
        ((3, 3, 3), {"spring": 0.9, "k": 0.3, "points": 7}),
        ((4, 4, 4), {}),
        ((5, 5, 5), {}),
    ],
    ids=["54 atoms", "another path", "128 atoms", "250 atoms"],
)
def test_harmonic_crystal(cells, settings):
    """F of N = 54, 128, 250 atoms is exact at each N; with V in place of V/N it is not."""
    structures = sodium(cells)
    potential = Harmonic(structures, 0.15)
    settings = {"points": 5, "error": 1.2e-4, "max_steps": 2000, "replicas": 8, **settings}
    settings |= {"equilibration": 200}
    found = free_energy.solid(potential, structures, T, seed=1, **options(**settings, **LONG_STEP))
    exact = potential.exact(found.volume)
    assert found.error < 1.6e-4
    assert abs(found.F - exact) < 3.5 * found.error
    wrong = found.F - kT * math.log(found.n_atoms) / found.n_atoms  # V for V/N
    assert abs(wrong - exact) > 5 * found.error
    # Equipartition: U = 3 kT less the potential energy of three modes.
    U = (3 - 1.5 / found.n_atoms) * kT
    assert abs(found.U - U) < 3.5 * found.energy.error < 0.1 * kT
    assert found.TS.value == pytest.approx(found.U - found.F)
    # P = N kT/V without a virial; BAOAB's momenta are colder by (omega timestep)^2/4.
    colder = float(torch.linalg.eigvalsh(potential.hessian).sum()) / NA * LONG_STEP["timestep"] ** 2 / 4
    P = (found.n_atoms - colder / 3) * kT / found.volume
    assert abs(found.pressure.value - P) < 3.5 * found.pressure.error < 0.1 * P


@pytest.mark.slow
def test_pressure_is_the_slope_of_the_free_energy():
    """P = -dF/dV = [1 + 3 (N - 1) gamma] kT/V: that of the modes, and kT/V of the center of mass.

    The 1 is there only if the fixed center is given its share of the momenta.
    """
    structures = sodium((2, 2, 2))
    potential = Harmonic(structures, 0.15, gamma=0.5)
    settings = {"replicas": 5, "equilibration": 200, "error": 0.0, "max_steps": 4000, "progress": False}
    settings |= {"timestep": 5 * fs, "friction_time": 60 * fs, "every": 10}
    end = free_energy.Path(np.array([1.0]), np.array([1.0]))
    found = free_energy.windows(potential, IdealGas(), structures, end, T, **options(**settings))
    value, error = free_energy.average(found[0].pressure)
    V, h = float(structures.volumes[0]), 1e-4
    exact = -16 * (potential.exact(V * (1 + h)) - potential.exact(V * (1 - h))) / (2 * h * V)
    assert exact == pytest.approx((1 + 45 * 0.5) * kT / V)
    assert error < 0.16 * kT / V and abs(value - exact) < 3.5 * error


@pytest.mark.slow
def test_pressure_of_an_ideal_gas():
    """N kT/V for N = 2, where the momenta that move carry only half of it."""
    structures = sodium((1, 1, 1))
    settings = {"error": 0.0, "max_steps": 4000, "replicas": 1, "equilibration": 200, **LONG_STEP}
    end = free_energy.Path(np.array([1.0]), np.array([1.0]))
    found = free_energy.windows(IdealGas(), IdealGas(), structures, end, T, **options(**settings))
    value, error = free_energy.average(found[0].pressure)
    exact = 2 * kT / float(structures.volumes[0])
    assert error < 0.05 * exact and abs(value - exact) < 3.5 * error


@pytest.fixture(scope="module")
def springs():
    """Einstein to Einstein, K = 0.1 to 0.2 eV/A^2, so close that all windows overlap."""
    structures = sodium((2, 2, 2))
    stiff, soft = (Einstein(structures.positions, K) for K in (0.2, 0.1))
    path = free_energy.path(4, 0.0)
    settings = {"error": 1e-4, "max_steps": 4000, "replicas": 24, "equilibration": 200, **LONG_STEP}
    return free_energy.windows(stiff, soft, structures, path, T, **options(**settings))


@pytest.mark.slow
def test_springs_stiffen(springs):
    """F_2 - F_1 = 3/2 (N - 1) kT ln(K_2/K_1); with N in place of N - 1 it is another number."""
    value, error = springs.integral
    exact = 1.5 * kT * math.log(2) * 15 / 16
    assert error < 2e-4 and abs(value - exact) < 3.5 * error
    assert abs(value - exact * 16 / 15) > 5 * error


def test_windows_know_their_moments(springs):
    """<U_a - U_b> = 3/2 (N - 1) kT Delta K/K(lambda), and its variance, of 3N - 3 springs."""
    for window in springs:
        ratio = 0.1 / (0.1 + 0.1 * window.lam)
        assert abs(window.mean.value - 22.5 * kT * ratio) < 4 * window.mean.error
        assert window.variance == pytest.approx(22.5 * (kT * ratio) ** 2, rel=0.15)


def test_errors_are_those_of_the_copies(springs):
    """Copies of a window scatter about its mean as their errors say: chi^2 of all of them."""
    chi2, freedom = 0.0, 0
    for window in springs:
        means, errors = window.averages
        chi2 += float(((means - means.mean()) / errors).square().sum())
        freedom += len(means) - 1
    assert freedom == 20
    assert 8.3 < chi2 < 40.0  # 99 % of chi^2 with 20 degrees of freedom lie between 7.4 and 40


def test_mbar_agrees(springs):
    """Over the same samples; its own error is of the same size."""
    pytest.importorskip("pymbar")
    value, error = free_energy.mbar(springs)
    exact = 1.5 * kT * math.log(2) * 15 / 16
    assert error < 2e-4 and abs(value - exact) < 3.5 * error
    assert abs(value - springs.integral.value) < 3 * error


def test_windows_make_a_table(springs):
    rows = springs.table()
    assert [row["lambda"] for row in rows] == list(free_energy.path(4, 0.0).lam)
    assert sum(row["copies"] for row in rows) == 24
    integral = sum(row["weight"] * row["difference"] for row in rows)
    assert integral == pytest.approx(springs.integral.value)


# ---- running -------------------------------------------------------------------------------------------


def test_copies_go_where_they_are_needed():
    """sum rates/copies is least: against all ways to share 9 replicas among 3 windows."""
    rates = np.array([1.0, 9.0, 0.0])
    ways = [(a, b, 9 - a - b) for a in range(1, 8) for b in range(1, 9 - a)]
    best = min(ways, key=lambda way: (rates / way).sum())
    assert tuple(sampling.shared_out(rates, 9)) == best == (2, 6, 1)


BIT = 1 + 2**-52
HALF = free_energy.Path(np.array([0.5]), np.array([1.0]))


@SHORT
@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("potential", {"spring": 0.2 * BIT}),
        ("potential", {"reference": 0.1 * BIT}),
        ("potential", {"path": free_energy.Path(np.array([0.5 * BIT]), np.array([1.0]))}),
        ("temperature", {"T": T * BIT}),
        ("integrator", {"timestep": 20 * fs * BIT}),
        ("integrator", {"friction_time": 60 * fs * BIT}),
        ("intervals", {"every": 4}),
        ("observed", {"phase": "solid"}),
        ("start", {"seed": 1}),
    ],
)
def test_windows_of_something_else_are_refused(tmp_path, what, changes):
    structures = sodium((2, 2, 2))

    def run(spring=0.2, reference=0.1, path=HALF, T=T, phase=None, seed=0, timestep=20 * fs, **more):
        a, b = (Einstein(structures.positions, k) for k in (spring, reference))
        settings = {"error": 0.0, "max_steps": 200, "replicas": 1, "equilibration": 200, **LONG_STEP, **more}
        given = options(**{**settings, "timestep": timestep})
        return free_energy.windows(a, b, structures, path, T, store=tmp_path, phase=phase, seed=seed, **given)

    first = run()
    assert torch.equal(run()[0].difference, first[0].difference)
    with pytest.raises(
        ValueError, match=rf"pilot.part-00000.npz: of something else, whose {what} is .*, not"
    ):
        run(**changes)


@pytest.mark.slow
def test_interrupted_windows_go_on(tmp_path):
    """The last part of a store is deleted: the same call gives the same numbers again."""
    structures = sodium((2, 2, 2))
    a, b = Einstein(structures.positions, 0.2), Einstein(structures.positions, 0.1)

    def run(store):
        settings = {"error": 0.0, "max_steps": 1250, "replicas": 2, "equilibration": 200, **LONG_STEP}
        path = free_energy.path(2, 0.0)
        return free_energy.windows(a, b, structures, path, T, store=store, **options(**settings))

    first = run(tmp_path)
    parts = sorted(tmp_path.glob("round-1/part-*.npz"))
    assert len(parts) == 2
    parts[-1].unlink()
    again, without = run(tmp_path), run(None)
    for one, two, three in zip(first, again, without, strict=True):
        assert torch.equal(one.difference, two.difference) and torch.equal(one.energy, three.energy)


@pytest.mark.slow
def test_seeds_are_independent():
    structures = sodium((2, 2, 2))
    a, b = Einstein(structures.positions, 0.2), IdealGas()
    settings = {"error": 0.0, "max_steps": 1000, "replicas": 1, "equilibration": 200, **LONG_STEP}
    lam = free_energy.Path(np.array([0.9]), np.array([1.0]))
    one, two = (free_energy.windows(a, b, structures, lam, T, seed=s, **options(**settings)) for s in (0, 1))
    assert not torch.equal(one[0].difference, two[0].difference)


@pytest.mark.parametrize("phase", ["solid", "liquid"])
def test_phases_are_watched(phase):
    """A crystal that falls apart, and a liquid that is a crystal, are refused after three attempts."""
    structures = sodium((3, 3, 3))
    crystal = Einstein(structures.positions, 0.2)
    gas_or_crystal = IdealGas() if phase == "solid" else Einstein(structures.positions, 0.3)
    settings = {"error": 0.0, "max_steps": 400, "replicas": 2, "equilibration": 200, **LONG_STEP}
    path = free_energy.Path(np.array([0.5, 1.0]), np.array([1.0, 0.0]))
    with pytest.raises(free_energy.PhaseChange, match=f"not that of a {phase}, also with other noise"):
        free_energy.windows(gas_or_crystal, crystal, structures, path, T, phase=phase, **options(**settings))


@pytest.fixture
def melting(monkeypatch):
    """Runs in which replica 1 has lost its springs; what became of all runs, by name."""
    runs, names = {}, set()
    run = Sampler.run

    def spoiled(self, state, lam, steps, name):
        loose = torch.tensor([0.0, 1.0]) if name in names else torch.zeros(1)
        runs[name] = run(self, state, lam * (1 - loose), steps, name)
        return runs[name]

    monkeypatch.setattr(Sampler, "run", spoiled)
    return runs, names


SPRINGS = options(**LONG_STEP, store=None)


def test_a_replica_that_melts_is_run_again_alone(melting):
    """The others are what they are without it, bit by bit, and it is, from first to last, its second run."""
    runs, names = melting
    structures = sodium((3, 3, 3))
    sampler = Sampler(Einstein(structures.positions, 0.8), IdealGas(), T, phase="solid", **SPRINGS)
    state, lam = thermalize(repeated(structures, 2), T, 1), torch.tensor([0.5, 1.0])
    calm, undisturbed, never = sampler.sample(state, lam, 300, "calm")
    names.add("hot")
    end, series, redone = sampler.sample(state, lam, 300, "hot")
    assert list(runs) == ["calm", "hot", "hot-again-1"]
    assert (never.tolist(), redone.tolist()) == ([0, 0], [0, 1])
    again = runs["hot-again-1"]
    for name, values in series.items():
        assert torch.equal(values[:, 0].nan_to_num(), undisturbed[name][:, 0].nan_to_num())
        assert torch.equal(values[:, 1].nan_to_num(), again.observed[name][:, 0].nan_to_num())
    assert not torch.equal(again.observed["energy"][:, 0], undisturbed["energy"][:, 1])  # other noise
    for b, (one, row) in enumerate([(calm, 0), (again.state, 0)]):
        assert torch.equal(end.structures.positions[b], one.structures.positions[row])
        assert torch.equal(end.momenta[b], one.momenta[row]) and end.seeds[b] == one.seeds[row]


@pytest.mark.slow
@SHORT
@pytest.mark.parametrize("name", ["pilot", "round-1"])
def test_windows_with_a_replica_run_again_are_right_and_say_so(melting, name):
    """<U> = 3/2 (N - 1) kT/lambda of springs of lambda K; with the melted part they would be ten times it."""
    runs, names = melting
    names.add(name)
    structures = sodium((3, 3, 3))
    path = free_energy.Path(np.array([0.5, 1.0]), np.array([0.5, 0.5]))
    settings = {"error": 0.0, "max_steps": 1500, "replicas": 2, "equilibration": 400, **LONG_STEP}
    found = free_energy.windows(
        Einstein(structures.positions, 0.8),
        IdealGas(),
        structures,
        path,
        T,
        **options(phase="solid", **settings),
    )
    assert f"{name}-again-1" in runs
    for window in found:
        exact = 1.5 * 53 * kT / window.lam
        assert window.mean.error < 0.05 * exact and abs(window.mean.value - exact) < 3.5 * window.mean.error
    assert [row["redone"] for row in found.table()] == [0, 1]
    assert all(row["lowest_q6"] > replicas.SOLID for row in found.table())
    assert remarks(found)[-1] == "run again, having left their phase: 1"


def test_drift_is_seen():
    """White noise has none; a mean that changes for good does, where the series is long enough to tell."""
    noise = torch.randn(2000, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    late = (torch.arange(2000) >= 1000)[:, None]
    assert float(series.drift(noise).max()) < 4
    assert float(series.drift(noise + 0.3 * late).min()) > 4
    assert float(series.drift((noise + 0.3 * late)[::40]).max()) == 0


def test_windows_too_short_for_a_drift_are_counted():
    """Those in which `drift` looks away; lambda = 1, which has no weight, does not count."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for n, weight in ((40, 0.5), (4000, 0.5), (40, 0.0)):
        noise = torch.randn(n, 2, dtype=torch.float64, generator=generator)
        found.append(free_energy.Window(0.5, weight, noise, noise, noise, noise[:0], 1.0))
        seen = bool((series.drift(noise) > 0).all())
        assert seen == (n == 4000)
    sampled = free_energy.Windows(tuple(found), T, 1)
    assert sampled.too_short == [found[0]]
    assert remarks(sampled) == ["1 of 2 windows are too short for a drift to be seen in them"]
    rows = sampled.table()
    assert rows[0]["autocorrelation_times"] < 100 < rows[1]["autocorrelation_times"]


def test_what_cannot_be_sampled_is_refused():
    structures, path = sodium((2, 2, 2)), free_energy.path(3, 0.0)
    spring = Einstein(structures.positions, 0.2)

    def run(potential=spring, structures=structures, **settings):
        settings = {"timestep": fs, "replicas": 3} | settings
        free_energy.windows(potential, IdealGas(), structures, path, T, **options(**settings))

    with pytest.raises(ValueError, match="2 replicas for 3 windows"):
        run(replicas=2)
    with pytest.raises(ValueError, match="'gas'"):
        run(phase="gas")
    with pytest.raises(ValueError, match="2 structures"):
        run(structures=mb.Structures.from_ase([bulk("Na", cubic=True)] * 2))
    committee = mb.ANNPotential(mb.Chebyshev(("Na",), 4.0, 2, 4.0, 1), members=2)
    with pytest.raises(ValueError, match=r"potential.member\(m\)"):
        run(committee)
    call = (spring, structures, T)
    for refused in (
        lambda: run(timestep=4.0),
        lambda: free_energy.solid(*call, timestep=4.0),
        lambda: free_energy.solid(*call, timestep=4.0, spring=1.0),
        lambda: free_energy.liquid(*call, timestep=4.0),
    ):
        with pytest.raises(ValueError, match=r"time step 4 .* 40.7 fs: .*23 amu allow up to 24 fs; "):
            refused()
    with pytest.raises(ValueError, match="Ag, Na"):
        atoms = bulk("Na", "bcc", 4.3, cubic=True) * 3
        atoms.symbols[0] = "Ag"
        free_energy.solid(spring, mb.Structures.from_ase(atoms), T, timestep=fs, spring=1.0)
