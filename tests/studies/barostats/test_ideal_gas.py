"""The study of chapter 6: exact moments, and faults that they refuse."""

import numpy as np
import pytest
from scipy.special import gamma

from mlipbook.studies.barostats import ideal_gas as study


@pytest.fixture(scope="module")
def found():
    kinds = study.barostats(16) | {"alpha = 1": study.Barostat(alpha=1.0)}
    return study.run(kinds, 16, steps=3000, replicas=150, seed=1)


@pytest.mark.parametrize(
    ("kind", "exact"), [("right", (17, 17)), ("textbook factor", (16, 16)), ("alpha = 1", (15, 15))]
)
def test_moments_are_those_of_alpha(found, kind, exact):
    for record, value in zip(study.moments(found[0][kind], kind).values(), exact, strict=True):
        assert abs(record["value"] - value) < 4 * record["sem"]
        assert record["sem"] < 0.4


def test_faults_are_many_errors_away(found):
    def z(kind, moment):
        record = study.moments(found[0][kind], kind)[f"ideal gas: {moment}, {kind}"]
        return (record["value"] - 17) / record["sem"]

    assert z("textbook factor", "<V>") < -10
    assert z("half the kinetic energy", "<V>") < -50
    assert abs(z("box thermostat too cold", "<V>")) < 4
    assert z("box thermostat too cold", "var V") < -30


def test_all_but_one_conserve_their_invariant(found):
    spread = {kind: np.ptp(H, axis=0).mean() for kind, H in found[1].items()}
    assert spread.pop("half the kinetic energy") > 1
    assert max(spread.values()) < 0.1


def test_density_is_normalized_with_its_mean():
    V = np.linspace(1e-6, 80, 20_001)
    p = study.density(V, 17.0)
    assert np.trapezoid(p, V) == pytest.approx(1, rel=1e-8)
    assert np.trapezoid(p * V, V) == pytest.approx(17, rel=1e-8)
    assert study.density(np.array([1.0]), 3.0)[0] == pytest.approx(np.exp(-1) / gamma(3))
