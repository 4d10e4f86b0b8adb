"""The study of chapter 7: scores against exact answers, short ramps against what ramps must be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

import mlipbook as mb
from mlipbook import bookkit
from mlipbook.averages import Value
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting import ramps as dynamics
from mlipbook.studies.melting import records, teacher
from mlipbook.studies.melting import report as hysteresis_report
from mlipbook.studies.melting import response as hysteresis_response
from mlipbook.studies.melting import runs as study
from mlipbook.studies.melting import scores as hysteresis_scores
from mlipbook.studies.sodium import at_gamma, by_part, of_phase
from mlipbook.studies.stress.equation_of_state import scaled
from mlipbook.units import GPa, kB

T = np.linspace(300, 400, 101)


def falling(at: float, width: float = 10.0) -> np.ndarray:
    """Q6 that falls linearly from 0.45 to 0.05, through 0.25 at a temperature."""
    return np.clip(0.25 - 0.4 * (T - at) / width, 0.05, 0.45)


# ---- scores ---------------------------------------------------------------------------------------------


def test_crossing_is_where_the_phase_is_left_for_good():
    short = np.where(abs(T - 320) < 2, 0.1, falling(371.3))  # a dip that comes back does not count
    lasting = np.full(101, 0.4)  # never melts
    late, early = (
        np.where(at < T, np.nan, falling(371.3)) for at in (390, 350)
    )  # lost after, before melting
    found = melting.crossing(T, np.array([falling(371.3), short, late, early, lasting]))
    np.testing.assert_allclose(found[:3], 371.3, rtol=1e-12)
    assert np.isnan(found[3:]).all()
    freezing = melting.crossing(T[::-1], falling(333.3)[None, ::-1])
    np.testing.assert_allclose(freezing, 333.3, rtol=1e-12)


def test_means_leave_out_what_is_not_there_and_z_is_the_difference_in_errors():
    a, b = melting.mean(np.array([1.0, 3.0, np.nan])), melting.mean(np.array([5.0, 5.0, 8.0]))
    assert (a.value, a.error, a.n) == (2.0, 1.0, 2) and (b.value, b.error) == (6.0, 1.0)
    assert a.z(b) == pytest.approx(-4 / 2**0.5)
    one = melting.mean(np.array([4.0]))
    assert np.isnan(one.error) and np.isnan(one.z(b)) and melting.mean(np.full(2, np.nan)).n == 0


@pytest.mark.slow
def test_a_mean_knows_of_what_lies_beyond_the_end():
    rng = np.random.default_rng(0)
    drawn = rng.normal(430.0, 20.0, size=20_000)
    cut = np.where(drawn > 440, np.nan, drawn)  # three in ten
    found = melting.mean_with_end(cut, 440.0)
    assert abs(found.value - 430) < 4 * found.error and found.n == 20_000
    assert 1 < found.error / (20 / 20_000**0.5) < 1.2  # hidden values tell less than seen ones
    assert melting.mean(cut).value < 424  # what leaving them out would give
    assert melting.mean_with_end(drawn, 440.0) == melting.mean(drawn)
    far = melting.mean_with_end(np.array([380.0, 381.0, 382.0, np.nan]), 480.0)
    assert 381 < far.value < 480 and np.isfinite(far.error)
    many = np.array([rng.normal(430, 20, size=8) for _ in range(600)])
    few = [melting.mean_with_end(np.where(x > 445, np.nan, x), 445.0) for x in many]
    z = np.array([(x.value - 430) / x.error for x in few if np.isfinite(x.error)])
    assert abs(z.mean()) < 0.3 and 0.9 < z.std() < 1.5  # eight runs know their scatter badly


def test_labels_are_compared_bin_by_bin():
    temperature, edges = np.array([T, T[::-1]]), np.array([300, 325, 350, 375, 401])
    reference = np.stack([np.tile(falling(350.5, 1), (3, 1)), np.tile(falling(350.5, 1)[::-1], (3, 1))])
    late = np.stack([np.tile(falling(375.5, 1), (2, 1)), reference[1, :2]])  # melts a bin later
    on = [melting.on_grid(temperature, q6, edges) for q6 in (late, reference)]
    np.testing.assert_allclose(on[1][0, 0], [0.45, 0.45, 0.05, 0.05], atol=0.02)
    np.testing.assert_array_equal(
        melting.confusion(*on), [[6, 2], [0, 8]]
    )  # [liquid, solid] in the reference
    assert melting.agreement(*on) == 7 / 8 and melting.agreement(on[1], on[1]) == 1
    missing = on[0].copy()
    missing[0, :, 2] = np.nan  # without the bin in which they differ
    assert melting.agreement(missing, on[1]) == 1 and melting.confusion(missing, on[1]).sum() == 14


def test_distance_of_pair_distributions_weighs_shells():
    edges = np.array([1.0, 2.0, 3.0])
    reference = np.array([0.0, 2.0])
    assert melting.distance(reference, reference, edges) == 0
    assert melting.distance(np.array([0.0, 1.0]), reference, edges) == pytest.approx(19 / (7 + 19))
    assert melting.distance(np.array([1.0, 2.0]), reference, edges) == pytest.approx(7 / (7 + 19))


@pytest.mark.slow
def test_the_band_holds_models_that_are_right_and_refuses_others():
    rng, edges = np.random.default_rng(1), np.linspace(2, 8, 31)
    truth, mode = 1 + np.sin(edges[1:]), np.cos(edges[1:])
    scatter = {  # of replicas: every bin for itself, all bins together, or one in ten has melted
        "bins": lambda n: 0.1 * rng.normal(size=(n, 30)),
        "mode": lambda n: 0.1 * rng.normal(size=(n, 1)) * mode,
        "melted": lambda n: 0.5 * (rng.random((n, 1)) < 0.1) * mode + 0.02 * rng.normal(size=(n, 30)),
    }
    for noise in scatter.values():
        for m, shift, inside in ((8, 0.0, (0.92, 0.98)), (4, 0.0, (0.92, 0.98)), (8, 0.5, (0.0, 0.1))):
            held = []
            for _ in range(400):
                model, reference = truth + shift + noise(m), truth + noise(8)
                D = melting.distance(model.mean(0), reference.mean(0), edges)
                held.append(melting.permutation_band(model, reference, edges, samples=300) >= D)
            assert inside[0] <= np.mean(held) <= inside[1]


def test_steps_and_windows():
    temperature = np.array([T, T[::-1]])
    q6 = np.array([[falling(380, 1), falling(370.5, 1)], [falling(330.5, 1)[::-1], falling(320, 1)[::-1]]])
    low, high = melting.coexistence_window(temperature, q6)
    assert (low, high) == (331, 370)  # the first freezes at 330.5, the first melts at 370.5
    solid, liquid = 0.01 * T + 1, 0.01 * T + 1.5
    volumes = np.array([[solid, solid], [liquid[::-1], liquid[::-1] + 0.1]])
    step = melting.step_at_melting(temperature, volumes, (low, high))
    assert step.value == pytest.approx(0.55) and step.error == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no temperature"):
        melting.coexistence_window(temperature, q6[::-1])
    np.testing.assert_allclose(melting.relative_rms(1.01 * volumes, volumes), 0.01, rtol=1e-12)


def test_common_slope_recovers_slope_and_error_whatever_the_constants():
    rng, group = np.random.default_rng(0), np.arange(2000) % 2
    x, sem = rng.normal(size=2000) + group, np.full(2000, 0.5)
    y = 1.3 * x + np.array([7.0, -2.0])[group]
    law, chi2 = melting.common_slope(x, y + 0.5 * rng.normal(size=2000), sem, group)
    assert abs(law.value - 1.3) < 4 * law.error and law.error == pytest.approx(0.5 / 2000**0.5, rel=0.05)
    assert chi2 == pytest.approx(1, abs=0.15)
    scattered, _ = melting.common_slope(x, y + 1.5 * rng.normal(size=2000), sem, group)
    assert scattered.error == pytest.approx(3 * law.error, rel=0.15)  # errors that are too small are seen
    assert melting.common_slope(x, y, sem, group)[0].value == pytest.approx(1.3, rel=1e-12)
    assert melting.common_slope(x, y, sem, 0 * group)[0].value < 0  # one constant does not do


# ---- models against the teacher -------------------------------------------------------------------------


def synthetic(shift: float = 0.0, melts: float = 380.0, seed: int = 0) -> dynamics.Ramps:
    """Eight replicas that melt around a temperature and freeze at 320 K; ln V is shifted in both phases."""
    rng, temperature = np.random.default_rng(seed), np.array([T, T[::-1]])
    noise = np.linspace(-2, 2, 8)
    q6 = np.array([[falling(melts + dx, 2) for dx in noise], [falling(320 + dx, 2)[::-1] for dx in noise]])
    V = np.where(q6 > 0.25, 40.0, 41.0) * np.exp(shift + 1e-3 * rng.normal(size=(2, 8, 1)))
    density = hysteresis_scores.ATOMIC_MASS / V
    enthalpy = np.where(q6 > 0.25, 0.0, 0.025) + 1e-4 * rng.normal(size=q6.shape)
    shortest = np.full_like(q6, 2.8)
    g = 1 + np.sin(dynamics.EDGES[1:]) + 0.1 * rng.normal(size=(2, 8, 5, 60))
    observed = {"q6": q6, "density": density, "enthalpy": enthalpy, "shortest": shortest}
    return dynamics.Ramps(temperature, observed, temperature[:, ::20][:, :5], g)


def test_a_model_that_is_the_teacher_passes_and_a_shifted_one_shows_its_shift():
    reference = synthetic()
    window = melting.coexistence_window(reference.temperature, reference.observed["q6"])
    same = hysteresis_scores.score(synthetic(seed=1), reference, window)
    assert same.agreement == 1 and abs(same.z[0]) < 1e-9 and (same.density < 0.002).all() and same.lost == 0
    assert same.volume_step.value == pytest.approx(1, abs=0.1)
    assert same.enthalpy_step.value == pytest.approx(25, abs=0.2)
    assert same.T_plus.value == pytest.approx(380) and same.T_minus.value == pytest.approx(320)
    other = hysteresis_scores.score(synthetic(0.02, melts=390, seed=2), reference, window)
    for shift in other.volume_shift:
        assert abs(shift.value - 0.02) < 4 * shift.error and shift.error < 0.001
    np.testing.assert_allclose(other.density, 0.02, atol=0.002)
    assert other.z[0] > 10 and other.z[1] == pytest.approx(0, abs=1e-9) and other.agreement < 1


def test_expansion_has_the_bulk_modulus_at_its_pressure():
    h, B = 1e-4, 6.0
    for error in (0.0, 0.2, -0.3):
        ends = [hysteresis_response.expansion(error + dx, B) for dx in (-h, h)]
        expected = 1 / (B - hysteresis_response.STIFFENING * error)  # dlnV/d(-P) = 1/B(P), B(P) = B + B' P
        assert np.diff(ends)[0] / (2 * h) == pytest.approx(expected, rel=1e-6)
    assert hysteresis_response.expansion(0.0, B) == 0


def test_the_teacher_stiffens_under_pressure_as_assumed():
    """dB/dP of both phases from the static and kinetic pressure of frames scaled with their atoms."""
    potential = mb.load(bookkit.full_file("hysteresis-teacher.npz"))
    frames, stretch = mb.datasets.load("na-gamma", "test"), np.linspace(-0.06, 0.06, 7)
    for phase in ("solid", "liquid"):
        curves = []
        for atoms in of_phase(frames, phase)[:4]:
            found = potential.evaluate(mb.Structures.from_ase([scaled(atoms, x) for x in stretch]))
            kinetic = len(atoms) * kB * 350 / (atoms.cell.volume * np.exp(stretch))
            curves.append((found.pressure.numpy() + kinetic) / GPa)
        pressure = np.polynomial.Polynomial.fit(stretch, np.mean(curves, axis=0), 3).convert()
        at = next(x.real for x in pressure.roots() if abs(x.imag) < 1e-9 and abs(x) < 0.06)
        stiffening = -pressure.deriv(2)(at) / pressure.deriv()(at)  # dB/dP, B = -dP/dx
        assert abs(stiffening - hysteresis_response.STIFFENING) < hysteresis_response.STIFFENING_ERROR


def test_the_modulus_knows_the_error_of_its_stiffening():
    B, pressure = 6.0, 0.03
    change = Value(hysteresis_response.expansion(-pressure, B), 1e-5, 8)
    found = hysteresis_response.modulus(pressure, change)
    assert found.value == pytest.approx(B, rel=1e-12)
    unsure = hysteresis_response.STIFFENING_ERROR * pressure / 2  # what is seen is B at half the pressure
    assert found.error == pytest.approx(np.hypot(B * 1e-5 / abs(change.value), unsure), rel=0.01)


def test_crystals_that_do_not_melt_count_as_melting_beyond_the_ramp():
    ramps = synthetic(melts=399.5)  # those above melt beyond the ramp
    assert np.isnan(hysteresis_scores.transitions(ramps)[0]).sum() == 3
    found = hysteresis_scores.score(ramps, synthetic(), (340.0, 360.0))
    seen = 399.5 + np.linspace(-2, 2, 8)[:5]
    at_least = (seen.sum() + 3 * 400) / 8
    assert at_least < found.T_plus.value < 399.5 + 3 * found.T_plus.error and found.melted == 5


def test_causal_law_holds_for_a_model_that_is_the_teacher_under_pressure():
    B, slope, pressure = 6.0, 40.0, 0.3  # GPa, K/GPa
    reference = synthetic()
    window = melting.coexistence_window(reference.temperature, reference.observed["q6"])
    pressed = synthetic(hysteresis_response.expansion(-pressure, B), 380 + slope * pressure, seed=3)
    found = hysteresis_response.response(reference, pressed, pressure, window)
    assert all(abs(x.value - B) < 4 * x.error for x in found.bulk_modulus)
    assert found.melting.value == pytest.approx(slope, abs=1)
    assert found.clapeyron.value == pytest.approx(np.mean(window) * 1.0 / 0.025 * GPa, rel=0.1)
    errors, models = np.array([-0.1, -0.05, 0.1, 0.0, 0.0, 0.0]), {}
    for k, e in enumerate(errors[:3]):
        model = synthetic(hysteresis_response.expansion(e, B), 380 - slope * e, seed=10 + k)
        models[f"EF {k}"] = hysteresis_scores.score(model, reference, window)
    step, exact = found.volume_step.value, Value(errors, np.full(6, 1e-3), 20)
    energy = {"solid": 0.0 * exact, "liquid": exact * (-step * GPa / 1e-3)}  # what the pressure costs, meV
    pressures = dict.fromkeys(("solid", "liquid"), exact)
    held_out = teacher.Errors({}, pressures, energy)
    own = hysteresis_scores.score(reference, reference, window)
    points = hysteresis_response.causal_points(models, held_out, own, found)
    assert points["volume"].shape == (4, 6) and points["melting"].shape == (4, 3)
    np.testing.assert_allclose(points["melting"][0], -errors[:3] * found.melting.value)
    np.testing.assert_allclose(points["energy"][0], points["melting"][0])  # Eq. 7.7 holds Eq. 7.6
    for name, phases in (("volume", 2), ("melting", 1), ("energy", 1)):
        law, _ = hysteresis_response.causal_law([points[name]], phases, 0.0)
        assert law.value == pytest.approx(1, abs=0.1) and law.n == 3 * phases
    wrong = replace(held_out, pressure={phase: -x for phase, x in pressures.items()})
    opposite = hysteresis_response.causal_points(models, wrong, own, found)
    assert hysteresis_response.causal_law([opposite["volume"]], 2, 0.0)[0].value < -0.5  # the sign matters
    scaled, _ = hysteresis_response.causal_law([points["volume"]], 2, 0.5)
    assert scaled.error == pytest.approx(scaled.value / 2, rel=0.1)  # a common error of half the prediction
    laws = hysteresis_response.laws_of({"students": points, "others": points}, found)
    (together, _), (alone, _) = laws["volume, students and others"], laws["volume"]
    assert together.n == 12 and together.value == pytest.approx(alone.value)


def test_lost_replicas_are_counted_where_they_came_too_close():
    ramps = synthetic()
    ramps.observed["shortest"][0, 3, 50:60] = 1.0
    ramps.observed["shortest"][1, 2, 70:] = np.nan
    assert ramps.lost.sum() == 2 and hysteresis_scores.score(ramps, synthetic(), (340.0, 360.0)).lost == 2
    melted = synthetic()
    melted.observed["shortest"][0, :2, 90:] = 1.0  # after melting at 380 K
    melted.observed["shortest"][0, 2, 10:] = 1.0  # before
    melted.observed["density"][0, :3, 90:] = 100.0
    reference = synthetic()
    window = melting.coexistence_window(reference.temperature, reference.observed["q6"])
    found = hysteresis_scores.score(melted, reference, window)
    assert found.melted == 7 and found.T_plus.n == 7 and abs(found.T_plus.value - 380) < 0.5
    assert found.agreement == 1 and (found.density < 1e-3).all() and found.volume_shift[0].n == 7
    left = np.isfinite(hysteresis_scores.sound_g(ramps)[..., 0])  # frames at samples 0, 20, ..., 80
    assert left[0, 3].tolist() == [True] * 3 + [False] * 2 and left[1, 2].tolist() == [True] * 4 + [False]
    assert left.sum() == 80 - 3
    D, band = hysteresis_scores.distances(ramps, reference)
    np.testing.assert_allclose(  # frames before the loss are in the mean
        D[0, 2], melting.distance(ramps.g[0, :, 2].mean(0), reference.g[0, :, 2].mean(0), dynamics.EDGES)
    )
    six = melting.permutation_band(np.delete(ramps.g[0, :, 4], 3, 0), reference.g[0, :, 4], dynamics.EDGES)
    assert band[0, 4] == six and np.isfinite(band).all()
    ramps.observed["shortest"][0, :, 70:] = 1.0
    all_lost = hysteresis_scores.distances(ramps, reference)
    assert np.isnan([x[0, 4] for x in all_lost]).all() and np.isfinite([x[0, :4] for x in all_lost]).all()
    counted = records.of_first_students({("EF 0", 15.0, 0.0): ramps})
    values = [item["value"] for item in counted.values()]
    assert values == [16, 9, T[50]]


def test_records_are_json_and_nothing_is_left_out():
    reference = synthetic()
    window = melting.coexistence_window(reference.temperature, reference.observed["q6"])
    scores = {
        f"{kind} {k}": hysteresis_scores.score(synthetic(seed=k), reference, window)
        for kind in teacher.KINDS
        for k in range(2)
    }
    found = records.of_kind("EFP", scores, hysteresis_scores.score(reference, reference, window))
    assert found["EFP: agreement of phase labels"]["value"] == 100
    of_runs = ["EFP: melting temperature", "EFP: z of the transition on heating"]
    assert {name: item["n"] for name, item in found.items() if item["n"] != 2} == {
        **dict.fromkeys(of_runs, 16),
        "EFP: shortest pair": 1,
    }
    each = scores["EFP 0"].T_plus.error  # equal in both students, whose means are equal, too
    assert found["EFP: melting temperature"]["sem"] == pytest.approx(each / 2**0.5)
    assert found["EFP: replicas that froze"]["value"] == 8
    alike = [100 * scores[f"EFP {k}"].volume_shift[0].value for k in range(2)]
    alone = melting.mean(np.array(alike)).error
    assert found["EFP: volume shift, solid"]["sem"] > alone  # the teacher's own error is in it
    plain = hysteresis_report.plain({"x": scores["EF 0"], "y": np.array([np.nan, 1.0])})
    assert plain["y"] == [None, 1.0] and plain["x"]["T_plus"]["n"] == 8
    order = np.array([0.4, 0.1])[:, None, None] * np.ones((2, 1, 10))
    observed = {"density": np.ones((2, 1, 10)), "q6": order}
    melted = {"density": 0.9 * np.ones((2, 1, 10)), "q6": np.linspace(0.45, 0.1, 10) * np.ones((2, 1, 1))}
    runs = {"teacher": observed, "direct EF 0": observed, "direct EF 1": melted, "direct EFP 0": observed}
    temperatures = np.array([[300.0], [350.0]])
    held = {name: dynamics.Plateaus(temperatures, x, np.ones((2, 1, 60))) for name, x in runs.items()}
    arrays = hysteresis_report.curves({"teacher": reference, "EF 0": synthetic(seed=1)}, held)
    assert arrays["q6"].shape == (2, 2, 8, 101) and arrays["g"].shape == (2, 2, 5, 60)
    assert arrays["plateau_density"].shape == (4, 2, 1) and arrays["distance"].shape == (1, 2, 5)
    assert (arrays["distance"] > 0).all() and arrays["band"].shape == (1, 2, 5)
    densities = records.of_plateaus(held)
    assert np.isnan(arrays["plateau_density"]).sum() == 1  # the crystal that melted
    assert densities["direct EF: density, solid, 300 K"]["value"] == 1  # without the one that melted
    assert densities["direct EF: density, liquid, 350 K"]["value"] == pytest.approx(0.95)


# ---- dynamics -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lennard_jones():
    """Stands for a potential: sodium's distances, no long tail; member() and float() as a network has."""
    potential = mb.potentials.LennardJones(epsilon=0.03, sigma=3.3, cutoff=5.0)
    potential.member = lambda m: potential
    return potential


