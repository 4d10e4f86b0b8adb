"""What the runs of `conductivity` say of each model: integrals, responses, and the readings of Fig. 3.

As trained: Eq. 10-11 as they stand, in the zero of atomic energies that a fit happens to leave. Matched
energies: each species' mean atomic energy shifted to the reference's. Gauge fixed: the heat h that goes with
silver taken off. At zero mass current: L_qq - L_q1^2/L_11, the same in every gauge.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_masses, atomic_numbers
from torch import Tensor

from mlipbook.averages import Value
from mlipbook.heat import Response
from mlipbook.heat.green_kubo import conductivities, jackknife, prefactor
from mlipbook.potentials import DEFINITIONS, Definition
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE
from mlipbook.units import ps

MEMBERS = 5
MODELS = [f"{kind} {m}" for kind in ("EF", "EFP") for m in range(MEMBERS)]
CHANNELS = ("I", "II", "Ag", "J_ref")  # of stored correlations: two fluxes, V_Ag, the reference's flux
SHARES = {name: np.eye(4)[k] for k, name in enumerate(CHANNELS)}  # of the channels in each flux
SHARES["III"] = (SHARES["I"] + SHARES["II"]) / 2
GAUGE_LAG = 2 * ps  # where integrals are read
COLLISION = 5.0  # robust standard deviations of J_ref's variance over all replicas, above the median
READINGS = ("as trained", "matched energies", "gauge fixed", "zero mass current")
Numbers = dict[str, Any]
Replicas = np.ndarray | slice


# ---- integrals -----------------------------------------------------------------------------------------


def fluxes_of(found: Any) -> tuple[str, ...]:
    """The definitions, and J_ref if the run kept the flux of the reference along its trajectories."""
    return (*DEFINITIONS, "J_ref") if found["correlations"].shape[-1] == len(CHANNELS) else DEFINITIONS


def replicas_of(found: Any, models: int) -> list[np.ndarray]:
    """Those of each model that lasted to the end of the run."""
    total = len(found["correlations"]) if "correlations" in found else found["flux"].shape[1]
    lasted = found["lasted"] if "lasted" in found else np.ones(total, dtype=bool)
    return [own[lasted[own]] for own in np.arange(total).reshape(models, -1)]


def undisturbed(found: Any, models: int) -> list[np.ndarray]:
    """Those along which J_ref has about the variance that it has along most. Where a fit lets ions come
    closer than the reference would, a collision is all that is seen of the reference's flux.
    """
    variance = np.asarray(found["correlations"][:, 0, -1, -1], dtype=float)
    above = variance - np.median(variance)
    spread = 1.4826 * np.median(abs(above))  # of normal numbers the standard deviation
    return [own[above[own] < COLLISION * spread] for own in replicas_of(found, models)]


def samples(found: Any, replicas: Replicas, fluxes: Sequence[str], gauge: float = 0.0) -> Tensor:
    """L_ab(t) of each of a model's replicas, (R, lags, q, q), between these fluxes, V_Ag being "Ag".

    gauge: eV, times V_Ag it is added to the first. Raises ValueError for a flux that the run did not keep.
    """
    C = torch.as_tensor(found["correlations"][replicas]).double()
    mix = torch.as_tensor(np.array([SHARES[name] for name in fluxes]))
    mix[0] += gauge * torch.as_tensor(SHARES["Ag"])
    kept = C.shape[-1]
    if bool(mix[:, kept:].any()):
        raise ValueError(f"the run kept {', '.join(CHANNELS[:kept])}, not all of {', '.join(fluxes)}")
    mix = mix[:, :kept]
    scale = prefactor(float(found["volume"]), float(found["temperature"][replicas].mean()))
    return torch.cumulative_trapezoid(mix @ C @ mix.T, dx=float(found["interval"]), dim=1) * scale


def integrals(found: Any, replicas: Replicas, flux: str, gauge: float = 0.0) -> tuple[Tensor, ...]:
    """`green_kubo.conductivities` of a model's replicas: kappa, corrected, h, each with its error."""
    return conductivities(samples(found, replicas, [flux, "Ag"], gauge))


def lag_of(found: Any) -> int:
    """Index of GAUGE_LAG, at which integrals are read."""
    return round(GAUGE_LAG / float(found["interval"])) - 1


def read(found: Any, replicas: Replicas, flux: str, gauge: float = 0.0) -> tuple[Value, Value, Value]:
    """kappa as it stands and at zero mass current (W/m/K), and h (eV) of a model, at GAUGE_LAG."""
    x = [float(curve[lag_of(found)]) for curve in integrals(found, replicas, flux, gauge)]
    return Value(*x[:2]), Value(*x[2:4]), Value(*x[4:])


