"""The study of the Lennard-Jones liquid's conductivity: units, pieces in small, the chain that misses."""

import pytest
import torch

from mlipbook.free_energy.series import Value
from mlipbook.heat import HeatField
from mlipbook.studies import lennard_jones_heat as study
from mlipbook.studies.lennard_jones_heat import Sizes
from mlipbook.units import W_per_m_K, fs, kB

SMALL = Sizes(3, 2, melt=100, settle=100, equilibrium=1000, driven=((0.2, 200),), chain=(0.2, 200), relax=50)


def test_units_are_those_of_argon():
    assert study.TAU / fs == pytest.approx(2156, abs=1)
    assert abs(study.TEMPERATURE - 86.5) < 0.01
    one = kB / (study.SIGMA * study.TAU)  # kappa* = 1, in eV/(A K internal time)
    assert study.reduced(Value(one / W_per_m_K, 0.0), 1)["value"] == pytest.approx(1.0)
    # Liquid argon at its triple point conducts 0.13 W/m/K, in experiment.
    assert 6 < 0.13 * study.REDUCED < 7.5


def test_equilibrium_and_fields_in_small():
    torch.set_num_threads(1)
    start = study.liquid(SMALL)
    box = start.structures
    assert box.n_atoms / float(box.volumes[0]) * study.SIGMA**3 == pytest.approx(study.DENSITY)
    found = study.in_equilibrium(start, SMALL)
    records = study.of_equilibrium(found, 2, plateau=0.5)
    assert 2 < records["kappa*, Green-Kubo to 0.5 tau"]["value"] < 20
    response = study.driven(start, 0.2, 200, SMALL)
    records |= study.of_field(response, "F* = 0.2")
    expected = records["kappa*, F* = 0.2: predicted error"]["value"]
    assert abs(records["kappa*, F* = 0.2"]["value"] - 7) < 6 * expected < 12
    chained = study.with_chain(start, SMALL)
    assert chained.flux.shape == response.flux.shape and not torch.equal(chained.flux, response.flux)
    curves = study.drawn(found, {"F* = 0.2": response})
    assert len(curves["F* = 0.2"]["kappa"]) == 200 and len(curves["green_kubo"]["sem"]) == 100


def test_z_scores_are_of_all_pairs_in_the_linear_regime():
    names = ["Green-Kubo to 1.5 tau", "cepstral", "F* = 0.05", "F* = 0.1", "F* = 0.2"]
    records = {f"kappa*, {x}": {"value": float(k), "sem": 3.0 + k % 2} for k, x in enumerate(names)}
    found = study.z_scores(records)
    assert len(found) == 6 and found["Green-Kubo to 1.5 tau, cepstral"] == pytest.approx(-0.2)


def test_the_library_refuses_the_chain_that_the_study_shows():
    with pytest.raises(ValueError, match="chain of 3"):
        study.DrivenNoseHoover(study.THERMOSTAT_TIME, 3, HeatField(torch.zeros(1, 3)))
