"""The conductivity study reads its runs rightly, and what is stored says what the book says."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from conftest import ann

import mlipbook as mb
from mlipbook.dynamics import thermalize
from mlipbook.heat import green_kubo, predicted_error
from mlipbook.potentials import AgSe
from mlipbook.potentials.ann import MemberPerReplica
from mlipbook.studies.conductivity import fits, readings, report
from mlipbook.studies.conductivity import runs as study
from mlipbook.studies.conductivity.silver_selenide import crystal, label
from mlipbook.units import fs

LAG = 75 * fs
STORED = Path(__file__).parents[3] / "results" / "full"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two replicas of the reference for 60 steps, in equilibrium and under all fields."""
    folder = tmp_path_factory.mktemp("runs")
    start = np.load(STORED / "ag2se" / "starts.npz")["positions"][:2]
    study.keep(folder / "starts.npz", {"positions": torch.as_tensor(start)})
    with pytest.MonkeyPatch.context() as change:
        change.setattr(study, "SETTLE", 15 * fs)
        change.setattr(study, "LAG", LAG)
        change.setattr(readings, "GAUGE_LAG", 60 * fs)
        change.setattr(study, "BLOCK", 2)
        for name in ("equilibrium-reference", "heat-reference"):
            study.run(name, folder, 48)
            study.run(name, folder, 48)  # not again
            with pytest.raises(ValueError, match=rf"{name}.npz: of something else, whose steps is 48 "):
                study.run(name, folder, 51)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equilibrium-reference", "heat-reference"])
def test_a_run_in_parts_goes_on_after_a_cut_and_keeps_replicas_model_by_model(
    runs, short, monkeypatch, tmp_path, name
):
    """Two starts, one after the other."""
    monkeypatch.setattr(study, "BLOCK", 2)
    for file in ("starts.npz", "equilibrium-reference.npz"):
        if file != f"{name}.npz":
            (tmp_path / file).symlink_to(runs / file)
    copies = study.RUNS[name].copies
    first = study.part(name, tmp_path, 48, "cpu", slice(0, 1))
    study.keep(tmp_path / f"{name}, 0 to 1 of 2.npz", {**first, "seconds": -100.0})  # it is not made again
    own = study.joined([np.load(tmp_path / f"{name}, 0 to 1 of 2.npz")], copies)
    with pytest.warns(UserWarning, match="0 to 1 of 2.npz: nothing tells what it was made of"):
        study.run(name, tmp_path, 48, parts=2)
    assert list(tmp_path.glob("*of 2.npz")) == []
    parts, whole = (np.load(folder / f"{name}.npz") for folder in (tmp_path, runs))
    for key in study.AXES.keys() & set(whole):
        assert parts[key].shape == whole[key].shape
    assert parts["seconds"] < 0
    at = np.arange(0, 2 * copies, 2)  # the first replica of each model
    for key in study.AXES.keys() & set(whole):
        taken = np.take(parts[key], at, study.AXES[key])
        assert taken == pytest.approx(np.asarray(own[key]), rel=1e-6), key
    if "field" in whole:
        assert parts["field"] == pytest.approx(whole["field"])


@pytest.mark.slow
def test_a_run_under_a_field_is_refused_beside_another_equilibrium(runs, tmp_path):
    """The heat h that was taken off would not be that of the equilibrium."""
    folder = shutil.copytree(runs, tmp_path / "runs")
    found = dict(np.load(folder / "equilibrium-reference.npz"))
    found["correlations"][0, 1, 0, 0] *= 1 + 1e-6
    study.keep(folder / "equilibrium-reference.npz", found)
    with pytest.raises(ValueError, match="heat-reference.npz: of something else, whose equilibrium is"):
        study.run("heat-reference", folder, 48)


