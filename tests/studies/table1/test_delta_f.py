"""The study behind Fig. 2 and Table 1: jobs, merging, the table, corrections of labels, perturbation."""

import json
import shutil
from dataclasses import replace
from itertools import product
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import archive, datasets
from mlipbook.free_energy import Sampling, Value, ideal_gas
from mlipbook.observables import steinhardt
from mlipbook.potentials import Einstein
from mlipbook.structures import Structures
from mlipbook.studies.k_points.equations import blank, differences, fit_correction
from mlipbook.studies.sodium import LIQUID_Q6
from mlipbook.studies.table1 import boxes, fit_errors, perturbation
from mlipbook.studies.table1 import jobs as table1_jobs
from mlipbook.studies.table1 import potentials as k_point_potentials
from mlipbook.studies.table1 import readings as delta_f_results
from mlipbook.studies.table1 import report as delta_f_report
from mlipbook.studies.table1 import runs as delta_f
from mlipbook.studies.table1.runs import PHASES, REFERENCE, SEEDS, SETTINGS, jobs_of, path_of
from mlipbook.units import kB, meV

T = delta_f.TEMPERATURE
SHIFTS = dict(zip(SETTINGS, (-1.8e-3, 0.0, 0.4e-3, 0.3e-3), strict=True))  # eV/atom, what the jobs "find"
DELTA = -0.7e-3  # of the reference
FINITE = {f"melt minus crystal, {n} atoms": Value(0.0128 / n, 1e-5) for n in (128, 1024)}


# ---- the runs ------------------------------------------------------------------------------------------


def einstein(spring: float, atoms: int = 54, volume: float = 40.0) -> Einstein:
    return Einstein(Structures.from_ase(boxes.crystal(atoms, volume)).positions, spring)


@pytest.mark.slow
def test_difference_of_two_einstein_crystals_is_the_exact_one():
    options = {"sampling": Sampling(0.0, 1500, replicas=4, equilibration=400), "progress": False}
    found = delta_f.difference(einstein(0.4), einstein(0.2), "solid", T, atoms=54, volume=40.0, **options)
    value, error = found["difference"]
    exact = 1.5 * (53 / 54) * kB * T * log(2)
    assert error < 0.02 * exact
    assert abs(value - exact) < 4 * error


@pytest.mark.filterwarnings("ignore:the series at lambda")
def test_a_job_leaves_one_file_and_is_not_done_again(tmp_path, monkeypatch):
    potentials(tmp_path / "models")
    monkeypatch.setattr(table1_jobs, "member", lambda *_: einstein(0.5))
    jobs = jobs_of("free energy", ["128-4k"], [0], ["solid"], atoms=[54])
    sampling = replace(delta_f.SAMPLING, error=0.0, max_steps=400, equilibration=400)
    options = {"potentials": tmp_path / "models", "sampling": sampling}
    with pytest.raises(RuntimeError, match="run `volume` first"):
        delta_f.run(tmp_path, jobs, **options)
    volume = jobs_of("volume", ["128-4k"], [0], ["solid"])[0]
    write(tmp_path, volume, tmp_path / "models", volume=[39.996, 0.1])
    delta_f.run(tmp_path, jobs, **options)
    assert delta_f.unfinished(tmp_path, jobs, **options) == []
    other = replace(sampling, error=5e-324)
    assert delta_f.unfinished(tmp_path, jobs, tmp_path / "models", other) == jobs
    found = archive.read_json(path_of(tmp_path, jobs[0]))
    assert found["volume"] == 40.0
    assert {"lambda", "difference", "variance", "autocorrelation_time_fs", "lowest_q6"} <= set(
        found["windows"][0]
    )
    potentials(tmp_path / "models", content=b"trained again")
    assert delta_f.unfinished(tmp_path, jobs, **options) == jobs