def test_ramps_heat_crystals_and_cool_liquids(lennard_jones, monkeypatch):
    monkeypatch.setattr(dynamics, "SETTLE", 0.2)
    trajectory, stopped = dynamics.run_ramps(lennard_jones, 250, replicas=2, pressure=0.5, progress=False)
    ramps = dynamics.ramps_of(trajectory, stopped, 250)
    assert not stopped and not ramps.lost.any()
    assert len(trajectory.time) == dynamics.ramp_steps(250) // dynamics.EVERY and ramps.temperature.shape == (
        2,
        4,
    )
    np.testing.assert_allclose(ramps.temperature[:, -1], [dynamics.HEATING[1], dynamics.COOLING[1]])
    assert all(values.shape == (2, 2, 4) for values in ramps.observed.values())
    assert ramps.g.shape == (2, 2, 1, 60) and np.isfinite(ramps.g).all()
    assert (ramps.observed["q6"][0, :, 0] > 0.25).all() and (ramps.observed["q6"][1, :, 0] < 0.2).all()
    for branch in (0, 1):  # which replica is which survives the change of shapes
        series = trajectory.observed["density"][-1].numpy()
        np.testing.assert_array_equal(ramps.observed["density"][branch, :, -1], series[2 * branch :][:2])
    assert dynamics.schedule_of(np.array([0, 10]), 10).tolist() == [[*dynamics.HEATING], [*dynamics.COOLING]]