def test_broken_replicas_keep_their_numbers_when_parts_are_joined():
    """Three models; parts with two replicas and one of each; the second part's one of model 1 broke."""
    one = {"lasted": np.ones(6, dtype=bool), "broken": np.array([[3.0, 7.0]])}
    two = {"lasted": np.array([True, False, True]), "broken": np.array([[1.0, 9.0]])}
    rest = {"steps": 9, "timestep": 1.0, "seconds": 2.0, "commit": "a"}
    one["lasted"][3] = False
    whole = study.joined([one | rest, two | rest], 3)
    assert whole["lasted"].tolist() == [True, True, True, True, False, False, True, True, True]
    assert whole["broken"].tolist() == [[4.0, 7.0], [5.0, 9.0]] and whole["seconds"] == 4.0
    with pytest.raises(ValueError, match="differ in steps"):
        study.joined([one | rest, two | rest | {"steps": 8}], 3)


@pytest.mark.slow
def test_stored_correlations_give_the_integrals_of_the_series(runs):
    found = np.load(runs / "equilibrium-reference.npz")
    interval, volume, T = (float(found[x].mean()) for x in ("interval", "volume", "temperature"))
    direct = green_kubo(found["flux"], interval, volume, T, LAG, found["current"])
    kappa, _, corrected, _, h, _ = readings.integrals(found, slice(0, 2), "I")
    torch.testing.assert_close(kappa, direct.kappa, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(corrected, direct.corrected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(h, direct.enthalpy, rtol=1e-3, atol=1e-3)


def test_pairs_have_one_conductivity_by_all_definitions(runs):
    found = np.load(runs / "equilibrium-reference.npz")
    by = [readings.integrals(found, slice(0, 2), X)[0] for X in study.DEFINITIONS]
    torch.testing.assert_close(by[0], by[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by[0], by[2], rtol=1e-4, atol=1e-6)


def test_replicas_are_driven_by_the_fields_in_their_order(runs):
    found = np.load(runs / "heat-reference.npz")
    assert found["flux"].shape[1:] == (2 * len(study.REFERENCE_FIELDS), 3)
    strengths = [strength for strength, _ in study.REFERENCE_FIELDS.values()]
    expected = study.FIELD * np.repeat(strengths, 2)
    assert found["field"][:, 0] == pytest.approx(expected, rel=1e-6)
    part = readings.response(found, slice(2, 4))
    assert part.flux.shape[1] == 2
    assert float(part.field[0, 0]) == pytest.approx(-study.FIELD, rel=1e-6)


# ---- the runs themselves -------------------------------------------------------------------------------


def tiny(members: int) -> mb.ANNPotential:
    return ann(mb.Structures.from_ase(small(1)), members=members).float()


def small(replicas: int) -> list[Atoms]:
    frames = []
    for seed in range(replicas):
        atoms = crystal(2)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return frames


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(study, "SETTLE", 15 * fs)
    monkeypatch.setattr(study, "LAG", LAG)
    monkeypatch.setattr(readings, "GAUGE_LAG", 60 * fs)


@pytest.mark.slow
def test_the_flux_of_the_reference_is_taken_along_the_trajectories_of_the_fits(short):
    """Two replicas of each of two tiny networks; and of the reference itself, where it is flux I."""
    state = thermalize(mb.Structures.from_ase(small(4)), 500.0, seed=3)
    found = study.equilibrium(MemberPerReplica(tiny(2)), state, 48, AgSe())
    assert found["correlations"].shape == (4, 6, 4, 4)
    assert (found["steps"], found["timestep"]) == (48, study.TIMESTEP)
    assert found["lasted"].all() and len(found["broken"]) == 0
    own = readings.replicas_of(found, 2)[1]
    kappa = {X: readings.integrals(found, own, X)[2] for X in readings.fluxes_of(found)}
    assert set(kappa) == {"I", "II", "III", "J_ref"}
    paired = readings.paired(found, 2)
    assert list(paired["less J_ref"]) == ["I", "II", "III"] and list(paired["less I"]) == ["II", "III"]
    for X, values in paired["less J_ref"].items():
        assert values["kappa"][1] == pytest.approx(float((kappa[X] - kappa["J_ref"])[-2]), rel=1e-9)
    table = readings.readings_of(found, 2, np.array([0.3, -0.2]))
    assert table["zero mass current"]["J_ref"]["kappa"][1] == pytest.approx(float(kappa["J_ref"][-2]))
    assert table["matched energies"]["J_ref"] == table["as trained"]["J_ref"]
    same = study.equilibrium(AgSe(), state, 48, AgSe())
    for k in (0, 1):
        torch.testing.assert_close(same["correlations"][..., k], same["correlations"][..., 3])
    assert readings.paired(same, 2)["less J_ref"]["I"]["kappa"] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_where_ions_collide_the_flux_of_the_reference_is_not_read(short):
    """The reference as its own fit: flux I is its own, but along one replica, where the latter explodes."""
    state = thermalize(mb.Structures.from_ase(small(8)), 500.0, seed=3)
    found = study.equilibrium(AgSe(), state, 48, AgSe())
    found["correlations"] = found["correlations"].numpy().copy()
    assert [list(own) for own in readings.undisturbed(found, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    found["correlations"][1, :, :, 3] *= 100
    found["correlations"][1, :, 3, :] *= 100
    assert [list(own) for own in readings.undisturbed(found, 2)] == [[0, 2, 3], [4, 5, 6, 7]]
    assert readings.paired(found, 2)["less J_ref"]["I"]["kappa"] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert abs(readings.less(found, slice(0, 4), "I", "J_ref").value) > 0.1  # W/m/K


def test_runs_without_the_flux_of_the_reference_say_so():
    found = dict(np.load(STORED / "ag2se" / "equilibrium-students.npz"))
    found["correlations"] = found["correlations"][..., :3, :3]
    assert readings.fluxes_of(found) == study.DEFINITIONS
    assert list(readings.paired(found, len(study.MODELS))) == ["less I"]
    with pytest.raises(ValueError, match="kept I, II, Ag, not all of J_ref"):
        readings.integrals(found, slice(0, 24), "J_ref")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mlipbook.potentials.CloserThanTrained")
def test_a_replica_whose_ions_fall_onto_each_other_is_left_out(short):
    """The limit is four fifths of the closest trained pair; the others do as in a run without a limit."""
    potential = AgSe()
    potential.shortest = {("Ag", "Ag"): 2.2, ("Ag", "Se"): 2.4, ("Se", "Se"): 3.5}
    state = thermalize(mb.Structures.from_ase(small(6)), 500.0, seed=3)
    push = torch.zeros_like(state.momenta)
    push[4, 2:4, 2] = torch.tensor([12.0, -12.0]).double()  # silver of the second model, neighbors along z
    state = replace(state, momenta=state.momenta + push)
    found = study.equilibrium(potential, state, 48)
    assert found["lasted"].tolist() == [True, True, True, True, False, True]
    assert [list(own) for own in readings.replicas_of(found, 2)] == [[0, 1, 2], [3, 5]]
    assert set(found["broken"][:, 0].tolist()) == {4}
    potential.shortest = {}
    all_of_them = study.equilibrium(potential, state, 48)
    assert all_of_them["lasted"].all()
    one, other = (readings.integrals(x, np.array([3, 5]), "I")[0] for x in (found, all_of_them))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_broken_replicas_of_a_run_under_a_field_are_left_out():
    fluxes = torch.arange(2 * 6 * 3).view(2, 6, 3)
    found = {"flux": fluxes, "lasted": torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.bool).numpy()}
    assert [list(own) for own in readings.replicas_of(found, 3)] == [[0, 1], [3], [4, 5]]


def test_fits_get_a_repulsion_that_begins_where_their_data_end(tmp_path):
    frames = [label(atoms) for atoms in small(3)]
    for name, part in (("train", frames[:2]), ("valid", frames[2:]), ("test", frames[2:])):
        ase.io.write(tmp_path / f"{name}.xyz", part)
    study.keep(tmp_path / "starts.npz", {"positions": torch.zeros(1, 3)})
    with pytest.warns(UserWarning, match=r"(test.xyz|starts.npz): nothing tells what it was made of"):
        fits.prepare(tmp_path, 1, 1)
    potential = mb.load(tmp_path / "potentials.npz")
    distances = [atoms.get_all_distances(mic=True)[~np.eye(len(atoms), dtype=bool)] for atoms in frames[:2]]
    assert potential.repulsion_cutoff == pytest.approx(np.min(distances), rel=1e-7)  # as written
    assert min(potential.shortest.values()) == pytest.approx(potential.repulsion_cutoff)
    pair = Atoms("Ag2", [[0.0, 0, 0], [0.7 * potential.repulsion_cutoff, 0, 0]])
    free = mb.load(tmp_path / "potentials.npz")
    free.repulsion = None
    potential.shortest = free.shortest = {}
    repelled, bare = (p.evaluate(mb.Structures.from_ase(pair)).forces for p in (potential, free))
    assert bool((repelled[:, 0, 1, 0] - bare[:, 0, 1, 0] > 1.0).all())  # eV/A


# ---- what is stored ------------------------------------------------------------------------------------


def stored() -> dict:
    return json.loads((STORED / "conductivity.json").read_text())


def test_the_corrected_conductivity_is_the_same_in_every_gauge():
    found = np.load(STORED / "ag2se" / "equilibrium-students.npz")
    part = readings.replicas_of(found, len(study.MODELS))[7]
    as_trained, shifted = (readings.integrals(found, part, "I", c) for c in (0.0, 1.3))
    assert float((as_trained[0] - shifted[0]).abs().max()) > 0.1
    torch.testing.assert_close(as_trained[2], shifted[2], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        shifted[4] - as_trained[4], torch.full_like(shifted[4], 1.3), rtol=1e-2, atol=0
    )


@pytest.mark.slow
def test_what_is_stored_is_what_the_stored_runs_say():
    """All numbers that come from runs."""
    content, folder = stored(), STORED / "ag2se"
    runs = {name: np.load(folder / f"{name}.npz") for name in study.RUNS if (folder / f"{name}.npz").exists()}
    found = report.equilibrium_part(
        runs["equilibrium-reference"], runs["equilibrium-students"], content["atomic_energies"]
    )
    driven = report.driven_part(runs, found["reference"])
    found["lengths"] |= driven.pop("lengths")
    long = json.loads((STORED / "reference-hnemd.json").read_text())["records"]
    fits, own = report.under_a_field(driven, long)
    found["readings"]["under a field"], found["reference"]["under a field"] = fits, own
    for name, part in (found | driven).items():
        assert flat(content[name]) == pytest.approx(flat(part), rel=1e-9), name


def flat(content, path: str = "") -> dict[str, float]:
    """Path in the nested dictionaries and lists -> number, of those that are numbers."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: x for k, value in items for key, x in flat(value, f"{path}/{k}").items()}
    return {path: content} if isinstance(content, float | int) else {}


def test_only_stress_training_fixes_the_mean_stress_and_both_fix_its_fluctuations():
    errors = stored()["errors"]
    ef, efp = (report.of_kind(errors["stress"], kind) for kind in ("EF", "EFP"))
    assert ef.min() > 0.47 > efp.max()  # GPa; the paper's bound for its five EF-fits
    assert report.of_kind(errors["fluctuating stress"], "EF").max() < 0.02


def test_the_definitions_of_a_fit_differ_on_the_same_trajectories():
    """II and III below I, as III is the mean of both fluxes; single fits by more than two errors, means of
    five by more than five.
    """
    found = stored()["readings"]["less I"]
    for X in ("II", "III"):
        values, errors = (np.array(found[X][key]) for key in ("kappa", "error"))
        assert (values < -2 * errors).all()
        for kind in ("EF", "EFP"):
            own, noise = (report.of_kind(list(x), kind) for x in (values, errors))
            error = max(own.std(ddof=1), np.sqrt(np.mean(noise**2))) / len(own) ** 0.5
            assert own.mean() < -5 * error


def test_only_definition_I_gives_the_conductivity_of_the_reference():
    """Under the field, mean of ten fits; errors from scatter or run noise, whichever is larger."""
    content = stored()
    values, reference = content["readings"]["under a field"], content["reference"]["under a field"]
    z = {}
    for X, found in values.items():
        kappa, noise = np.array(found["kappa"]), np.sqrt(np.mean(np.square(found["error"])))
        error = max(noise, kappa.std(ddof=1)) / len(kappa) ** 0.5
        z[X] = (kappa.mean() - reference["kappa"]) / np.hypot(error, reference["error"])
    assert abs(z["I"]) < 2
    assert z["II"] < z["III"] < -4


@pytest.mark.parametrize("X", study.DEFINITIONS)
def test_stored_runs_of_the_fits_under_the_field_are_long_and_behave(X):
    """Half a nanosecond each; the error that was predicted, nothing across, the set temperature."""
    content = stored()
    found, length = content[f"heat-students-{X}"], content["lengths"][f"heat-students-{X}"]
    assert length["replicas"] * length["ps"] > 500
    predicted = np.array(found["predicted_error"])
    ratio = np.sqrt(np.mean(np.square(found["error"]))) / predicted.mean()
    assert 0.7 < ratio < 1.4  # 120 replicas tell an error to some 7 %; the predicted one is for small fields
    across = np.array(found["across"]) / found["across_error"]
    assert abs(across.mean()) < 4 / len(across) ** 0.5 and abs(across).max() < 4
    assert found["temperature"] == pytest.approx(np.full(10, 500.0), abs=0.5)


def test_type_I_is_the_reference_s_flux_along_the_same_trajectories():
    """Mean of ten fits, W/m/K; II and III are not."""
    found = stored()["readings"]["less J_ref"]
    mean = {X: np.mean(x["kappa"]) for X, x in found.items()}
    error = {X: np.sqrt(np.mean(np.square(x["error"])) / 10) for X, x in found.items()}
    assert abs(mean["I"]) < 0.005 + 2 * error["I"] and error["I"] < 0.005
    for X in ("II", "III"):
        assert mean[X] < -0.02 - 4 * error[X]


def test_stored_onsager_coefficients_give_the_heat_that_goes_with_silver():
    content = stored()
    found, h = content["onsager"]["reference"], content["enthalpy"]["reference"]
    assert found["L_q1"][0] / found["L_11"][0] == pytest.approx(h["h"], abs=0.2 * h["error"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heat-students-II", "color-reference"])
def test_runs_of_all_fits_and_under_a_color_field_do_what_they_say(tmp_path, monkeypatch, name):
    """One replica of each model for a few steps: fields, gauge, and which definition is driven."""
    start = np.load(STORED / "ag2se" / "starts.npz")["positions"][:1]
    study.keep(tmp_path / "starts.npz", {"positions": torch.as_tensor(start)})
    for file in ("potentials.npz", "equilibrium-students.npz"):
        (tmp_path / file).symlink_to(STORED / "ag2se" / file)
    monkeypatch.setattr(study, "SETTLE", 0.0)
    monkeypatch.setattr(study, "SAMPLE", 1)
    monkeypatch.setattr(study, "BLOCK", 1)
    study.run(name, tmp_path, 11)
    found = np.load(tmp_path / f"{name}.npz")
    models = len(study.MODELS) if "students" in name else 1
    assert found["flux"].shape == (11, models, 3)
    strength = study.FIELD if "students" in name else study.COLOR
    assert found["field"][:, 0] == pytest.approx(np.full(models, strength), rel=1e-6)
    if "students" in name:
        h = readings.enthalpies(np.load(tmp_path / "equilibrium-students.npz"), models, "II")
        assert found["h"] == pytest.approx([x.value for x in h])
    told = report.driven_part({name: found}, {"gauge fixed": {"kappa": 0.26}})
    if "students" in name:
        time = 11 * study.TIMESTEP
        expected = predicted_error(study.FIELD, 0.26, float(found["volume"]), time)
        assert told[name]["predicted_error"] == pytest.approx([expected] * models, rel=1e-6)
    assert len(told[name]["silver"]) == models and told["lengths"][name]["replicas"] == 1
    assert len(told[name]["kappa"]) == (models if "students" in name else 0)  # a color field has no kappa


def test_one_more_reading_under_a_field():
    """Of the definitions that were run, beside the reference's long run."""
    fits = {"kappa": [0.2, 0.3], "error": [0.01, 0.02], "across": [0.0, 0.0]}
    long = {"HNEMD at F and -F": {"value": 0.25, "sem": 0.025}}
    readings_under, reference = report.under_a_field({"heat-students-II": fits}, long)
    assert readings_under == {"II": {"kappa": [0.2, 0.3], "error": [0.01, 0.02]}}
    assert reference == {"kappa": 0.25, "error": 0.025}
