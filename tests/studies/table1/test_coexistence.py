"""Crystal and melt in one box: preparation, conservation, refusals; melting temperatures of made-up runs."""

import json
from math import exp
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms

from mlipbook import bookkit, observables
from mlipbook.averages import Value
from mlipbook.dynamics import State, thermalize
from mlipbook.free_energy import PhaseChange
from mlipbook.studies.table1 import boxes, coexistence, coexistence_report
from mlipbook.studies.table1 import jobs as table1_jobs
from mlipbook.studies.table1.coexistence import BIN, jobs_of, path_of
from mlipbook.studies.table1.jobs import TEMPERATURE, member
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS
from mlipbook.units import GPa, meV

VOLUMES = {"solid": 39.52, "liquid": 40.68}
SMALL = (4, 4, 8)


@pytest.fixture(scope="module")
def potential():
    torch.set_num_threads(1)
    return coexistence.with_core(member(POTENTIALS, "128-4k", 0))


@pytest.fixture(scope="module")
def box(potential) -> State:
    return coexistence.prepared(potential, VOLUMES, 350.0, cells=SMALL)


# ---- the box -------------------------------------------------------------------------------------------


def test_each_half_has_its_volume():
    atoms, crystal = coexistence.halves(VOLUMES, SMALL)
    assert len(atoms) == 2 * 4 * 4 * 8 and int(crystal.sum()) == len(atoms) // 2
    a = (2 * VOLUMES["solid"]) ** (1 / 3)
    lengths = atoms.cell.lengths()
    assert lengths[:2] == pytest.approx([4 * a, 4 * a])
    assert lengths[2] == pytest.approx(4 * a + 128 * VOLUMES["liquid"] / (4 * a) ** 2)
    nearest = Atoms(atoms).get_all_distances(mic=True)
    np.fill_diagonal(nearest, 9)
    assert nearest.min() == pytest.approx(
        a * 3**0.5 / 2
    )  # none closer than in the crystal, also at the seams
    with pytest.raises(ValueError, match="an even number along z"):
        coexistence.halves(VOLUMES, (4, 4, 7))


@pytest.mark.slow
def test_one_half_is_crystal_and_one_is_melt(box):
    _, crystal = coexistence.halves(VOLUMES, SMALL)
    layer = (2 * VOLUMES["solid"]) ** (1 / 3)
    z, order = box.structures.positions[0, :, 2], observables.averaged_bond_order(box.structures)[0]
    inside = (z > layer) & (z < 3 * layer) & crystal  # away from the interfaces
    outside = (z > 5 * layer) & (z < 7 * layer) & ~crystal
    assert float((order[inside] > coexistence.ORDERED).double().mean()) > 0.8
    assert float((order[outside] > coexistence.ORDERED).double().mean()) < 0.2
    assert torch.equal(box.masses, box.structures.masses)  # the crystal's atoms are light again


@pytest.mark.slow
def test_energy_is_conserved_while_both_phases_stay(potential, box):
    found = coexistence.coexist(potential, box, 2 * BIN)
    names = ("temperature", "normal_pressure", "lateral_pressure", "ordered")
    assert {len(found[name]) for name in names} == {2}
    assert abs(found["energy_drift"]) < 2e-5  # eV per atom; 1 K of heat is 2.6e-4
    assert all(250 < T < 450 for T in found["temperature"])
    assert all(abs(P) < 0.5 * GPa for P in found["normal_pressure"])


@pytest.mark.parametrize("phase", ["solid", "liquid"])
def test_a_box_of_one_phase_is_refused(potential, phase):
    state = thermalize(boxes.box(phase, 128, VOLUMES[phase], 350.0), boxes.heated(phase, 320.0))
    with pytest.raises(PhaseChange, match="one phase is gone"):
        coexistence.coexist(potential, state, BIN)


# ---- jobs ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_are_kept_made_longer_and_bound_to_their_potential(tmp_path, monkeypatch, box):
    models = tmp_path / "models"
    models.mkdir()
    (models / "128-4k.npz").write_bytes(b"weights")
    monkeypatch.setattr(table1_jobs, "member", lambda *_: SimpleNamespace())
    monkeypatch.setattr(coexistence, "prepared", lambda *_, **__: box)
    monkeypatch.setattr(coexistence, "coexist", lambda *_, **__: {"temperature": [350.0]})
    jobs = jobs_of(["128-4k"])
    assert {job["start"] for job in jobs} == set(coexistence.STARTS["128-4k"])
    for job in jobs:
        coexistence.perform(job, tmp_path, 250, models, {"128-4k": VOLUMES})
    assert coexistence.unfinished(tmp_path, jobs, 500, models, {"128-4k": VOLUMES}) == jobs
    for volumes, left in ((VOLUMES, []), ({**VOLUMES, "solid": VOLUMES["solid"] + 0.01}, jobs)):
        assert coexistence.unfinished(tmp_path, jobs, 250, models, {"128-4k": volumes}) == left
    (models / "128-4k.npz").write_bytes(b"trained again")
    assert coexistence.unfinished(tmp_path, jobs, 250, models, {"128-4k": VOLUMES}) == jobs


# ---- the report ----------------------------------------------------------------------------------------

FREE = {f"volume, {s}, {p}": {"value": v, "sem": 0.01} for s in SETTINGS for p, v in VOLUMES.items()}
FREE |= {f"dU, {s}": {"value": 26.0, "sem": 0.3} for s in SETTINGS}
FREE |= {f"T_m, {s}, from 1024 atoms": {"value": 352.0, "sem": 2.0} for s in SETTINGS}
SLOPE = TEMPERATURE * (40.68 - 39.52) / (26.0 * meV)  # K per eV/A^3