def test_a_run_that_ends_early_leaves_nan(lennard_jones, monkeypatch):
    narrow = mb.dynamics.Limits(closest=0.0, volume=(0.99999, 1.00001))
    monkeypatch.setattr(dynamics, "Limits", lambda **_: narrow)
    trajectory, stopped = dynamics.run_ramps(lennard_jones, 250, replicas=1, progress=False)
    monkeypatch.setattr(dynamics, "SETTLE", 0.0)
    ramps = dynamics.ramps_of(trajectory, stopped, 250)
    assert "volume" in stopped and ramps.lost.all()
    assert np.isnan(ramps.observed["density"][..., -1]).all() and np.isnan(ramps.g).all()


def test_snapshots_carry_the_teacher_s_labels_and_whole_replicas():
    potential = mb.ANNPotential(mb.Chebyshev(("Na",), 4.5, 3, 4.5, 2), hidden=(4,), seed=0)
    frames = [bulk("Na", "bcc", 4.3, cubic=True) * (3, 3, 3) for _ in range(16)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
    structures = mb.Structures.from_ase(frames)
    state = mb.dynamics.thermalize(structures, 300)
    twice = [x[None].repeat(2, 1, 1, 1) for x in (structures.positions, structures.cells, state.momenta)]
    trajectory = mb.dynamics.Trajectory(state, torch.zeros(0), {}, torch.arange(2.0), *twice)
    q6 = np.array([[0.4] * 16, [0.1] * 16])
    parts = by_part(teacher.snapshots(potential, trajectory, q6))
    assert [len(parts[part]) for part in ("train", "valid", "test")] == [20, 4, 8]
    owners = [{atoms.info["replica"] for atoms in parts[part]} for part in parts]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert {b < 8 for b in owners[2]} == {True, False}  # both branches are tested
    atoms = parts["train"][1]
    assert atoms.info["phase"] == "liquid" and parts["train"][0].info["phase"] == "solid"
    found = potential.evaluate(mb.Structures.from_ase(atoms))
    np.testing.assert_allclose(atoms.get_potential_energy(), float(found.energy[0]), rtol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), found.forces[0].numpy(), rtol=0, atol=1e-12)
    pressure = -atoms.get_stress()[:3].mean() / GPa
    np.testing.assert_allclose(pressure, float(found.pressure[0]) / GPa, rtol=1e-9)
    errors = teacher.errors_by_phase(potential, parts["test"])
    signed = (*errors.pressure.values(), *errors.energy.values())
    assert {x.n for x in signed} == {4}
    assert all(abs(x).max() < 1e-9 for x in (*errors.rmse.values(), *(x.value for x in signed)))


def test_real_labels_hold_no_strained_cells():
    frames = at_gamma()
    assert not any(str(atoms.info.get("kind", "")).startswith("strained") for atoms in frames)
    assert all(np.allclose(atoms.cell.angles(), 90) for atoms in frames) and len(frames) > 150


def test_jobs_are_named_apart_and_paired():
    jobs = study.jobs(study.Size(seeds=2))
    assert len({study.name_of(job) for job in jobs}) == len(jobs)
    ramps = [job["model"] for job in jobs if "rate" in job and job["pressure"] == 0]
    assert ramps[:5] == ["teacher", "EF 0", "EFP 0", "EF 1", "EFP 1"]
