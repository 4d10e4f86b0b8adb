"""The checks of multiple time stepping with first principles: distances, and what the stored ones say."""

import numpy as np
import pytest

from mlipbook.studies.melting import first_principles_checks as checks
from mlipbook.studies.melting.first_principles_plan import FOLDER


def test_series_are_compared_at_the_times_that_both_have():
    fine = {"time": np.arange(1, 9) * 0.005, "energy": np.arange(1.0, 9.0)}
    coarse = {"time": np.array([0.02, 0.04]), "energy": np.array([4.0, 11.0])}
    assert checks.distance(coarse, fine, "energy") == pytest.approx(3 / 2**0.5)
    assert checks.distance(fine, fine, "energy") == 0.0


def test_a_longer_outer_step_leads_further_from_plain_verlet_and_all_stay_near_it():
    read = {name: checks.read(FOLDER, name) for name in (*checks.names("nve"), checks.VERLET.name)}
    plain = read.pop(checks.VERLET.name)
    for what, most in {"energy": 0.2, "pressure": 0.002, "temperature": 1.0}.items():
        apart = [checks.distance(series, plain, what) for series in read.values()]
        assert 0 < apart[0] < apart[1] < apart[2] < most


@pytest.mark.slow
def test_the_liquid_is_that_of_the_stored_dynamics():
    records = checks.check(FOLDER).records
    for what in ("energy - 3/2 kB T", "pressure"):
        item = records[f"Verlet less stored dynamics: {what}"]
        assert abs(item["value"]) < 3 * item["sem"]
    assert records["nve-20fs: spread of the invariant"]["value"] < 0.07
