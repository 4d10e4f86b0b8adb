"""HNEMD: the drive does work on the heat flux and on nothing else, and its response is the conductivity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from conftest import ann, crystal

import mlipbook as mb
from mlipbook import heat
from mlipbook.dynamics import Langevin, Simulation, State, thermalize
from mlipbook.dynamics.momenta import without_total
from mlipbook.dynamics.state import repeated
from mlipbook.heat.hnemd import current_of, flux_of
from mlipbook.potentials import AgSe, LennardJones
from mlipbook.potentials.ann import MemberPerReplica
from mlipbook.units import W_per_m_K, fs, kB

DEFINITIONS = ("I", "II", "III")
FIELD = torch.tensor([[0.02, -0.01, 0.005]], dtype=torch.float64)


def network(**settings) -> mb.ANNPotential:
    return ann(mb.Structures.from_ase(rattled()), **settings)


def rattled(cells: int = 2, seed: int = 0) -> Atoms:
    atoms = crystal() * cells
    atoms.rattle(0.2, seed=seed)
    return atoms


def evaluated(potential, definition: str = "I", temperature: float = 500.0, replicas: int = 1) -> State:
    state = thermalize(repeated(mb.Structures.from_ase(rattled()), replicas), temperature, seed=4)
    return replace(state, result=potential.evaluate(state.structures, definition))


def power(forces: torch.Tensor, state: State) -> float:
    return float((forces * state.velocities).sum())


# ---- the drive -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_drive_works_on_the_flux_alone_and_moves_no_center(definition):
    """sum F^ext . v = F . Omega J (without the term that makes up for phase space), sum F^ext = 0."""
    state, cold = evaluated(network(), definition), torch.zeros(1, dtype=torch.float64)
    forces = heat.HeatField(FIELD)(state, cold)
    work = float((FIELD * flux_of(state)).sum())
    assert power(forces, state) == pytest.approx(work, rel=1e-12)
    assert float(forces.sum(1).abs().max()) < 1e-12 * float(forces.abs().max())


def test_the_flux_of_a_state_is_that_of_the_potential():
    potential = network()
    for definition in DEFINITIONS:
        state = evaluated(potential, definition)
        expected = heat.flux(potential, state.structures, state.velocities, definition)
        torch.testing.assert_close(flux_of(state), expected, rtol=1e-12, atol=0)


def test_equal_shares_or_the_transposed_virial_would_do_other_work():
    state = evaluated(network(), "I")
    work = float((FIELD * flux_of(state)).sum())
    energies = state.evaluated.energies + state.momenta.square().sum(-1) / (2 * state.masses)
    diagonal = energies[..., None] * FIELD[:, None]
    right = diagonal + torch.einsum("biac,ba->bic", state.evaluated.virials, FIELD)
    transposed = diagonal + torch.einsum("biac,bc->bia", state.evaluated.virials, FIELD)
    assert power(without_total(right, state.masses), state) == pytest.approx(work, rel=1e-12)
    assert power(right - right.mean(1, keepdim=True), state) != pytest.approx(work, rel=1e-2)
    assert power(without_total(transposed, state.masses), state) != pytest.approx(work, rel=1e-2)


def test_the_term_for_phase_space_is_there_for_unequal_masses_only():
    """It makes up for sum_i d/dp_i . F_i^ext = sum_i v_i . F, found here by differentiating the drive."""
    state = evaluated(AgSe())
    kT = kB * 500.0
    extra = heat.HeatField(FIELD)(state, kT) - heat.HeatField(FIELD)(state, 0 * kT)
    share = 1 - state.masses / state.masses.mean()
    torch.testing.assert_close(extra[0], kT * share[:, None] * FIELD[0])
    assert float(extra.sum(1).abs().max()) < 1e-15

    def drive(momenta: torch.Tensor) -> torch.Tensor:
        return heat.HeatField(FIELD)(replace(state, momenta=momenta), 0 * kT)

    jacobian = torch.autograd.functional.jacobian(drive, state.momenta)
    divergence = jacobian.flatten(3).flatten(0, 2).trace()
    assert float(divergence) == pytest.approx(float((state.velocities.sum(1) * FIELD).sum()), rel=1e-9)
    like = Atoms("Ar8", rattled().positions[:8], cell=[20.0] * 3, pbc=True)
    equal = thermalize(like, 100.0)
    equal = replace(equal, result=LennardJones(0.01, 2.0, 4.0).evaluate(equal.structures))
    assert torch.equal(heat.HeatField(FIELD)(equal, kT), heat.HeatField(FIELD)(equal, 0 * kT))


@pytest.mark.parametrize("drive", [heat.HeatField(FIELD), heat.ColorField(FIELD, "Ag")])
def test_what_other_momenta_change_is_the_difference_of_two_drives(drive):
    state, kT = evaluated(AgSe()), 0.04
    other = 1.3 * state.momenta.flip(-1)
    expected = drive(replace(state, momenta=other), kT) - drive(state, kT)
    torch.testing.assert_close(drive.change(state, other), expected, rtol=0, atol=1e-15)


def test_a_color_field_works_on_the_current_of_its_element():
    state, kT = evaluated(AgSe()), 0.0
    forces = heat.ColorField(FIELD, "Ag")(state, kT)
    work = float((FIELD * current_of(state, "Ag")).sum())
    assert power(forces, state) == pytest.approx(work, rel=1e-12)
    assert float(forces.sum(1).abs().max()) < 1e-15


@pytest.mark.parametrize("color", [False, True])
def test_energy_and_thermostat_grow_by_the_work_of_the_field(color):
    """H' of the thermostatted system changes by int F . (Omega J + kT sum v) dt: with an error of dt^2."""
    start, temperature, misses = evaluated(AgSe()), 500.0, []
    strong = 5 * FIELD
    kT = kB * temperature
    drive = heat.ColorField(strong, "Ag") if color else heat.HeatField(strong)
    for steps in (40, 80):
        method = heat.DrivenNoseHoover(50 * fs, 1, drive)
        run = Simulation(heat.Booked(AgSe(), "I"), method, 80 * fs / steps, temperature).run(
            start,
            steps,
            {"power": lambda s: (drive(s, kT) * s.velocities).sum((1, 2))},
            every=1,
            progress=False,
        )
        H, P = run.observed["invariant"][:, 0], run.observed["power"][:, 0]
        gained = torch.trapezoid(P, run.time)
        misses.append(abs(float(H[-1] - H[0] - gained)))
        assert float(gained.abs()) > 100 * misses[-1]
    assert misses[0] / misses[1] == pytest.approx(4, rel=0.3)


