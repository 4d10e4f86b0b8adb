"""Momenta from ASE and back, isotopes, and atoms that do not move."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms, FixBondLength, FixedPlane
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet as OfASE
from scipy import stats

import mlipbook as mb
from mlipbook import dynamics, free_energy, heat, observables
from mlipbook.dynamics.methods import BAOAB, MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.respa import Respa
from mlipbook.potentials import LennardJones
from mlipbook.units import fs, kB

ARGON, OTHER = LennardJones(0.0104, 3.4, 5.3), LennardJones(0.0100, 3.42, 5.3)
ALUMINUM = LennardJones(0.1, 2.6, 6.0)
METHODS = {
    "NVE": lambda time: VelocityVerlet(),
    "NVT": lambda time: NoseHoover(100 * time, 3),
    "Langevin": lambda time: BAOAB(100 * time, True),
    "NPT": lambda time: MartynaTobiasKlein(100 * time, 500 * time, 3),
    "respa": lambda time: Respa(NoseHoover(100 * time, 3), OTHER, 2),
}


def crystal(mass: float = 1.0) -> Atoms:
    """Argon with every third atom of krypton's color and of twice its mass, all times a number."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    atoms.set_masses(mass * atoms.get_masses() * np.where(np.arange(32) % 3, 1, 2))
    return atoms


def slab(fixed: bool = True, layers: int = 3) -> Atoms:
    """Four atoms in each layer, those of the lowest fixed."""
    atoms = fcc111("Al", (2, 2, layers), a=4.0, vacuum=8.0)
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() == layers) if fixed else None)
    return atoms


def run(method, potential, state, timestep, steps, T=60.0, **keywords):
    simulation = dynamics.Simulation(potential, method, timestep, T, 1e-4)
    return simulation.run(state, steps, progress=False, **keywords)


# ---- momenta ---------------------------------------------------------------------------------------


def thermal(seed: int, at_rest: bool = True, atoms: Atoms | None = None) -> Atoms:
    atoms = crystal() if atoms is None else atoms
    thermalize_momenta(atoms, temperature_K=50, rng=np.random.default_rng(seed))
    if at_rest:
        Stationary(atoms)
    return atoms


@pytest.mark.parametrize("at_rest", [True, False])
def test_momenta_come_from_ase_and_go_back(at_rest):
    frames = [thermal(seed, at_rest) for seed in (1, 2)]
    state = dynamics.State.from_ase(frames, seed=7)
    assert state.degrees_of_freedom == 96 - 3 * at_rest and state.seeds == (7, 8)
    for back, atoms in zip(state.to_ase(), frames, strict=True):
        np.testing.assert_array_equal(back.get_momenta(), atoms.get_momenta())
        np.testing.assert_array_equal(back.get_masses(), atoms.get_masses())
    kelvin = [2 * atoms.get_kinetic_energy() / kB / state.degrees_of_freedom for atoms in frames]
    assert state.temperature.tolist() == pytest.approx(kelvin, rel=1e-12)
    one = dynamics.State.from_ase(frames[0])
    ours = run(VelocityVerlet(), ARGON, one, 4 * fs, 50).state.structures.positions[0]
    frames[0].calc = mb.Calculator(ARGON)
    OfASE(frames[0], 4 * fs).run(50)
    np.testing.assert_allclose(ours, frames[0].positions, rtol=0, atol=1e-10)


def test_structures_without_momenta_are_at_rest():
    with pytest.warns(UserWarning, match="no momenta: all atoms are at rest"):
        state = dynamics.State.from_ase(crystal())
    assert not bool(state.momenta.any()) and state.degrees_of_freedom == 93
    with pytest.warns(UserWarning, match="no momenta"):
        assert dynamics.State.from_ase(Atoms("Ar", cell=[9] * 3, pbc=True)).degrees_of_freedom == 3
    assert dynamics.State.from_ase(thermal(1, False, slab())).degrees_of_freedom == 24


