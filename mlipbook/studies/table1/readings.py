"""F_liq - F_sol of four labelings from the jobs of `table1.runs`: one level for all, and shifts from it."""

from collections.abc import Sequence
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from mlipbook import archive, averages
from mlipbook.free_energy import Value, soft_core_excess
from mlipbook.free_energy.replicas import LIQUID
from mlipbook.studies.sodium import PHASES
from mlipbook.studies.table1.jobs import REFERENCE, TEMPERATURE, Job, done, name_of, path_of
from mlipbook.studies.table1.potentials import POTENTIALS
from mlipbook.units import GPa, kB

BULK_MODULUS = 5.6 * GPa  # of sodium near melting; it weighs what is left of the pressure, squared
ZERO = Value(0.0)
COMMON = "ideal gas to soft core"


# ---- numbers with errors -------------------------------------------------------------------------------


def mean(values: Sequence[Value]) -> Value:
    """Plain mean; its error is the larger of what the errors give and of what the scatter gives."""
    best, n = averages.mean([v.value for v in values]), len(values)
    expected = hypot(*(v.error for v in values)) / n
    return Value(best.value, max(expected, best.error if n > 1 else 0.0), n)


def weighted(values: Sequence[Value]) -> tuple[Value, float]:
    """Weighted mean of measurements of one number, and chi^2 about it (n - 1 degrees of freedom)."""
    x, error = np.transpose([tuple(v) for v in values])
    w = error**-2.0
    best = float(w @ x / w.sum())
    return Value(best, float(w.sum() ** -0.5), len(x)), float((w * (x - best) ** 2).sum())


def merged(values: Sequence[Value]) -> Value:
    """Weighted mean whose error grows with the scatter, where that is more than the errors explain."""
    best, chi2 = weighted(values)
    return Value(best.value, best.error * max(1.0, (chi2 / max(best.n - 1, 1)) ** 0.5), best.n)


def straight(x: np.ndarray, y: Sequence[Value]) -> Value:
    """Slope of the weighted straight line."""
    values, error = np.transpose([tuple(v) for v in y])
    w = error**-2.0
    d = x - w @ x / w.sum()
    return Value(float(w * d @ values / (w @ d**2)), float((w @ d**2) ** -0.5), len(x))


# ---- what the jobs found -------------------------------------------------------------------------------