def test_total_momentum_stays_zero_and_the_center_at_rest():
    start = evaluated(AgSe())
    method = heat.DrivenNoseHoover(50 * fs, 1, heat.HeatField(FIELD))
    end = Simulation(heat.Booked(AgSe(), "I"), method, 2 * fs, 500.0).run(start, 50, progress=False).state
    assert float(end.momenta.sum(1).abs().max()) < 1e-11


def test_a_chain_of_thermostats_is_refused():
    with pytest.raises(ValueError, match="chain of 3 .* misses its temperature"):
        heat.DrivenNoseHoover(50 * fs, 3, heat.HeatField(FIELD))


@pytest.mark.parametrize("potential", [AgSe(), heat.Booked(AgSe(), "II")])
def test_virials_of_another_definition_than_the_drive_are_refused(potential):
    """A bare potential would answer dynamics with virials II."""
    method = heat.DrivenNoseHoover(50 * fs, 1, heat.HeatField(FIELD, "I"))
    with pytest.raises(TypeError, match="drives the flux of definition I.*Booked"):
        Simulation(potential, method, 2 * fs, 500.0).run(evaluated(AgSe()), 4, progress=False)


def test_a_color_field_drives_a_bare_potential():
    method = heat.DrivenNoseHoover(50 * fs, 1, heat.ColorField(FIELD, "Ag"))
    run = Simulation(AgSe(), method, 2 * fs, 500.0).run(evaluated(AgSe()), 4, progress=False)
    assert run.state.step == 4


