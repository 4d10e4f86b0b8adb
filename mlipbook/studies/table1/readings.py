"""What the jobs of `table1.runs` found, as numbers with errors: `table1.report` makes its tables of them."""

from collections.abc import Sequence
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from mlipbook.free_energy import Value, soft_core_excess
from mlipbook.free_energy.replicas import LIQUID
from mlipbook.studies.table1.jobs import (
    PHASES,
    REFERENCE,
    TEMPERATURE,
    Job,
    fingerprint,
    name_of,
    path_of,
    results,
)
from mlipbook.studies.table1.potentials import POTENTIALS
from mlipbook.units import GPa, kB

BULK_MODULUS = 5.6 * GPa  # of sodium near melting; it weighs what is left of the pressure, squared
ZERO = Value(0.0)
COMMON = "ideal gas to soft core"


# ---- numbers with errors -------------------------------------------------------------------------------


def mean(values: Sequence[Value]) -> Value:
    """Plain mean; its error is the larger of what the errors give and of what the scatter gives."""
    n, x = len(values), np.array([v.value for v in values])
    expected = hypot(*(v.error for v in values)) / n
    scatter = float(x.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return Value(float(x.mean()), max(expected, scatter), n)


def weighted(values: Sequence[Value]) -> tuple[Value, float]:
    """Weighted mean of measurements of one number, and chi^2 about it (n - 1 degrees of freedom)."""
    w = np.array([v.error**-2.0 for v in values])
    x = np.array([v.value for v in values])
    best = float(w @ x / w.sum())
    return Value(best, float(w.sum() ** -0.5), len(x)), float((w * (x - best) ** 2).sum())


def merged(values: Sequence[Value]) -> Value:
    """Weighted mean whose error grows with the scatter, where that is more than the errors explain."""
    best, chi2 = weighted(values)
    return Value(best.value, best.error * max(1.0, (chi2 / max(best.n - 1, 1)) ** 0.5), best.n)


def straight(x: np.ndarray, y: Sequence[Value]) -> Value:
    """Slope of the weighted straight line."""
    w = np.array([v.error**-2.0 for v in y])
    d = x - w @ x / w.sum()
    return Value(float(w * d @ [v.value for v in y] / (w @ d**2)), float((w @ d**2) ** -0.5), len(x))


# ---- what the jobs found -------------------------------------------------------------------------------


class Found:
    """The finished jobs of a folder. All energies in eV per atom.

    Raises ValueError for results of other potentials than the present ones, and for liquids with windows that
    are partly crystalline.
    """

    def __init__(self, folder: Path, potentials: Path = POTENTIALS):
        self.folder = folder
        self.jobs = {name_of(job): job for job in results(folder)}
        for name, job in self.jobs.items():
            if job["potential"] != fingerprint(potentials, job):
                raise ValueError(
                    f"{path_of(folder, job)}: of other potentials than those in {potentials}; delete the "
                    f"file, or run {name} again"
                )
            order = max((w["highest_q6"] for w in job.get("windows", [])), default=job.get("q6", [0, 0])[1])
            if job["phase"] == "liquid" and order > LIQUID / job["atoms"] ** 0.5:
                raise ValueError(
                    f"{path_of(folder, job)}: Q6 of a window reaches {order:.3f}, too much for a liquid of "
                    f"{job['atoms']} atoms: it has begun to crystallize; delete the file, run {name} again"
                )

    def __getitem__(self, key: tuple[Any, ...]) -> Job:
        """(quantity, setting, seed, phase, atoms, temperature). Raises KeyError that names the job."""
        names = ("quantity", "setting", "seed", "phase", "atoms", "temperature")
        job = dict(zip(names, key, strict=True))
        try:
            return self.jobs[name_of(job)]
        except KeyError:
            raise KeyError(f"{name_of(job)}: not in {self.folder}; run this job first") from None

    def of(self, quantity: str, **wanted: Any) -> list[Job]:
        """All jobs of a quantity that have these entries."""
        every = [job for job in self.jobs.values() if job["quantity"] == quantity]
        return [job for job in every if all(job[k] == v for k, v in wanted.items())]

    def F(self, *key: Any, quantity: str = "free energy") -> Value:
        """(setting, seed, phase, atoms, temperature): at zero pressure, F(V0) = F(V) - P^2 V/(2 B).

        The error is without that of soft spheres.
        """
        job = self[quantity, *key]
        parts = terms(job)
        left = job["pressure"][0] ** 2 * job["volume"] / (2 * BULK_MODULUS)
        exact = parts.pop(COMMON, ZERO).value
        return sum(parts.values(), Value(exact)) - left

    def common_error(self, atoms: int) -> Value:
        """0 and the error that soft spheres bring to F of all liquids of so many atoms."""
        liquids = self.of("free energy", phase="liquid", atoms=atoms, temperature=TEMPERATURE)
        errors = [terms(job)[COMMON].error for job in liquids if COMMON in job["terms"]]
        return Value(0.0, max(errors, default=0.0))

    def delta(self, setting: str, seed: int, atoms: int, temperature: float = TEMPERATURE) -> Value:
        """F_liq - F_sol."""
        solid, liquid = (self.F(setting, seed, phase, atoms, temperature) for phase in PHASES)
        return liquid - solid

    def volume(self, setting: str, phase: str, temperature: float = TEMPERATURE) -> Value:
        """At zero pressure, A^3 per atom: mean over the seeds."""
        jobs = self.of("volume", setting=setting, phase=phase, temperature=temperature)
        return mean([Value(*job["volume"]) for job in jobs])

    def heat(self, setting: str, temperature: float = TEMPERATURE) -> Value:
        """U_liq - U_sol at zero pressure: mean over the seeds, from the volume runs."""
        solid, liquid = (
            mean([Value(*job["energy"]) for job in self.of("volume", **state, temperature=temperature)])
            for state in ({"setting": setting, "phase": phase} for phase in PHASES)
        )
        return liquid - solid

    def work_to_zero_pressure(self, job: Job) -> Value:
        """F(V0) - F(V) = -P (V0 - V)/2, with the pressure P at the volume V of the job."""
        V0, P = self.volume(job["setting"], job["phase"]), Value(*job["pressure"])
        return -P * (V0 - job["volume"]) / 2

    def shift(self, setting: str, seed: int, relaxed: bool = True) -> Value:
        """F_liq - F_sol less that of the reference, each at its own volumes, or both at the reference's
        (relaxed = False)."""
        if (setting, seed) == REFERENCE:
            return ZERO
        phases = []
        for phase in PHASES:
            state = {"setting": setting, "seed": seed, "phase": phase, "temperature": TEMPERATURE}
            jobs = self.of("difference", **state) or [
                self["difference", setting, seed, phase, 128, TEMPERATURE]
            ]
            each = [Value(*job["difference"]) for job in jobs]
            work = [self.work_to_zero_pressure(job) if relaxed else ZERO for job in jobs]
            phases.append(merged([x + w for x, w in zip(each, work, strict=True)]))
        return phases[1] - phases[0]


def terms(job: Job) -> dict[str, Value]:
    """The parts of F, with soft spheres from the table as it is now."""
    parts = {name: Value(*term) for name, term in job["terms"].items()}
    if "y" in job["parameters"]:
        parts[COMMON] = kB * job["temperature"] * soft_core_excess(job["parameters"]["y"], job["atoms"])
    return parts