def test_volumes_of_other_potentials_are_refused(tmp_path):
    """One of three seeds is left from before the training."""
    old, new = (potentials(tmp_path / name, name.encode()) for name in ("old", "new"))
    for job, models in zip(jobs_of("volume", ["128-4k"], phases=["solid"]), (new, old, new), strict=True):
        write(tmp_path, job, models, volume=[40.0 + job["seed"], 0.1])
    wanted = jobs_of("free energy", ["128-4k"], [0], ["solid"])[0]
    with pytest.raises(ValueError, match=r"seed-1_.*of other potentials than .*run `volume` again"):
        delta_f.volume_at(tmp_path, wanted, new)
    write(tmp_path, jobs_of("volume", ["128-4k"], [1], ["solid"])[0], new, volume=[40.1, 0.1])
    assert delta_f.volume_at(tmp_path, wanted, new) == pytest.approx((40.0 + 40.1 + 42.0) / 3, abs=0.005)


def test_starts_have_the_volume_and_the_phase():
    for phase in PHASES:
        for atoms in boxes.starts(phase, 2, 41.5, T):
            assert atoms.cell.volume / len(atoms) == pytest.approx(41.5)
    large = Structures.from_ase([boxes.box("liquid", 1024, 41.0, T)])
    assert large.n_atoms == 1024
    assert float(steinhardt(large)[0]) < LIQUID_Q6
    with pytest.raises(ValueError, match="54 atoms of liquid"):
        boxes.box("liquid", 54, 41.0, T)
    with pytest.raises(ValueError, match="100 atoms are no cube of bcc cells"):
        boxes.crystal(100, 40.0)


def test_the_reference_has_no_difference_from_itself():
    jobs = jobs_of("difference")
    assert len(jobs) == 2 * (len(SETTINGS) * len(SEEDS) - 1)
    assert not [job for job in jobs if (job["setting"], job["seed"]) == REFERENCE]


# ---- the table -----------------------------------------------------------------------------------------


