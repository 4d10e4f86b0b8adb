"""Active learning: its dynamics keeps to its rules, its picks and parts to theirs."""

import numpy as np
import pytest
from ase import Atoms

import mlipbook as mb
from mlipbook.studies.exploration import active_learning as study
from mlipbook.studies.exploration import assessment
from mlipbook.studies.exploration import search as exploration
from mlipbook.studies.sodium import descriptor


@pytest.fixture
def short(monkeypatch):
    for name, value in (("SETTLE", 0.03), ("NPT", 0.12), ("NVT", 0.12), ("SAMPLE", 10)):
        monkeypatch.setattr(exploration, name, value)


def timed(times: list[float]) -> list[Atoms]:
    return [Atoms("Na", info={"time_ps": time}) for time in times]


def test_picks_are_those_of_largest_spread_apart_in_time():
    frames = timed([0.0, 0.5, 1.0, 1.5, 2.0])
    spread = np.array([1.0, 5.0, 4.0, 3.0, 2.0])
    assert study.pick(frames, spread, 2) == [1, 3]  # 2 is only 0.5 ps from 1
    assert study.pick(frames, spread, 9) == [1, 3]
    assert study.pick(frames, spread, 0) == []


def test_parts_are_drawn_from_every_kind():
    picks = [Atoms("Na", info={"kind": kind}) for kind in study.KINDS for _ in range(12)]
    parts = study.hold_out(picks, np.random.default_rng(1))
    assert (
        parts
        == study.hold_out(picks, np.random.default_rng(1))
        != study.hold_out(picks, np.random.default_rng(2))
    )
    for k in range(len(study.KINDS)):
        of_kind = parts[12 * k : 12 * k + 12]
        assert (of_kind.count("test"), of_kind.count("valid"), of_kind.count("train")) == (1, 1, 10)


def test_shares_of_the_kinds_sum_to_one():
    assert sum(kind.share for kind in study.KINDS.values()) == pytest.approx(1)


def test_spread_is_that_of_the_members():
    frames = mb.datasets.load("na-gamma", "test")[:2]
    committee = mb.ANNPotential(descriptor(), members=2, seed=1)
    forces = np.array([[committee.member(m).evaluate(mb.Structures.from_ase(a)).forces[0].numpy()
                        for m in range(2)] for a in frames])  # fmt: skip
    half_difference = (forces[:, 0] - forces[:, 1]) / 2
    expected = np.sqrt(2 * (half_difference**2).mean((1, 2)))
    np.testing.assert_allclose(study.force_spread(committee, frames), expected, rtol=1e-9)


def test_squared_errors_are_those_of_the_library():
    frames = mb.datasets.load("na-gamma", "test")[:2]
    potential = mb.ANNPotential(descriptor(), seed=1)
    found = {name: np.sqrt(x.mean()) for name, x in study.squared_errors(potential, frames).items()}
    table = mb.errors(potential, frames).rmse
    for name in ("energy", "force"):
        assert found[name] == pytest.approx(table[name][0])
    both = np.sqrt((found["diagonal stress"] ** 2 + found["off-diagonal stress"] ** 2) / 2)
    assert both == pytest.approx(table["stress"][0])
    assert found["diagonal stress"] > 1.5 * found["off-diagonal stress"]  # both frames are under pressure


def test_stop_rule_looks_at_the_largest_spread_of_each_trajectory():
    records = [{"samples": 3, "spread max": x} for x in (1.0, 19.0, 21.0)] + [{"samples": 0}]
    found = study.stop_rule(records, 10.0)
    assert found == {"limit": 20.0, "largest": 21.0, "share within": pytest.approx(2 / 3)}


@pytest.mark.slow
def test_a_round_from_training_to_picks(short, monkeypatch):
    monkeypatch.setattr(study, "KINDS", {
        "liquid": study.Kind("liquid", (400,), 0.5),
        "strained solid": study.Kind("solid", (200,), 0.5, 0.03),
    })  # fmt: skip
    train = mb.datasets.load("na-gamma", "train")[::12]
    committee = study.train_committee({"train": train, "valid": train[:2]}, members=2, epochs=2)
    picks, records = study.explore_all(committee, train, 2, 7)
    assert [atoms.info["frame"] for atoms in picks] == ["al7_0000", "al7_0001"]
    assert [record["kind"] for record in records] == ["liquid", "strained solid"]
    for atoms, record in zip(picks, records, strict=True):
        assert atoms.info["kind"] == record["kind"] and atoms.info["split"] in ("train", "valid", "test")
        assert atoms.info["forces_spread_meV_A"] == pytest.approx(record["spread max"], abs=0.006)
        assert not atoms.has("momenta")
    assert abs(picks[1].cell.array[0, 1]) > 0


def test_assessment_predicts_every_new_frame_unseen(monkeypatch):
    frames = mb.datasets.load("na-gamma", "train")[::8]
    for k, atoms in enumerate(frames):
        atoms.info["kind"] = "even" if k % 2 == 0 else "odd"
    old = {"train": frames[:2], "valid": frames[2:4], "test": frames[4:6]}
    trained = []

    def train(parts, *, epochs):
        trained.append([atoms.info["frame"] for atoms in parts["train"]])
        return mb.ANNPotential(descriptor(), members=2, seed=len(trained))

    monkeypatch.setattr(assessment, "train_committee", train)
    records = assessment.assess(old, frames[6:], folds=2)
    first, *folds = trained
    names = {atoms.info["frame"] for atoms in frames[6:]}
    assert set(first).isdisjoint(names)
    held_out = [names - set(fold) for fold in folds]
    assert held_out[0] | held_out[1] == names and not held_out[0] & held_out[1]
    for group, n in (("even", 4), ("odd", 3), ("old test", 2)):
        for kind in ("without", "with"):
            assert records[f"{group}, {kind} new frames: off-diagonal stress"]["n"] == n
    assert records["odd: force error over spread"]["value"] > 0


def test_no_frame_is_predicted_by_a_committee_that_learned_a_frame_of_its_trajectory(monkeypatch):
    new = [
        Atoms("Na", info={"frame": f"al{k % 2}_{k:04d}", "kind": "solid", "md_temperature_K": 50.0 * (k % 5)})
        for k in range(30)
    ]
    monkeypatch.setattr(assessment, "train_committee", lambda parts, epochs: parts["train"])

    def check(learned, frames):
        known, asked = ({assessment.trajectory_of(a) for a in each} for each in (learned, frames))
        assert known.isdisjoint(asked)
        return {name: np.ones(len(frames)) for name in study.UNITS}

    monkeypatch.setattr(assessment, "squared_errors", check)
    on_new, _ = assessment.cross_validate({"train": [], "valid": [], "test": []}, new, folds=3, epochs=1)
    assert all((values == 1).all() for values in on_new.values())  # each is predicted once