def less(found: Any, replicas: Replicas, flux: str, other: str) -> Value:
    """Corrected conductivity by a flux less that by another, from the same trajectories, at GAUGE_LAG."""

    def difference(L: Tensor) -> Tensor:
        one, two = (L[..., k, k] - L[..., k, 2] ** 2 / L[..., 2, 2] for k in (0, 1))
        return one - two

    curves = jackknife(samples(found, replicas, [flux, other, "Ag"]), difference)
    return Value(*(float(x[lag_of(found)]) for x in curves))


def enthalpies(found: Any, models: int, definition: Definition) -> list[Value]:
    """h of silver, eV, of each model, from equilibrium runs."""
    return [read(found, own, definition)[2] for own in replicas_of(found, models)]


def onsager_of(found: Any, replicas: Replicas, definition: Definition) -> Numbers:
    """L_q1 (W/m/K per eV) and L_11 (W/m/K per eV^2), value and error, gauge as trained."""
    curves = jackknife(samples(found, replicas, [definition, "Ag"]), lambda L: L)
    L, error = (x[lag_of(found)] for x in curves)
    return {name: [float(L[k, 1]), float(error[k, 1])] for k, name in enumerate(("L_q1", "L_11"))}


def response(found: Any, replicas: Replicas, color: str | None = None) -> Response:
    """A model's share of a stored driven run; color: the element that was driven, if it was not heat."""
    flux, current, temperature = (
        torch.as_tensor(found[name][:, replicas]).double() for name in ("flux", "current", "temperature")
    )
    field = torch.as_tensor(found["field"][replicas])
    rest = float(found["volume"]), float(found["interval"]), TEMPERATURE
    return Response(flux, {"Ag": current}, temperature, field, *rest, color)


# ---- Fig. 3 --------------------------------------------------------------------------------------------


def along(found: Any, models: int, flux: str) -> list[np.ndarray]:
    """The replicas of each model along which this flux is read."""
    return undisturbed(found, models) if flux == "J_ref" else replicas_of(found, models)


def readings_of(found: Any, models: int, shifts: np.ndarray) -> dict[str, dict[str, Numbers]]:
    """reading -> flux -> kappa and error (models,), W/m/K; shifts: of `to_match`, not for J_ref."""
    out: dict[str, dict[str, Numbers]] = {name: {} for name in READINGS}
    for X in fluxes_of(found):
        parts = along(found, models, X)
        trained = [read(found, own, X) for own in parts]
        moved = zip(parts, 0 * shifts if X == "J_ref" else shifts, strict=True)
        columns = (
            [kappa for kappa, _, _ in trained],
            [read(found, own, X, c)[0] for own, c in moved],
            [gauge_fixed(found, own, X) for own in parts],
            [corrected for _, corrected, _ in trained],
        )
        for name, values in zip(READINGS, columns, strict=True):
            out[name][X] = as_lists(values)
    return out


def paired(found: Any, models: int) -> dict[str, dict[str, Numbers]]:
    """Keys "less I", "less J_ref" (if kept) -> flux -> difference and error (models,), zero mass current."""
    return {
        f"less {other}": {
            X: as_lists([less(found, own, X, other) for own in along(found, models, other)])
            for X in DEFINITIONS
            if other != X
        }
        for other in ("I", "J_ref")
        if other in fluxes_of(found)
    }


def to_match(energies: Numbers) -> np.ndarray:
    """c (models,), eV: matching the energies of silver, and so those of selenium, adds c V_Ag to the flux."""
    silver, selenium = (
        np.array(energies["reference"][z]) - np.array(energies["students"][z]) for z in ("Ag", "Se")
    )
    ag, se = (atomic_masses[atomic_numbers[z]] for z in ("Ag", "Se"))
    return silver - selenium * ag / se  # V_Se = -(m_Ag/m_Se) V_Ag at zero total momentum


def gauge_fixed(found: Any, replicas: np.ndarray, flux: str) -> Value:
    """L_qq of half the replicas, less the h of the others (its own would fit its noise), and reversed."""
    halves = replicas[: len(replicas) // 2], replicas[len(replicas) // 2 :]
    one, other = (
        read(found, other, flux, -read(found, one, flux)[2].value)[0] for one, other in (halves, halves[::-1])
    )
    return (one + other) / 2


def as_lists(values: Sequence[Value]) -> Numbers:
    return {"kappa": [x.value for x in values], "error": [x.error for x in values]}