def test_a_book_keeps_one_definition():
    state, potential = evaluated(network()), network()
    booked = heat.Booked(potential, "II").evaluate(state.structures, "I")
    torch.testing.assert_close(booked.virials, potential.evaluate(state.structures, "II").virials)


# ---- gauge ---------------------------------------------------------------------------------------------


def test_offsets_change_the_flux_by_the_currents_and_no_force():
    potential, state = network(), evaluated(network())
    shifted = heat.Shifted(potential, {"Ag": 0.3, "Se": -0.7})
    before, after = (p.evaluate(state.structures, "I") for p in (potential, shifted))
    assert torch.equal(before.forces, after.forces)
    assert torch.equal(before.virials, after.virials)
    change = flux_of(replace(state, result=after)) - flux_of(replace(state, result=before))
    expected = 0.3 * current_of(state, "Ag") - 0.7 * current_of(state, "Se")
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-12)


def test_the_gauge_takes_h_off_the_current_and_keeps_the_energy():
    """One h for each replica; J - h V_Ag to rounding, at zero total momentum."""
    state, h = evaluated(AgSe(), replicas=2), torch.tensor([1.7, -0.4], dtype=torch.float64)
    offsets = heat.without_enthalpy(state.structures, "Ag", h)
    fixed = heat.Shifted(AgSe(), offsets).evaluate(state.structures, "I")
    torch.testing.assert_close(fixed.energy, state.evaluated.energy)
    flux = flux_of(replace(state, result=fixed))
    expected = flux_of(state) - h[:, None] * current_of(state, "Ag")
    torch.testing.assert_close(flux, expected, rtol=1e-9, atol=1e-10)


def test_gauges_that_do_not_fit_are_refused():
    structures = mb.Structures.from_ase(rattled())
    with pytest.raises(ValueError, match="3 offsets for 1 structures"):
        heat.Shifted(AgSe(), {"Ag": torch.zeros(3)}).evaluate(structures)
    with pytest.raises(ValueError, match="offsets for Na"):
        heat.Shifted(AgSe(), {"Na": 0.1}).evaluate(structures)
    with pytest.raises(ValueError, match="Ag, Se: a gauge by the current of Na"):
        heat.without_enthalpy(structures, "Na", 1.0)


# ---- the response --------------------------------------------------------------------------------------


def synthetic(kappa: float, steps: int, replicas: int, field: float, seed: int = 0) -> heat.Response:
    """A flux whose fluctuations are those of an exponential memory, and whose mean is kappa T F Omega."""
    rng, dt, memory, volume, T = np.random.default_rng(seed), 1.0, 5.0, 8000.0, 500.0
    variance = kappa * W_per_m_K * volume * kB * T**2 / memory
    c, x = np.exp(-dt / memory), np.zeros((steps, replicas, 3))
    x[0] = rng.standard_normal((replicas, 3))
    for t in range(1, steps):
        x[t] = c * x[t - 1] + np.sqrt(1 - c**2) * rng.standard_normal((replicas, 3))
    flux = torch.as_tensor(x * np.sqrt(variance))
    flux[..., 0] += kappa * W_per_m_K * volume * T * field
    fields = torch.tensor([[field, 0.0, 0.0]], dtype=torch.float64).repeat(replicas, 1)
    return heat.Response(flux, {"Ag": flux}, flux[..., 0], fields, volume, dt, T)


