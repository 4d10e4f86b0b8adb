"""The study of the driven Lennard-Jones liquid: units, pieces in small, the chain that misses."""

import json
from itertools import combinations
from math import hypot
from pathlib import Path

import pytest
import torch

from mlipbook.heat import HeatField
from mlipbook.studies.heat_flux import lennard_jones as study
from mlipbook.studies.heat_flux.lennard_jones import Sizes
from mlipbook.studies.heat_flux.liquid_argon import UNIT, liquid

SMALL = Sizes(3, 2, equilibration=100, driven=((0.2, 300),), chain=(0.2, 300), relax=50)


@pytest.mark.slow
def test_fields_in_small():
    torch.set_num_threads(1)
    start = liquid(SMALL.cells, SMALL.replicas, SMALL.equilibration)
    response = study.driven(start, 0.2, 300, SMALL)
    assert float(response.field[0, 0]) * study.SIGMA == pytest.approx(0.2)
    records = study.of_field(response, "F* = 0.2")
    found, expected = (records[f"kappa*, F* = 0.2{name}"]["value"] for name in ("", ": predicted error"))
    assert found == pytest.approx(response.kappa.value / UNIT)
    assert expected > 0
    assert records["T*, F* = 0.2"]["value"] == pytest.approx(0.722, rel=0.1)
    chained = study.with_chain(start, SMALL)
    assert chained.flux.shape == response.flux.shape and not torch.equal(chained.flux, response.flux)
    curve = study.running(response, 20)
    assert curve["time"][-1] == pytest.approx(len(response.flux) * 5 * 0.004) and len(curve["kappa"]) == 20
    assert curve["kappa"][-1] == pytest.approx(found)


def test_equilibrium_fields_and_the_literature_agree_in_the_stored_study():
    """kappa* by cepstral analysis and under three fields: each within three errors of 6.6 to 7.0, and of each
    other; the errors are small enough to tell (Green-Kubo's integral, known to 0.6, only has to agree).
    """
    records = json.loads((Path(__file__).parents[3] / "results/full/lennard-jones-heat.json").read_text())[
        "records"
    ]
    names = ["kappa*, cepstral", *(f"kappa*, F* = {F}" for F in ("0.05", "0.1", "0.2"))]
    found = {name: (records[name]["value"], records[name]["sem"]) for name in [*names, "kappa*, Green-Kubo"]}
    for a, b in combinations(found.values(), 2):
        assert abs(a[0] - b[0]) < 3 * hypot(a[1], b[1])
    for value, error in (found[name] for name in names):
        assert error < 0.3
        assert 6.6 - 3 * error < value < 7.0 + 3 * error
    chain = records["T*, F* = 0.2, chain of 3"]
    assert chain["value"] - 0.722 > 10 * chain["sem"]  # what a chain misses under dissipation


def test_z_scores_are_of_independent_pairs_in_the_linear_regime():
    names = [*study.EQUILIBRIUM, "kappa*, F* = 0.05", "kappa*, F* = 0.1", "kappa*, F* = 0.2"]
    records = {name: {"value": float(k), "sem": 3.0 + k % 2} for k, name in enumerate(names)}
    found = study.z_scores(records)
    assert len(found) == 5 and "Green-Kubo, cepstral" not in found
    assert found["Green-Kubo, F* = 0.1"] == pytest.approx(-3 / 5)  # 0 and 3, errors 3 and 4


def test_the_library_refuses_the_chain_that_the_study_shows():
    with pytest.raises(ValueError, match="chain of 3"):
        study.DrivenNoseHoover(study.THERMOSTAT_TIME, 3, HeatField(torch.zeros(1, 3)))