class Found:
    """The finished jobs of a folder. All energies in eV per atom. Raises ValueError for results of other
    potentials than the present ones, and for liquids with windows that are partly crystalline."""

    def __init__(self, folder: Path, potentials: Path = POTENTIALS):
        self.folder = folder
        every = [archive.read_json(path) for path in sorted(folder.glob("*_*.json"))]
        self.jobs: dict[str, Job] = {name_of(job): job for job in every}
        for name, job in self.jobs.items():
            path, again = path_of(folder, job), f"delete the file, or run {name} again"
            if not done(path, potentials):
                raise ValueError(f"{path}: of other potentials than those in {potentials}; {again}")
            order = max((w["highest_q6"] for w in job.get("windows", [])), default=job.get("q6", [0, 0])[1])
            if job["phase"] == "liquid" and order > LIQUID / job["atoms"] ** 0.5:
                raise ValueError(
                    f"{path}: Q6 of a window reaches {order:.3f}, too much for a liquid of {job['atoms']} "
                    f"atoms: it has begun to crystallize; {again}"
                )

    def of(self, quantity: str, temperature: float | None = TEMPERATURE, **wanted: Any) -> list[Job]:
        """All jobs of a quantity that have these entries; temperature: None for all."""
        wanted |= {"quantity": quantity} | ({} if temperature is None else {"temperature": temperature})
        return [job for job in self.jobs.values() if all(job[k] == v for k, v in wanted.items())]

    def job(self, *key: Any) -> Job:
        """(quantity, setting, seed, phase, atoms, temperature). Raises KeyError that names the job."""
        names = ("quantity", "setting", "seed", "phase", "atoms", "temperature")
        name = name_of(dict(zip(names, key, strict=True)))
        if name not in self.jobs:
            raise KeyError(f"{name}: not in {self.folder}; run this job first")
        return self.jobs[name]

    def F(self, *key: Any, quantity: str = "free energy") -> Value:
        """(setting, seed, phase, atoms, temperature): at zero pressure, F(V0) = F(V) - P^2 V/(2 B). The error
        is without that of soft spheres."""
        job = self.job(quantity, *key)
        parts = terms(job)
        left = job["pressure"][0] ** 2 * job["volume"] / (2 * BULK_MODULUS)
        exact = parts.pop(COMMON, ZERO).value
        return sum(parts.values(), Value(exact)) - left

    def common_error(self, atoms: int) -> Value:
        """0 and the error that soft spheres bring to F of all liquids of so many atoms."""
        liquids = [terms(job) for job in self.of("free energy", phase="liquid", atoms=atoms)]
        return Value(0.0, max((x[COMMON].error for x in liquids if COMMON in x), default=0.0))

    def at_zero_pressure(self, name: str, setting: str, phase: str) -> Value:
        """ "volume" (A^3 per atom) or "energy": mean over the seeds."""
        return mean([Value(*job[name]) for job in self.of("volume", setting=setting, phase=phase)])

    def heat(self, setting: str) -> Value:
        """U_liq - U_sol at zero pressure."""
        solid, liquid = (self.at_zero_pressure("energy", setting, phase) for phase in PHASES)
        return liquid - solid

    # ---- liquid less solid -----------------------------------------------------------------------------

    def delta(self, setting: str, seed: int, atoms: int, temperature: float = TEMPERATURE) -> Value:
        """F_liq - F_sol."""
        solid, liquid = (self.F(setting, seed, phase, atoms, temperature) for phase in PHASES)
        return liquid - solid

    def sizes(self) -> list[int]:
        """Numbers of atoms of the free energies."""
        return sorted({job["atoms"] for job in self.of("free energy")})

    def measured(self, atoms: int) -> dict[tuple[str, int], Value]:
        """F_liq - F_sol of every (setting, seed) that has one. Raises KeyError if one phase is missing."""
        pairs = sorted({(job["setting"], job["seed"]) for job in self.of("free energy", atoms=atoms)})
        return {pair: self.delta(*pair, atoms) for pair in pairs}

    def reference(self, atoms: int) -> tuple[Value, float]:
        """F_liq - F_sol of the reference potential by all direct results, without the common error, and chi^2
        about it. Where they scatter by more than their errors, the mean's error grows to match."""
        reduced = [dF - self.shift(*key) for key, dF in self.measured(atoms).items()]
        return merged(reduced), weighted(reduced)[1]

    def shift(self, setting: str, seed: int, relaxed: bool = True) -> Value:
        """F_liq - F_sol less that of the reference, each at its own volumes, or both at the reference's
        (relaxed = False): F(V0) - F(V) = -P (V0 - V)/2, with the pressure P at the volume V of the job."""
        if (setting, seed) == REFERENCE:
            return ZERO

        def of_phase(phase: str) -> Value:
            jobs = self.of("difference", setting=setting, seed=seed, phase=phase)
            each, work = [], ZERO
            for job in jobs or [self.job("difference", setting, seed, phase, 128, TEMPERATURE)]:
                if relaxed:
                    V0 = self.at_zero_pressure("volume", setting, phase)
                    work = -Value(*job["pressure"]) * (V0 - job["volume"]) / 2
                each.append(Value(*job["difference"]) + work)
            return merged(each)

        return of_phase("liquid") - of_phase("solid")

    def seeds_mean(self, setting: str, relaxed: bool = True) -> Value:
        """The shift from the reference, mean over the seeds of a setting."""
        seeds = {job["seed"] for job in self.of("difference", setting=setting)}
        seeds |= {REFERENCE[1]} if setting == REFERENCE[0] else set()
        if not seeds:
            raise KeyError(f"{setting}: no differences from the reference in {self.folder}; run `difference`")
        return mean([self.shift(setting, seed, relaxed) for seed in sorted(seeds)])


def terms(job: Job) -> dict[str, Value]:
    """The parts of F, with soft spheres from the table as it is now."""
    parts = {name: Value(*term) for name, term in job["terms"].items()}
    if "y" in job["parameters"]:
        parts[COMMON] = kB * job["temperature"] * soft_core_excess(job["parameters"]["y"], job["atoms"])
    return parts