def potentials(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir(exist_ok=True)
    for setting in SETTINGS:
        (folder / f"{setting}.npz").write_bytes(content + setting.encode())
    return folder


def write(folder: Path, job: dict, models: Path, **found) -> None:
    folder.mkdir(exist_ok=True)
    made = {"potential": table1_jobs.fingerprint(models, job), "device": "cpu", "cpu_seconds": 1.0}
    path_of(folder, job).write_text(json.dumps({**job, **made, **found}))


def finished(folder: Path, models: Path, melt: float = 0.0) -> Path:
    """All jobs at 350 K, as if they had found SHIFTS and DELTA without noise; melt: added to liquids, eV."""
    V = {"solid": 39.9, "liquid": 41.0}
    for job in jobs_of("volume"):
        energy = [-26.1 + 0.025 * (job["phase"] == "liquid"), 1e-4]
        write(folder, job, models, volume=[V[job["phase"]], 0.02], energy=energy)
    for job in jobs_of("difference"):
        value = SHIFTS[job["setting"]] * (job["phase"] == "liquid")
        found = {"difference": [value, 1e-5], "pressure": [0.0, 1e-5], "windows": []}
        write(folder, job, models, **found, volume=V[job["phase"]])
    for job in jobs_of("free energy", atoms=[128, 1024]):
        liquid = job["phase"] == "liquid"
        F = -26.3 + (DELTA + SHIFTS[job["setting"]] + melt) * liquid
        found = {"terms": {"all": [F, 1e-4]}, "energy": [F + 0.2, 1e-4], "pressure": [0.0, 1e-5]}
        write(folder, job, models, **found, volume=V[job["phase"]], parameters={}, windows=[])
    return folder


def test_table_returns_what_the_jobs_found(tmp_path):
    models = potentials(tmp_path / "models")
    out = delta_f_report.records(delta_f_results.Found(finished(tmp_path / "F", models), models), FINITE)
    for setting, atoms in product(SETTINGS, (128, 1024)):
        dF = out[f"dF, {setting}, {atoms} atoms"]
        assert dF["value"] == pytest.approx((DELTA + SHIFTS[setting]) / meV)
        assert dF["sem"] < out[f"dF, {setting}, {atoms} atoms, direct"]["sem"]
    assert out["dF, 128-Gamma, 128 atoms, less the paper's"]["value"] == pytest.approx(-2.5 + 2.47)
    assert out["size effect, 1024 less 128 atoms"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert out["size effect, 1024 less 128 atoms, predicted"]["value"] == pytest.approx(0.0125 - 0.1)
    assert out["chi^2 per degree of freedom, 128 atoms"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert out["dF, 128-4k, 128 atoms, less finite-size terms"]["value"] == pytest.approx(-0.8)
    # dS = (dU - dF)/T: T_m = T + dF/dS
    assert out["T_m, 128-4k, from 128 atoms"]["value"] == pytest.approx(T * (1 - 0.8 / 25.8))


def test_windows_in_which_a_drift_hides_are_counted(tmp_path):
    """50 fs of memory: 4 ps are too short, 6 ps are not; lambda = 1 has no weight in the integral."""
    models = potentials(tmp_path / "models")
    folder = finished(tmp_path / "F", models)
    path = path_of(folder, jobs_of("free energy", ["128-4k"], [0], ["liquid"])[0])
    windows = [
        {"weight": w, "time_per_copy_ps": t, "autocorrelation_time_fs": 50.0, "highest_q6": 0.1}
        for w, t in ((0.5, 4.0), (0.5, 6.0), (0.0, 1.0))
    ]
    path.write_text(json.dumps(archive.read_json(path) | {"windows": windows}))
    out = delta_f_report.records(delta_f_results.Found(folder, models), FINITE)
    counted = out["free energy, liquid: windows of less than 100 autocorrelation times"]
    assert (counted["value"], counted["n"]) == (1, 2)
    assert not [name for name in out if name.startswith("difference") and "windows" in name]


def test_energies_shifted_in_one_phase_shift_the_difference(tmp_path):
    models = potentials(tmp_path / "models")
    plain, moved = (
        delta_f_results.Found(finished(tmp_path / name, models, melt), models)
        for name, melt in (("plain", 0.0), ("moved", 0.003))
    )
    shift = moved.delta("128-32k", 1, 128).value - plain.delta("128-32k", 1, 128).value
    assert shift == pytest.approx(0.003)


def test_pressure_that_is_left_lowers_F(tmp_path):
    models = potentials(tmp_path / "models")
    folder = finished(tmp_path / "F", models)
    job = jobs_of("free energy", ["128-4k"], [0], ["solid"])[0]
    before = delta_f_results.Found(folder, models).F("128-4k", 0, "solid", 128, T).value
    found = archive.read_json(path_of(folder, job))
    P = 0.01 * delta_f_results.BULK_MODULUS  # a volume that is off by one per cent
    path_of(folder, job).write_text(json.dumps({**found, "pressure": [P, 1e-6]}))
    after = delta_f_results.Found(folder, models).F("128-4k", 0, "solid", 128, T).value
    assert before - after == pytest.approx(0.5 * P * 0.01 * 39.9)


def test_folders_of_two_machines_merge(tmp_path):
    models = potentials(tmp_path / "models")
    whole = finished(tmp_path / "whole", models)
    merged = tmp_path / "merged"
    merged.mkdir()
    for atoms in (128, 1024):
        for path in whole.glob(f"*_{atoms}-atoms_*.json"):
            shutil.copy(path, merged)
    first, second = (
        delta_f_report.records(delta_f_results.Found(f, models), FINITE) for f in (whole, merged)
    )
    assert first == second


def test_missing_and_foreign_jobs_are_refused(tmp_path):
    models = potentials(tmp_path / "models")
    folder = finished(tmp_path / "F", models)
    path_of(folder, jobs_of("free energy", ["128-32k"], [2], ["solid"])[0]).unlink()
    with pytest.raises(KeyError, match="free energy, 128-32k, seed 2, solid, 128 atoms, 350 K: not in"):
        delta_f_report.records(delta_f_results.Found(folder, models), FINITE)
    with pytest.raises(ValueError, match="of other potentials"):
        delta_f_results.Found(folder, potentials(tmp_path / "others", b"others"))


@pytest.mark.parametrize(("atoms", "q6", "liquid"), [(128, 0.13, True), (1024, 0.13, False)])
def test_liquids_that_crystallize_are_refused(tmp_path, atoms, q6, liquid):
    models = potentials(tmp_path / "models")
    folder = finished(tmp_path / "F", models)
    path = path_of(folder, jobs_of("free energy", ["128-4k"], [0], ["liquid"], atoms=[atoms])[0])
    path.write_text(json.dumps(archive.read_json(path) | {"windows": [{"highest_q6": q6}]}))
    if liquid:
        delta_f_results.Found(folder, models)
    else:
        with pytest.raises(ValueError, match="it has begun to crystallize"):
            delta_f_results.Found(folder, models)


def test_soft_spheres_are_taken_from_the_present_table():
    job = {"terms": {"ideal gas to soft core": [1.0, 1.0]}, "parameters": {"y": 0.5}, "atoms": 128}
    found = delta_f_results.terms({**job, "temperature": T})["ideal gas to soft core"]
    assert 0.05 < found.value < 0.2 and found.error < 1e-3


def test_error_of_soft_spheres_is_not_averaged_away(tmp_path):
    models = potentials(tmp_path / "models")
    folder = finished(tmp_path / "F", models)
    for job in jobs_of("free energy", phases=["liquid"]):
        path = path_of(folder, job)
        found = archive.read_json(path)
        found["terms"][delta_f_results.COMMON] = [0.0, 0.0]
        path.write_text(json.dumps(found | {"parameters": {"y": 0.7}}))
    found = delta_f_results.Found(folder, models)
    common = found.common_error(128).error
    assert common > 1e-5
    own, relative = delta_f_report.table(found, 128)
    assert own["128-Gamma"].error >= common
    assert relative["128-Gamma"].error < 2e-5
    assert found.F("128-Gamma", 0, "liquid", 128, T).error == pytest.approx(1e-4)


def test_potentials_are_compared_with_their_labels(tmp_path):
    models = potentials(tmp_path / "models")
    found = delta_f_results.Found(finished(tmp_path / "F", models), models)
    names = ("Gamma minus 4k", "labels minus potential, 128-Gamma", "labels minus potential, 128-4k")
    perturbed = {
        f"{name}, liquid minus solid: sum": {"value": value, "sem": 0.1}
        for name, value in zip(names, (-1.4, 0.3, 0.2), strict=True)
    }
    out = delta_f_report.label_records(found, FINITE, perturbed)
    z = out["z, dF, 128-Gamma less 128-4k at its volumes: potentials less labels"]["value"]
    assert z == pytest.approx((-1.8 + 1.4) / 0.1, rel=1e-2)
    title = "dF, 128-4k, 128 atoms, less finite-size terms, brought to the labels"
    assert out[title]["value"] == pytest.approx(-0.7 - 0.1 + 0.2)


def test_weighted_mean_and_scatter():
    best, chi2 = delta_f_results.weighted([Value(1.0, 0.1), Value(1.4, 0.2)])
    assert best.value == pytest.approx(1.08)
    assert best.error == pytest.approx(0.1 / 1.25**0.5)
    assert chi2 == pytest.approx(0.4**2 / 0.05)
    assert delta_f_results.mean([Value(0.0, 0.1), Value(1.0, 0.1)]).error == pytest.approx(0.5)


def test_gibbs_helmholtz_slope_of_an_ideal_gas():
    temperatures = np.array([349.0, 350.0, 351.0])
    F = [Value(ideal_gas(100, 4000.0, 22.99, t) / t, 1e-9) for t in temperatures]
    assert delta_f_results.straight(1 / temperatures, F).value == pytest.approx(1.5 * kB * T, rel=1e-5)


# ---- labels and potentials -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few() -> list[Atoms]:
    return datasets.load("na-8k")[:4]


def test_a_linear_difference_of_labels_is_learned_exactly(few):
    correction, _ = blank(few)
    weights = next(iter(correction.networks.values())).weights[0]
    with torch.no_grad():
        weights.copy_(torch.linspace(-1e-3, 1e-3, weights.numel(), dtype=weights.dtype).view_as(weights))
    many = k_point_potentials.corrected(few, correction)
    again = k_point_potentials.corrected(few, fit_correction(differences(many, few)))
    size = np.std([a.get_forces() - b.get_forces() for a, b in zip(many, few, strict=True)])
    assert size > 1e-4
    for a, b in zip(again, many, strict=True):
        assert a.info["label"] == "corrected"
        assert abs(a.get_forces() - b.get_forces()).max() < 1e-3 * size
        assert a.get_potential_energy() == pytest.approx(b.get_potential_energy(), abs=1e-5)


def test_settings_learn_the_same_structures(few):
    other = few[0].copy()
    other.info["frame"], other.calc = "without 4k", few[0].calc
    large = few[0].copy()
    large.info["frame"], large.calc = "large", few[0].calc
    labels = {"Gamma": [*few, other], "4k": few, "8k": few[:3], "32k": few[1:], "1024-Gamma": [large]}
    kinds = {}
    for setting in SETTINGS:
        frames = k_point_potentials.frames_of(setting, labels)
        small = [atoms.info["frame"] for atoms in frames if atoms.info["frame"] != "large"]
        assert sorted(small) == sorted(atoms.info["frame"] for atoms in few)
        kinds[setting] = sorted(atoms.info["label"] for atoms in frames)
    assert kinds["128-Gamma"] == kinds["128-4k"] == ["direct"] * 4
    assert kinds["128-32k"] == ["corrected"] + ["direct"] * 3
    assert kinds["1024-Gamma"] == ["corrected"] * 4 + ["direct"]
    with pytest.raises(ValueError, match="setting '128-5k'"):
        k_point_potentials.frames_of("128-5k", labels)


def test_phase_shift_is_liquid_less_solid():
    energy = np.array([[1.0, 1.2, 3.0, 3.4]])
    shift, sem = fit_errors.phase_shift(energy, np.array([1, 1, 0, 0], bool))
    assert shift == pytest.approx([2.1])
    assert sem == pytest.approx(np.hypot(0.1, 0.2))


# ---- perturbation --------------------------------------------------------------------------------------


def labeled(phase: str, k: int, energy: float) -> Atoms:
    atoms = boxes.crystal(54, 40.0)
    atoms.info |= {"frame": f"{phase}{k}", "phase": phase}
    zero = {"forces": np.zeros((54, 3)), "stress": np.zeros(6)}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, **zero)
    return atoms


def test_perturbation_adds_the_second_cumulant():
    rng = np.random.default_rng(0)
    spread = {"solid": 0.01, "liquid": 0.02}  # eV of all atoms
    u = {phase: rng.normal(0.3, width, 12) for phase, width in spread.items()}
    four = [labeled(phase, k, 0.0) for phase in PHASES for k in range(12)]
    gamma = [labeled(phase, k, u[phase][k]) for phase in PHASES for k in range(12)]
    title = "Gamma minus 4k"
    out = perturbation.perturbed(gamma, four, four, T, title)
    for phase in PHASES:
        exact = (u[phase].mean() - u[phase].var(ddof=1) / (2 * kB * T)) / 54
        assert out[f"{title}, {phase}: sum"]["value"] == pytest.approx(exact / meV)
    moved = [labeled("solid", k, u["solid"][k]) for k in range(12)]
    moved += [labeled("liquid", k, u["liquid"][k] + 0.054) for k in range(12)]
    shift = f"{title}, liquid minus solid: sum"
    again = perturbation.perturbed(moved, four, four, T, title)
    assert again[shift]["value"] - out[shift]["value"] == pytest.approx(1.0)


def test_second_order_is_exact_for_gaussian_energies_of_another_ensemble():
    """A - X and B - X normal: difference of means less half that of the variances over kT."""
    rng, kT = np.random.default_rng(1), 1.0
    x = rng.normal(size=200_000)
    energies = np.stack([3 + 0.5 * x, 1 - 0.3 * x, np.zeros_like(x)])
    orders = perturbation.second_order(energies[:, :2000], kT)
    exact = 2 - (0.25 - 0.09) / 2
    value, error = orders.value[2], orders.error[2]
    assert abs(value - exact) < 4 * error and error < 0.05
    direct = -np.log(np.exp(-energies[0]).mean() / np.exp(-energies[1]).mean())
    assert direct == pytest.approx(exact, abs=0.02)