def test_kappa_and_its_error_are_those_of_a_flux_with_known_memory():
    """z-scores of 40 runs have mean 0 and variance 1; the error is the one predicted from kappa alone."""
    found = [synthetic(0.3, 4000, 2, 0.02, seed) for seed in range(40)]
    z = np.array([(r.kappa.value - 0.3) / r.kappa.error for r in found])
    assert abs(z.mean()) < 4 / 40**0.5
    assert z.var() == pytest.approx(1, abs=4 * (2 / 40) ** 0.5)
    predicted = heat.predicted_error(0.02, 0.3, 8000.0, 2 * 4000.0)
    assert np.mean([r.kappa.error for r in found]) == pytest.approx(predicted, rel=0.1)
    across = np.array([r.across.value / r.across.error for r in found])
    assert abs(across.mean()) < 4 / 40**0.5


def test_kappa_is_the_flux_per_volume_over_temperature_and_field():
    """In SI: <Omega J> in eV A/ps times 1602.1766/(Omega T F)."""
    response = synthetic(0.3, 100, 2, 0.02)
    mean = float(response.flux[..., 0].mean()) * mb.units.ps  # eV A/ps
    assert response.kappa.value == pytest.approx(1602.1766 * mean / (8000.0 * 500.0 * 0.02), rel=1e-6)


def test_a_doubled_cell_conducts_as_the_cell_does():
    """Twice the flux in twice the volume; by Eq. 15 as printed it would conduct twice as well."""
    one = synthetic(0.3, 100, 2, 0.02)
    double = replace(one, flux=2 * one.flux, volume=2 * one.volume)
    assert double.kappa.value == pytest.approx(one.kappa.value, rel=1e-12)
    as_printed = [r.kappa.value * r.volume for r in (one, double)]
    assert as_printed[1] == pytest.approx(2 * as_printed[0])


def test_across_is_perpendicular_to_any_field():
    """A flux along an oblique field has nothing across, one beside it nothing along."""
    direction = torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64) / 6**0.5
    side = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / 2**0.5
    fields = (0.02 * direction).repeat(2, 1)
    along = heat.Response(direction.repeat(20, 2, 1), {}, torch.ones(20, 2), fields, 8000.0, 1.0, 500.0)
    assert along.across.value == pytest.approx(0, abs=1e-12 * along.kappa.value)
    beside = replace(along, flux=side.repeat(20, 2, 1))
    assert beside.kappa.value == pytest.approx(0, abs=1e-12 * along.kappa.value)
    assert abs(beside.across.value) > 0.05 * along.kappa.value  # the mean of its parts along two directions


def test_a_color_field_gives_L_11_in_units_of_kappa_per_square_of_energy():
    """L_11 = <V . F>/(Omega T F^2), of a current set by hand."""
    response = synthetic(0.3, 100, 2, 0.02)
    current = torch.full((100, 2, 3), 0.7, dtype=torch.float64)
    driven = replace(response, current={"Ag": current}, color="Ag")
    assert driven.onsager("Ag").value == pytest.approx(0.7 / (8000.0 * 500.0 * 0.02) / W_per_m_K, rel=1e-9)
    with pytest.raises(ValueError, match="drove Ag, not heat"):
        _ = driven.kappa


def test_the_running_average_ends_at_the_mean():
    response = synthetic(0.3, 100, 2, 0.02)
    time, kappa = response.running()
    assert float(kappa[-1].mean()) == pytest.approx(response.kappa.value)
    assert float(time[-1]) == 100 * response.interval


def test_predicted_errors_fall_with_field_and_root_of_time():
    one = heat.predicted_error(0.0189, 0.27, 7966.0, 100 * mb.units.ps)
    assert one == pytest.approx(0.016, abs=0.0005)  # W/m/K, of the paper's system in 100 ps
    assert heat.predicted_error(0.0189, 0.27, 7966.0, 1100 * mb.units.ps) == pytest.approx(0.005, abs=0.0002)
    assert heat.predicted_error(0.0378, 0.27, 7966.0, 100 * mb.units.ps) == pytest.approx(one / 2)
    with pytest.raises(ValueError, match="field 0.0: give a positive number"):
        heat.predicted_error(0.0, 0.27, 7966.0, 100.0)