def test_momenta_that_are_none_or_of_several_kinds_are_refused():
    broken = thermal(1)
    broken.arrays["momenta"][3, 1] = np.nan
    for frames in (broken, [thermal(1), thermal(2, at_rest=False)]):
        with pytest.raises(ValueError, match="momenta are not finite, or only some centers rest"):
            dynamics.State.from_ase(frames)


def test_frames_have_momenta_also_from_a_store(tmp_path):
    """A run goes on from a frame, here or elsewhere, on the way that it took."""
    keywords = {"frames": 10, "chunk": 20, "store": tmp_path / "store"}
    start, method = dynamics.State.from_ase([thermal(1), thermal(2)]), VelocityVerlet()
    whole, stored = (run(method, ARGON, start, 4 * fs, 40, **keywords) for _ in range(2))
    assert whole.momenta.shape == (4, 2, 32, 3) and torch.equal(stored.momenta, whole.momenta)
    torch.testing.assert_close(whole.momenta[-1], whole.state.momenta.float(), rtol=0, atol=0)
    stored.to_extxyz(tmp_path / "run.xyz", replica=1)
    for frames in (whole.atoms(1), ase.io.read(tmp_path / "run.xyz", ":")):
        assert [atoms.has("momenta") and atoms.has("masses") for atoms in frames] == [True] * 4
        again = run(method, ARGON, dynamics.State.from_ase(frames[1]), 4 * fs, 20).state
        found, expected = again.structures.positions[0], whole.state.structures.positions[1]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


# ---- masses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_four_times_the_mass_is_half_the_speed_to_the_last_bit(name):
    """m -> 4 m, t -> 2 t, p -> 2 p leaves equations of motion, thermostats, barostat and noise alone."""
    ends = []
    for mass, time in ((1, fs), (4, 2 * fs)):
        start = dynamics.thermalize(crystal(mass), [60.0] * 2, seed=3)
        ends.append(run(METHODS[name](time), ARGON, start, 4 * time, 40).state)
    light, heavy = ends
    assert torch.equal(heavy.structures.positions, light.structures.positions)
    assert torch.equal(heavy.momenta, 2 * light.momenta)
    assert torch.equal(heavy.temperature, light.temperature)
    assert torch.equal(observables.density(heavy), 4 * observables.density(light))
    other = dynamics.thermalize(crystal(1.1), [60.0] * 2, seed=3)
    assert not torch.equal(run(METHODS[name](fs), ARGON, other, 4 * fs, 40).state.momenta, light.momenta)


def test_isotopes_move_as_with_ase():
    atoms = Atoms("Ar3", [[0, 0, 0], [4.0, 0, 0], [2.0, 3.0, 0]], cell=[20] * 3, pbc=True)
    atoms.set_masses([39.948, 159.8, 1.0])
    simulation = dynamics.NVE(LennardJones(0.01, 3.4, 9.0), 5 * fs)
    ours = simulation.run(dynamics.thermalize(atoms, 0.0), 100, progress=False).state
    atoms.calc = mb.Calculator(LennardJones(0.01, 3.4, 9.0))
    OfASE(atoms, 5 * fs).run(100)
    np.testing.assert_allclose(ours.structures.positions[0], atoms.positions, rtol=0, atol=1e-10)


