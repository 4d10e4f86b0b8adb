"""The runs of the reference by LAMMPS, from made-up series of which the integrals are known."""

import numpy as np
import pytest
import torch

from mlipbook.heat import predicted_error
from mlipbook.heat.green_kubo import prefactor
from mlipbook.studies.conductivity import readings
from mlipbook.studies.conductivity import reference as study
from mlipbook.studies.conductivity import report as conductivity_report
from mlipbook.studies.conductivity.runs import BLOCK, FIELD, SAMPLE, TIMESTEP
from mlipbook.units import W_per_m_K, ps

h, REPLICAS, SAMPLES = 1.5, 8, 8000


@pytest.fixture
def folder(tmp_path):
    """White noise: a heat flux of its own and h times the silver current, both of variance 1."""
    rng = np.random.default_rng(0)
    for b in range(REPLICAS):
        current = rng.standard_normal((SAMPLES, 3))
        flux = rng.standard_normal((SAMPLES, 3)) + h * current
        series = {"flux": flux, "current": current, "temperature": np.full(SAMPLES, 500.0)}
        np.savez(tmp_path / f"equilibrium-{b:02d}.npz", **series, seconds=1.0, commit="a")
    study.keep(tmp_path / "equilibrium-reference.npz", study.gathered(tmp_path))
    return tmp_path


def test_noise_has_the_conductivity_that_its_variance_gives(folder):
    found = np.load(folder / "equilibrium-reference.npz")
    at, volume = readings.lag_of(found), float(study.start(0).volume[0])
    exact = prefactor(volume, 500.0) * float(found["interval"]) / 2  # trapezoid: half of the first product
    _, _, corrected, error, heat, heat_error = (x[at] for x in readings.integrals(found, slice(None), "I"))
    assert abs(corrected - exact) < 4 * error < 4 * exact
    assert abs(heat - h) < 4 * heat_error
    onsager = readings.onsager_of(found, slice(None), "I")
    for name, expected in {"L_11": exact, "L_q1": h * exact}.items():
        assert abs(onsager[name][0] - expected) < 4 * onsager[name][1], name
    lengths = conductivity_report.run_of(found, 1)
    assert lengths == {"replicas": REPLICAS, "ps": pytest.approx(SAMPLES * SAMPLE * TIMESTEP / ps)}
    assert found["seconds"] == REPLICAS


def test_driven_replicas_count_with_their_sign_and_in_their_gauge(folder):
    """A flux that follows the field, and h times a silver current that does not."""
    volume, kappa, blocks = float(study.start(0).volume[0]), 0.3, 100
    common = {"gauge": -h, "seconds": 1.0, "commit": "a"}
    rng, size = np.random.default_rng(1), kappa * W_per_m_K * volume * 500.0 * FIELD
    for b in (0, 1, 12, 13):  # two along the field, two against it
        sign = 1 if study.FIELDS[b] == "F" else -1
        current = rng.standard_normal((blocks, 3))
        flux = h * current + size * (0.1 * rng.standard_normal((blocks, 3)) + [sign, 0, 0])
        series = {"flux": flux, "current": current, "temperature": np.full(blocks, 500.0)}
        np.savez(folder / f"driven-{b:02d}.npz", **series, **common, field=sign * FIELD)
    records, arrays, *_ = study.report(folder)
    fields = arrays["fields"]
    assert fields["names"] == ["F and -F", "F", "-F"] and fields["replicas"] == [4, 2, 2]
    assert fields["time"][0] == pytest.approx(4 * blocks * BLOCK * SAMPLE * TIMESTEP / (1000 * ps))
    for found, error, across in zip(*(fields[x] for x in ("kappa", "error", "across")), strict=True):
        assert abs(found - kappa) < 4 * error < 0.02
        assert abs(across) < 0.02
    one, other = records["HNEMD at F and -F"], records["Green-Kubo, zero mass current"]
    z = (one["value"] - other["value"]) / np.hypot(one["sem"], other["sem"])
    assert records["HNEMD at F and -F less Green-Kubo, in errors"]["value"] == pytest.approx(z)
    time = 4 * blocks * BLOCK * SAMPLE * TIMESTEP
    expected = predicted_error(FIELD, other["value"], volume, time)
    assert fields["predicted_error"][0] == pytest.approx(expected)


def test_starts_are_at_rest_and_differ(folder):
    one, other = (study.start(b) for b in (0, 1))
    assert float(one.momenta.sum(1).abs().max()) < 1e-9
    assert not torch.equal(one.structures.positions, other.structures.positions)