# ---- runs ----------------------------------------------------------------------------------------------


SILVER = LennardJones(0.1, 2.5, 4.0)


def short(state: State, field=0.02, **options) -> heat.Response:
    settings = {"settle": 10 * fs, "every": 1, "progress": False, **options}
    return heat.hnemd(AgSe(), state, field, 500.0, 30, 2 * fs, **settings)


@pytest.mark.parametrize("definition", ["I", "II"])
def test_the_flux_that_is_driven_and_measured_is_that_of_the_definition(definition):
    """Of a network, whose definitions differ: the first sample is the flux of the state one step on."""
    potential = network()
    state = thermalize(mb.Structures.from_ase(rattled()), 500.0, seed=4)
    options = {"settle": 0.0, "every": 1, "progress": False, "definition": definition}
    found = heat.hnemd(potential, state, 1e-6, 500.0, 12, 0.5 * fs, **options)
    fluxes = {}
    for X in ("I", "II"):
        drive = heat.HeatField(torch.tensor([[1e-6, 0.0, 0.0]], dtype=torch.float64), definition)
        method = heat.DrivenNoseHoover(100 * fs, 1, drive)
        end = Simulation(heat.Booked(potential, definition), method, 0.5 * fs, 500.0).run(
            state, 1, progress=False
        )
        fluxes[X] = heat.flux(potential, end.state.structures, end.state.velocities, X)
    torch.testing.assert_close(found.flux[0], fluxes[definition], rtol=1e-9, atol=1e-12)
    assert float((fluxes["I"] - fluxes["II"]).abs().max()) > 1e-3 * float(fluxes["I"].abs().max())


def test_replicas_in_one_batch_are_runs_of_their_own():
    """With fields of their own; to rounding."""
    fields = torch.tensor([[0.02, 0.0, 0.0], [0.0, -0.01, 0.0]], dtype=torch.float64)
    both = thermalize(repeated(mb.Structures.from_ase(rattled()), 2), 500.0, seed=4)
    together = short(both, fields)
    for b in range(2):
        alone = thermalize(mb.Structures.from_ase(rattled()), 500.0, seed=4 + b)
        torch.testing.assert_close(
            short(alone, fields[b]).flux[:, 0], together.flux[:, b], rtol=1e-8, atol=1e-8
        )


def test_a_run_goes_on_from_its_store(tmp_path):
    state = thermalize(mb.Structures.from_ase(rattled()), 500.0, seed=4)
    whole = short(state)
    short(state, store=tmp_path / "run")
    again = short(state, store=tmp_path / "run")
    assert torch.equal(again.flux, whole.flux)


def fields(n: int, middle: float) -> torch.Tensor:
    """Of n replicas along x, of which the one in the middle has another: printed, it is left out."""
    found = torch.zeros(n, 3, dtype=torch.float64)
    found[:, 0] = 1e-3
    found[n // 2, 0] = middle
    return found


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("integrator", {"field": 1.00001e-3}, {"field": 1.00002e-3}),
        ("integrator", {"field": fields(400, 1e-3)}, {"field": fields(400, 5e-3)}),
        ("integrator", {"color": None}, {"color": "Ag"}),
        ("integrator", {"thermostat_time": 100 * fs}, {"thermostat_time": 100 * fs * (1 + 1e-15)}),
        ("integrator", {"definition": "I"}, {"definition": "II"}),
        ("potential", {"potential": AgSe()}, {"potential": heat.Shifted(AgSe(), {"Ag": 1e-9})}),
        ("potential", {"potential": SILVER}, {"potential": LennardJones(0.1 + 1e-7, 2.5, 4.0)}),
        ("temperature", {"temperature": 500.0}, {"temperature": 500.0000001}),
    ],
)
def test_a_store_of_another_run_is_refused(tmp_path, what, one, other):
    """Also where what differs would print the same; both are named, and the store is left alone."""
    field = one.get("field", 1e-3)
    atoms = Atoms("AgSe", [[0, 0, 0], [2.6, 0, 0]], cell=[9.0] * 3, pbc=True)
    state = thermalize(
        repeated(mb.Structures.from_ase(atoms), len(field) if hasattr(field, "ndim") else 1), 500.0
    )

    def run(changes):
        settings = {"potential": SILVER, "field": 1e-3, "temperature": 500.0, "settle": 0.0, **changes}
        return heat.hnemd(
            state=state, steps=11, timestep=fs, every=1, store=tmp_path, progress=False, **settings
        )

    first = run(one)
    assert torch.equal(run(one).flux, first.flux)
    with pytest.raises(
        ValueError, match=rf"part-00000.npz: of something else, whose {what} is .* \[\w+\], not"
    ):
        run(other)
    assert torch.equal(run(one).flux, first.flux)