def test_heat_flux_and_drive_know_masses():
    """In HNEMD, too, four times the mass is half the speed."""
    responses = []
    for mass, time in ((1, fs), (4, 2 * fs)):
        state = dynamics.thermalize(crystal(mass), [60.0] * 2, seed=3)
        keywords = {"thermostat_time": 100 * time, "settle": 40 * time, "progress": False}
        responses.append(heat.hnemd(ARGON, state, 1e-3, 60.0, 100, 4 * time, **keywords))
    light, heavy = responses
    assert torch.equal(heavy.flux, light.flux / 2)
    still, v = mb.Structures.from_ase(crystal(0.5)), torch.randn(1, 32, 3, dtype=torch.float64)
    twice = mb.Structures.from_ase(crystal(1.0))
    m, kinetic = still.masses, heat.flux(ARGON, twice, v) - heat.flux(ARGON, still, v)
    torch.testing.assert_close(kinetic[0], (0.5 * m * v[0].square().sum(-1)) @ v[0], rtol=1e-9, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the series at lambda:RuntimeWarning")
@pytest.mark.parametrize("phase, T, a", [("solid", 30.0, 5.4), ("liquid", 600.0, 7.0)])
def test_isotopes_shift_the_free_energy_by_their_wavelengths_alone(phase, T, a):
    """-3/2 kT ln 4 of four times the mass; what a crystal shows is the same to the last bit at twice the step
    (a liquid melts with a friction of its own).
    """
    found, function = [], getattr(free_energy, phase)
    for mass, time in ((1, fs), (4, 2 * fs)):
        atoms = bulk("Ar", a=a, cubic=True) * (3, 3, 3)
        atoms.set_masses(mass * atoms.get_masses())
        sampling = free_energy.Sampling(1.0, 400, 2, 400, friction_time=100 * time)
        reference = {"spring": 0.8} if phase == "solid" else {}
        keywords = {"timestep": 8 * time, "points": 1, "progress": False, "sampling": sampling}
        found.append(function(ARGON, atoms, T, **reference, **keywords))
    light, heavy = found
    kinetic, *others, sampled = light.terms
    shift = heavy.terms[kinetic].value - light.terms[kinetic].value
    assert shift == pytest.approx(-1.5 * kB * T * np.log(4), rel=1e-12)
    for name in others + [sampled] * (phase == "solid"):
        assert heavy.terms[name] == light.terms[name]


def test_what_needs_one_mass_for_an_element_refuses_a_mixture_of_isotopes():
    mixed = bulk("Ar", a=5.4, cubic=True)
    mixed.set_masses([36.0, 40.0, 40.0, 40.0])
    with pytest.raises(ValueError, match=r"Ar has masses of \[36.0, 40.0\] amu"):
        free_energy.solid(ARGON, mixed, 30.0, timestep=4 * fs, spring=1.0)
    mixed.symbols[3] = "Kr"
    with pytest.raises(ValueError, match=r"Ar has masses of \[36.0, 40.0\] amu"):
        heat.without_enthalpy(mb.Structures.from_ase(mixed), "Kr", 1.0)


def test_the_longest_time_step_is_that_of_the_masses():
    atoms = bulk("Ar", a=5.4, cubic=True) * (2, 2, 2)
    atoms.set_masses([1.0] * 32)
    with pytest.raises(ValueError, match="atoms of 1 amu allow up to 5 fs"):
        free_energy.solid(ARGON, atoms, 30.0, timestep=8 * fs, spring=0.8)


# ---- fixed atoms -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "NPT"])
def test_fixed_atoms_stay_and_the_invariant_holds(name):
    """24 degrees of freedom; half the time step, a quarter of the invariant's standard deviation."""
    replicas = 8 if name == "Langevin" else 2
    start, spread = dynamics.thermalize([slab()] * replicas, 100.0, seed=1), {}
    fixed = start.structures.fixed
    assert start.degrees_of_freedom == 24 and fixed.tolist() == [True] * 4 + [False] * 8
    for n in (2, 1):
        method = Respa(NoseHoover(100 * fs, 3), LennardJones(0.09, 2.61, 6.0), 2)
        method = method if name == "respa" else METHODS[name](fs)
        found = run(method, ALUMINUM, start, n * fs, 800 // n, 100.0, every=8 // n)
        state = found.state
        assert state.degrees_of_freedom == 24 and not bool(state.momenta[:, fixed].any())
        moved = state.structures.positions - start.structures.positions
        assert not bool(moved[:, fixed].any()) and float(moved[:, ~fixed].abs().amin((1, 2)).max()) > 0
        spread[n] = float(found.observed["invariant"].std(0).mean())
    assert 3.5 < spread[2] / spread[1] < 4.5


def test_free_atoms_beside_fixed_ones_move_as_with_ase():
    start = dynamics.thermalize(slab(), 300.0, seed=1)
    atoms = slab()
    atoms.set_momenta(start.momenta[0].numpy())
    atoms.calc = mb.Calculator(ALUMINUM)
    OfASE(atoms, 2 * fs).run(100)
    ours = run(VelocityVerlet(), ALUMINUM, start, 2 * fs, 100).state
    np.testing.assert_allclose(ours.structures.positions[0], atoms.positions, rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NVT", "Langevin"])
def test_free_atoms_beside_fixed_ones_have_the_canonical_kinetic_energy(name):
    """sum p^2/m in kT is chi-squared with 12 degrees of freedom, and not with 9 or 21."""
    start = dynamics.thermalize([slab(layers=2)] * 512, 400.0, seed=1)
    end = run(METHODS[name](0.5 * fs), LennardJones(0.1, 2.6, 4.0), start, 4 * fs, 300, 200.0, every=300)
    x = (end.state.two_K / (kB * 200.0)).numpy()
    assert stats.kstest(x, stats.chi2(12).cdf).pvalue > 1e-3
    assert max(stats.kstest(x, stats.chi2(n).cdf).pvalue for n in (9, 21)) < 1e-6


def test_a_run_with_fixed_atoms_goes_on_from_its_store(tmp_path):
    start, method = dynamics.thermalize(slab(), 300.0, seed=1), BAOAB(100 * fs, True)
    whole = run(method, ALUMINUM, start, 2 * fs, 30, chunk=10).state
    for _ in range(2):
        state = run(method, ALUMINUM, start, 2 * fs, 30, store=tmp_path, chunk=10).state
        assert torch.equal(state.structures.positions, whole.structures.positions)
        assert torch.equal(state.structures.fixed, whole.structures.fixed)
    free = dynamics.thermalize(slab(fixed=False), 300.0, seed=1)
    with pytest.raises(ValueError, match="of something else, whose start"):
        run(method, ALUMINUM, free, 2 * fs, 30, store=tmp_path, chunk=10)


def test_a_fixed_atom_that_moves_is_refused():
    free, held = dynamics.thermalize(slab(fixed=False), 300.0, seed=1), mb.Structures.from_ase(slab())
    with pytest.raises(ValueError, match="4 atoms are fixed: their momenta are zero"):
        replace(free, structures=held)
    with pytest.raises(ValueError, match="4 atoms are fixed: their momenta are zero"):
        run(VelocityVerlet(), ALUMINUM, free.updated(structures=held), 2 * fs, 10)
    miscounted = {"degrees_of_freedom": 33}
    with pytest.raises(ValueError, match="24 degrees of freedom, not 33"):
        replace(dynamics.thermalize(slab(), 300.0), **miscounted)
    with pytest.raises(ValueError, match="12 atoms, 12 of them fixed: nothing can move"):
        dynamics.thermalize(replace(held, constraints=(FixAtoms(range(12)),)), 300.0)


def test_where_fixed_atoms_make_no_sense_they_are_refused():
    held = crystal()
    held.set_constraint(FixAtoms([0, 5]))
    state = dynamics.thermalize(held, 60.0)
    with pytest.raises(ValueError, match="2 atoms are fixed: they cannot stay in a box that swells"):
        run(METHODS["NPT"](fs), ARGON, state, 4 * fs, 10)
    with pytest.raises(ValueError, match="2 atoms are fixed: .* flux"):
        heat.hnemd(ARGON, state.updated(momenta=0 * state.momenta), 1e-3, 60.0, 3000, 4 * fs)
    pure = bulk("Ar", a=5.4, cubic=True) * (2, 2, 2)
    pure.set_constraint(FixAtoms([0]))
    for function in (free_energy.solid, free_energy.liquid):
        with pytest.raises(ValueError, match="1 atoms are fixed: free energies"):
            function(ARGON, pure, 60.0, timestep=4 * fs)


@pytest.mark.parametrize("constraint", [FixBondLength(0, 1), FixedPlane(3, [0, 0, 1])])
def test_other_constraints_are_refused_by_dynamics(constraint):
    atoms = slab(fixed=False)
    atoms.set_constraint([FixAtoms([0]), constraint])
    with pytest.raises(ValueError, match=f"constraint {type(constraint).__name__}: dynamics keep FixAtoms"):
        dynamics.thermalize(atoms, 300.0)
