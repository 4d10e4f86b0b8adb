"""Numbers with their errors: arithmetic against sampled values, means, and records."""

from __future__ import annotations

from math import isnan, pi

import numpy as np
import pytest

from mlipbook.averages import Value, mean, median

A, B = Value(3.0, 0.02, 8), Value(-2.0, 0.03, 5)
WAYS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "ratio": lambda a, b: a / b,
    "numbers before": lambda a, b: 1.5 - 2 * a + 3 / b,
    "power": lambda a, b: a**1.5 - b,
    "sum of a list": lambda a, b: sum([a, b]),
}


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_those_of_independent_samples(way):
    found = WAYS[way](A, B)
    rng = np.random.default_rng(0)
    a, b = (x.value + x.error * rng.standard_normal(200_000) for x in (A, B))
    drawn = WAYS[way](a, b)
    assert found.error == pytest.approx(drawn.std(), rel=0.01)
    assert found.value == pytest.approx(drawn.mean(), abs=5 * found.error / 200_000**0.5 + 1e-3)
    assert found.n == 5


def test_a_value_knows_how_far_it_is_from_another():
    assert A.z(B) == pytest.approx(5 / (0.02**2 + 0.03**2) ** 0.5)
    assert A.z(2.9) == pytest.approx(5)
    assert isnan(Value(1.0).z(2.0)) and isnan(Value(1.0, float("nan")).z())


@pytest.mark.parametrize("number", [np.float64(2.0), np.float32(2.0), 2])
def test_numpy_numbers_leave_arithmetic_to_the_value(number):
    for found in (number * A, A * number):
        assert isinstance(found, Value) and (found.value, found.error, found.n) == (6.0, 0.04, 8)
    assert isinstance(number - A, Value) and isinstance(number / A, Value)


def test_records_are_read_back():
    item = A.record("GPa")
    assert item == {"value": 3.0, "sem": 0.02, "n": 8, "unit": "GPa"}
    assert Value.from_record(item) == A
    unknown = Value(1.0, float("nan"), 1).record()
    assert unknown["sem"] is None and isnan(Value.from_record(unknown).error)
    value, error = A
    assert (value, error) == (3.0, 0.02)


def test_means_and_medians_of_independent_samples():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((2000, 25))
    each = mean(drawn.T)  # of 25 samples, 2000 times
    assert each.value.shape == each.error.shape == (2000,) and each.n == 25
    assert (each.value**2).mean() == pytest.approx(1 / 25, rel=0.1)
    assert (each.error**2).mean() == pytest.approx(1 / 25, rel=0.05)
    medians = [median(row) for row in drawn]
    assert np.std([x.value for x in medians]) == pytest.approx((pi / 2 / 25) ** 0.5, rel=0.05)
    assert np.mean([x.error for x in medians]) == pytest.approx((pi / 2 / 25) ** 0.5, rel=0.05)
    single = mean([2.0])
    assert single.value == 2.0 and isnan(single.error) and single.n == 1