@pytest.mark.slow
def test_the_field_pushes_silver_to_where_it_points():
    """A strong color field: the current follows it in sign, selenium goes the other way."""
    state = thermalize(repeated(mb.Structures.from_ase(rattled()), 4), 500.0, seed=4)
    state = Langevin(AgSe(), 2 * fs, 500.0).run(state, 100, progress=False).state
    fields = torch.tensor([[1.0], [-1.0]] * 2, dtype=torch.float64) * torch.tensor([[0.5, 0.0, 0.0]])
    found = heat.hnemd(
        AgSe(), state, fields, 500.0, 100, 2 * fs, color="Ag", settle=20 * fs, every=2, progress=False
    )
    assert bool((found.coefficient(found.current["Ag"]).mean(0) > 0).all())
    assert bool((found.coefficient(found.current["Se"]).mean(0) < 0).all())


def test_runs_that_cannot_be_are_refused():
    state = thermalize(mb.Structures.from_ase(rattled()), 500.0)
    with pytest.raises(ValueError, match="field"):
        short(state, 0.0)
    with pytest.raises(ValueError, match="for 1 replicas"):
        short(state, torch.ones(2, 3))
    moving = replace(state, momenta=state.momenta + 1.0)
    with pytest.raises(ValueError, match="total momentum"):
        short(moving)
    for temperature in (0.0, 100.0, 4000.0):
        with pytest.raises(ValueError, match="the state has .* K, the run 500 K"):
            short(thermalize(mb.Structures.from_ase(rattled()), temperature))
    tied = rattled()
    tied.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="1 atoms are fixed: .* remove the constraint"):
        short(thermalize(tied, 500.0))
    with pytest.raises(ValueError, match="nothing is left to average"):
        heat.hnemd(AgSe(), state, 0.02, 500.0, 30, 2 * fs, progress=False)


def test_each_member_drives_replicas_of_its_own():
    """Two members, two replicas each, in one batch: as each alone."""
    structures = mb.Structures.from_ase([rattled(seed=seed) for seed in range(4)])
    committee = network(members=2)
    together = MemberPerReplica(committee).evaluate(structures)
    for b in range(4):
        alone = committee.member(b // 2).evaluate(mb.Structures.from_ase(rattled(seed=b)))
        torch.testing.assert_close(together.energies[b], alone.energies[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.virials[b], alone.virials[0], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="3 replicas for 2 members"):
        MemberPerReplica(committee).evaluate(mb.Structures.from_ase([rattled()] * 3))


def test_running_averages_end_where_kappa_is_and_start_after_one_interval():
    flux = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    field = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    response = heat.Response(flux, {}, torch.ones(4, 1), field, 2.0, 3.0, 5.0)
    time, kappa = response.running()
    assert time.tolist() == [3.0, 6.0, 9.0, 12.0]
    means = torch.tensor([1.0, 1.5, 2.0, 2.5], dtype=torch.float64) / 10 / mb.units.W_per_m_K
    torch.testing.assert_close(kappa[:, 0], means)