def relaxing(T_m: float, start: float, length: int, noise: float, seed: int, tau: float = 30.0) -> np.ndarray:
    """Temperatures that wander about T_m as interfaces do, of each ps."""
    rng, x, found = np.random.default_rng(seed), start, []
    for _ in range(length):
        x = T_m + (x - T_m) * exp(-1 / tau) + noise * (1 - exp(-2 / tau)) ** 0.5 * rng.standard_normal()
        found.append(x)
    return np.array(found)


def made_up(T_m: dict[str, float], length: int = 80, noise: float = 5.0, pressure: float = 0.0) -> list[dict]:
    jobs = []
    for seed, job in enumerate(jobs_of()):
        T = relaxing(T_m[job["setting"]], job["start"], length, noise, seed) + SLOPE * pressure
        series = {
            "temperature": T.tolist(),
            "normal_pressure": [pressure] * length,
            "ordered": [0.4] * length,
        }
        jobs.append({**job, **series, "energy_drift": 1e-6})
    return jobs


TRUE = dict(zip(SETTINGS, (338.0, 352.0, 355.0, 350.0), strict=True))


def test_runs_that_have_not_arrived_tell_where_they_go():
    """Without noise, before one relaxation time is over: exactly; a pressure moves them along the curve."""
    out = coexistence_report.records(made_up(TRUE, 25, noise=0.0, pressure=0.1 * GPa), FREE)
    for setting, T in TRUE.items():
        assert out[f"T_m, {setting}, coexistence"]["value"] == pytest.approx(T, abs=1e-6)
    left = out[f"share of the way left after {coexistence_report.PIECE} ps"]["value"]
    assert left == pytest.approx(exp(-coexistence_report.PIECE / 30))
    assert out["T_m, 128-Gamma less 128-4k, coexistence"]["value"] == pytest.approx(-14.0, abs=1e-6)
    assert out["normal pressure, 128-4k"]["value"] == pytest.approx(0.1)


def test_errors_of_wandering_runs_are_fair():
    z = []
    for k in range(30):
        starts = {s: (T - 10, T + 10) for s, T in TRUE.items()}
        groups = np.repeat(range(4), 2)
        runs = [
            relaxing(TRUE[s], T0, 80, 5.0, 1000 * k + 2 * i + j)
            for i, s in enumerate(TRUE)
            for j, T0 in enumerate(starts[s])
        ]
        fit = coexistence_report.fitted(runs, groups)
        z += [(fit.value(g).value - T) / fit.value(g).error for g, T in enumerate(TRUE.values())]
    assert 0.75 < float(np.std(z)) < 1.35  # 1.04 to 1.2: the rate is fitted, too
    assert abs(float(np.mean(z))) < 0.4


def test_the_two_ways_are_compared_with_their_errors():
    out = coexistence_report.records(made_up(dict.fromkeys(SETTINGS, 352.0 + 60)), FREE)
    assert out["z, T_m, 128-4k: coexistence less free energies"]["value"] > 4
    assert out["T_m, mean of all: coexistence less free energies"]["sem"] > 2.0  # the common error stays
    broken = made_up(TRUE)
    for job in broken:
        if job["start"] == max(coexistence.STARTS[job["setting"]]):
            job["temperature"] = (np.array(job["temperature"]) + 40).tolist()
    out = coexistence_report.records(broken, FREE)
    assert out["z, T_m, 128-4k: from below less from above"]["value"] < -3


def test_runs_too_short_or_running_away_are_refused():
    with pytest.raises(ValueError, match="make the runs longer"):
        coexistence_report.records(made_up(TRUE, 14), FREE)
    t = np.arange(60.0)
    with pytest.raises(ValueError, match="no approach"):
        coexistence_report.fitted([350 + np.exp(t / 20), 350 - np.exp(t / 20)], [0, 0])


# ---- the stored study ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    return json.loads(bookkit.full_file("coexistence.json").read_text())


def test_stored_starts_agree_and_runs_are_whole(stored):
    numbers = stored["records"]
    for setting in SETTINGS:
        assert abs(numbers[f"z, T_m, {setting}: from below less from above"]["value"]) < 4
        assert numbers[f"T_m, {setting}, coexistence"]["sem"] < 10  # K
        assert abs(numbers[f"normal pressure, {setting}"]["value"]) < 0.1  # GPa
    assert numbers["drift of the energy, the largest"]["value"] < 0.05  # meV/atom, 0.2 K of heat
    shares = [
        numbers[f"ordered atoms at the end, the {end} share"]["value"] for end in ("smallest", "largest")
    ]
    assert coexistence.BOTH[0] < min(shares) and max(shares) < coexistence.BOTH[1]
    assert {run["atoms"] for run in stored["runs"]} == {2 * 5 * 5 * 24}
    assert not stored["provenance"]["commit"].endswith("+changes")
    assert {len(run["temperature"]) >= 20 for run in stored["runs"]} == {True}


def test_stored_melting_temperatures_are_those_of_the_free_energies(stored):
    """Independent routes: no free energy, no reference, no finite-size term in one of them."""
    free = json.loads(bookkit.full_file("delta-f.json").read_text())["records"]
    for setting in SETTINGS:
        item = stored["records"][f"T_m, {setting}, coexistence"]
        difference = Value(item["value"], item["sem"]) - coexistence_report.T_m(free, setting)
        assert abs(difference.value) < 4 * difference.error
    gamma = stored["records"]["T_m, 128-Gamma less 128-4k, coexistence"]
    assert gamma["value"] < 0  # Gamma melts first


def test_stored_jobs_have_a_name_each():
    assert len({path_of(POTENTIALS, job) for job in jobs_of()}) == 2 * len(SETTINGS)
