"""The multistate Bennett acceptance ratio over the same samples: a check of the quadrature.

Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008), by their package pymbar.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from mlipbook.averages import Value
from mlipbook.free_energy.series import Windows
from mlipbook.units import kB


def mbar(windows: Windows) -> Value:
    """F(1) - F(0), eV per atom, and its error, from independent samples of all windows.

    beta U(lambda_k) = beta U_b + lambda_k beta (U_a - U_b), where the first term, common to all k, drops out.
    The windows must overlap: sd(U_a - U_b) times their distance in lambda must not exceed about 1.5 kT.
    Raises ImportError without pymbar.
    """
    try:
        from pymbar import MBAR
    except ImportError as error:
        raise ImportError("mbar needs pymbar: pip install mlipbook[mbar]") from error
    kT = kB * windows.temperature
    samples = []
    for window in windows:
        stride = ceil(2 * window.autocorrelation_time / window.interval)
        samples.append(window.difference[::stride].flatten().numpy() / kT)
    lam = np.array([0.0, *(window.lam for window in windows if window.lam < 1), 1.0])
    by_lam = {window.lam: len(x) for window, x in zip(windows, samples, strict=True)}
    counts = np.array([by_lam.get(value, 0) for value in lam])
    states = MBAR(lam[:, None] * np.concatenate(samples), counts, solver_protocol="robust")
    found = states.compute_free_energy_differences()
    F = Value(float(found["Delta_f"][0, -1]), float(found["dDelta_f"][0, -1]), min(counts[counts > 0]))
    return F * kT / windows.n_atoms
