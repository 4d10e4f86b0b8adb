"""Active learning: its dynamics keeps to its rules, its picks and parts to theirs."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook.potentials import LennardJones
from mlipbook.studies import active_learning as study


@pytest.fixture
def short(monkeypatch):
    for name, value in (("SETTLE", 0.03), ("NPT", 0.12), ("NVT", 0.12), ("SAMPLE", 10)):
        monkeypatch.setattr(study, name, value)


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return bulk("Na", "fcc", a=5.3, cubic=True) * 3


def timed(times: list[float]) -> list[Atoms]:
    return [Atoms("Na", info={"time_ps": time}) for time in times]


def test_strained_dynamics_holds_a_cell_with_all_six_strains(short, crystal):
    potential = LennardJones(0.05, 3.3, 6.5)
    frames = study.explore(potential, crystal, 100, 0.03, np.random.default_rng(3))
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0.03, 0.06, 0.09, 0.12])
    cells = np.array([frame.cell.array for frame in frames])
    assert (cells == cells[0]).all()
    edge = np.cbrt(crystal.cell.volume)
    strain = cells[0] / edge - np.eye(3)
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)
    assert (abs(strain[np.triu_indices(3, 1)]) > 1e-4).all() and abs(strain).max() < 0.06
    assert np.ptp([frame.positions for frame in frames], axis=0).min() > 0


def test_dynamics_at_ambient_pressure_lets_the_volume_go(short, crystal):
    frames = study.explore(LennardJones(0.05, 3.3, 6.5), crystal, 100, 0.0, np.random.default_rng(3))
    volumes = [frame.cell.volume for frame in frames]
    assert np.ptp(volumes) > 1
    for frame in frames:
        np.testing.assert_allclose(frame.cell.array, np.eye(3) * np.cbrt(frame.cell.volume), atol=1e-9)


def test_dynamics_stops_before_atoms_meet(short, monkeypatch, crystal):
    monkeypatch.setattr(study, "NVT", 3.0)
    nothing = LennardJones(0.0, 3.3, 6.5)  # an ideal gas
    frames = study.explore(nothing, crystal, 300, 0.01, np.random.default_rng(0))
    assert 0 < len(frames) < 50
    assert min(study.shortest(frame) for frame in frames) > study.CLOSEST


def test_velocities_have_the_temperature_and_no_momentum(crystal):
    atoms = crystal * 2
    velocities = study.maxwell_boltzmann(atoms, 300.0, np.random.default_rng(0))
    momenta = velocities * atoms.get_masses()[:, None]
    np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-10)
    kinetic = 0.5 * (velocities * momenta).sum()
    assert kinetic == pytest.approx(1.5 * (len(atoms) - 1) * mb.units.kB * 300, rel=4 * np.sqrt(2 / 3 / 864))


def test_picks_are_those_of_largest_spread_apart_in_time():
    frames = timed([0.0, 0.5, 1.0, 1.5, 2.0])
    spread = np.array([1.0, 5.0, 4.0, 3.0, 2.0])
    assert study.pick(frames, spread, 2) == [1, 3]  # 2 is only 0.5 ps from 1
    assert study.pick(frames, spread, 9) == [1, 3]
    assert study.pick(frames, spread, 0) == []


def test_parts_are_drawn_from_every_kind():
    picks = [Atoms("Na", info={"kind": kind}) for kind in study.KINDS for _ in range(12)]
    parts = study.hold_out(picks, np.random.default_rng(1))
    assert parts == study.hold_out(picks, np.random.default_rng(1)) != study.hold_out(
        picks, np.random.default_rng(2)
    )
    for k in range(len(study.KINDS)):
        of_kind = parts[12 * k : 12 * k + 12]
        assert (of_kind.count("test"), of_kind.count("valid"), of_kind.count("train")) == (1, 1, 10)


def test_shares_of_the_kinds_sum_to_one():
    assert sum(kind.share for kind in study.KINDS.values()) == pytest.approx(1)


def test_spread_and_stress_errors_are_those_of_the_members():
    frames = mb.datasets.load("na-gamma", "test")[:2]
    committee = mb.ANNPotential(study.descriptor(), members=2, seed=1)
    forces = np.array([[committee.member(m).evaluate(mb.Structures.from_ase(a)).forces[0].numpy()
                        for m in range(2)] for a in frames])  # fmt: skip
    half_difference = (forces[:, 0] - forces[:, 1]) / 2
    expected = np.sqrt(2 * (half_difference**2).mean((1, 2)))
    np.testing.assert_allclose(study.force_spread(committee, frames), expected, rtol=1e-9)
    found = study.stress_errors(committee, frames)
    both = np.sqrt((found["diagonal"] ** 2 + found["off-diagonal"] ** 2) / 2)
    np.testing.assert_allclose(both, mb.errors(committee, frames).rmse["stress"], rtol=1e-9)
    assert (found["diagonal"] > 1.5 * found["off-diagonal"]).all()  # both phases are under pressure


def test_stop_rule_looks_at_the_largest_spread_of_each_trajectory():
    records = [{"samples": 3, "spread max": x} for x in (1.0, 19.0, 21.0)] + [{"samples": 0}]
    found = study.stop_rule(records, 10.0)
    assert found == {"limit": 20.0, "largest": 21.0, "share within": pytest.approx(2 / 3)}


def test_a_round_from_training_to_picks(short, monkeypatch):
    monkeypatch.setattr(study, "KINDS", {
        "liquid": study.Kind("liquid", (400,), 0.5),
        "strained solid": study.Kind("solid", (200,), 0.5, 0.03),
    })  # fmt: skip
    train = mb.datasets.load("na-gamma", "train")[::12]
    committee = study.train_committee(train, train[:2], members=2, epochs=2)
    picks, records = study.explore_all(committee, train, 2, 7)
    assert [atoms.info["frame"] for atoms in picks] == ["al7_0000", "al7_0001"]
    assert [record["kind"] for record in records] == ["liquid", "strained solid"]
    for atoms, record in zip(picks, records, strict=True):
        assert atoms.info["kind"] == record["kind"] and atoms.info["split"] in ("train", "valid", "test")
        assert atoms.info["forces_spread_meV_A"] == pytest.approx(record["spread max"], abs=0.006)
        assert not atoms.has("momenta")
    assert abs(picks[1].cell.array[0, 1]) > 0
