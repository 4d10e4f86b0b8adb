"""Fig. 2 and Table 1 from the jobs of `table1.runs`: F_liq - F_sol of four labelings, with every error.

The differences between potentials, integrated from one to the other, are far more precise than the free
energies themselves. So each direct result is a measurement of one number, the REFERENCE potential's own
F_liq - F_sol, to which all of them are brought; its weighted mean and those differences give the table, and
the scatter about the mean (chi^2) tells whether errors are what they claim to be. Differences hardly depend
on the number of atoms and serve boxes of any size. What all liquids have in common, the error of the
tabulated soft spheres, is no part of these errors until the end: it moves the whole table, no difference
within it. Boxes with a fixed number of atoms lack fluctuations: `finite_size` computes what is to be taken
off for infinitely many atoms. Rows "dF" are of the potentials; melting temperatures and what is compared
with the paper carry, besides, the error of the fits, which all seeds share.

    python -m mlipbook study table1.report --folder F --out results/full/delta-f.json
"""

from collections.abc import Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from mlipbook.averages import Value
from mlipbook.free_energy.series import LONG
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.studies.table1.differences import (
    label_errors,
    measured,
    per_atom,
    reference,
    seeds_mean,
    shared,
    sizes,
    table,
    value_of,
    widened,
    z_score,
)
from mlipbook.studies.table1.jobs import PHASES, REFERENCE, SHORT, TEMPERATURE, Job
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS
from mlipbook.studies.table1.readings import COMMON, Found, mean, straight, terms
from mlipbook.units import meV

# Table 1 of Shimamura, Koura, Shimojo: F_liq - F_sol at 350 K, meV/atom, setting -> atoms -> value.
PAPER: dict[str, dict[int, float]] = {
    "128-Gamma": {128: -2.47, 1024: -2.34},
    "128-4k": {128: -0.63, 1024: -0.74},
    "1024-Gamma": {1024: -0.24},
    "128-32k": {1024: -0.33},
}


def phase_records(found: Found, atoms: int) -> dict[str, Any]:
    """F, U and TS of both phases (Fig. 2) and the parts of F, means over the seeds that there are."""
    out = {}
    for setting in SETTINGS:
        for phase in PHASES:
            state = {"setting": setting, "phase": phase, "atoms": atoms, "temperature": TEMPERATURE}
            jobs = found.of("free energy", **state)
            if not jobs:
                continue
            F = mean([found.F(setting, job["seed"], phase, atoms, TEMPERATURE) for job in jobs])
            F = F + found.common_error(atoms) if phase == "liquid" else F
            U = mean([Value(*job["energy"]) for job in jobs])
            name, n = f"{setting}, {phase}, {atoms} atoms", len(jobs)
            for symbol, x in (("F", F), ("U", U), ("TS", U - F)):
                out[f"{symbol}, {name}"] = per_atom(x, n)
            parts = [terms(job) for job in jobs]
            for part in parts[0]:
                x = mean([each[part] for each in parts])
                x = x.value + found.common_error(atoms) if part == COMMON else x
                out[f"{part}, {name}"] = per_atom(x, n)
    return out


def size_records(found: Found, finite: Mapping[str, Value]) -> dict[str, Any]:
    """What F_liq - F_sol of the reference gains from smaller to larger boxes, as measured, as `finite_size`
    predicts, and the z-score between them."""
    out = {}
    for small, large in pairwise(sizes(found)):
        gain = reference(found, large)[0] - reference(found, small)[0]
        more, less = (finite[f"melt minus crystal, {n} atoms"] for n in (large, small))
        predicted = more - less
        title = f"size effect, {large} less {small} atoms"
        out[title] = per_atom(gain, 1)
        out[f"{title}, predicted"] = per_atom(predicted, 1)
        out[f"z, {title}: measured less predicted"] = z_score(gain, predicted)
    return out


def step_records(found: Found) -> dict[str, Any]:
    """F with the time step less F with half of it."""
    out = {}
    for job in found.of(SHORT):
        key = tuple(job[name] for name in ("setting", "seed", "phase", "atoms", "temperature"))
        error = found.F(*key) - found.F(*key, quantity=SHORT)
        out["step error, {setting}, seed {seed}, {phase}, {atoms} atoms".format(**job)] = per_atom(error, 1)
    return out


def drift_records(found: Found) -> dict[str, Any]:
    """Windows too short, even if run in one piece, for a drift to be told from noise, n: of how many."""
    out = {}
    for quantity, phase in product(("free energy", "difference"), PHASES):
        rows = [row for job in found.of(quantity, phase=phase) for row in job["windows"] if row["weight"]]
        lasts = [1000 * row["time_per_copy_ps"] / row["autocorrelation_time_fs"] for row in rows]
        if rows:
            short = Value(sum(x < 2 * LONG for x in lasts), n=len(rows))
            name = f"{quantity}, {phase}: windows of less than {2 * LONG} autocorrelation times"
            out[name] = short.record("windows")
    return out


def temperature_records(found: Found) -> dict[str, Any]:
    """Gibbs-Helmholtz: d(dF/T)/d(1/T) = dU, from three temperatures against the energies."""
    out = {}
    for setting in SETTINGS:
        at = {"setting": setting, "atoms": 128, "seed": REFERENCE[1], "phase": "liquid"}
        T = sorted(job["temperature"] for job in found.of("free energy", **at))
        if len(T) < 3:
            continue
        y = [found.delta(setting, REFERENCE[1], 128, t) for t in T]
        slope = straight(1 / np.array(T), [v / t for v, t in zip(y, T, strict=True)])
        out[f"dU, {setting}: from F(T)"] = per_atom(slope, len(T))
        out[f"dU, {setting}: from energies"] = per_atom(found.heat(setting), 3)
        out[f"z, dU, {setting}: from F(T) less from energies"] = z_score(slope, found.heat(setting))
    return out


def records(
    found: Found, finite: Mapping[str, Value], fits: Mapping[str, Value] | None = None
) -> dict[str, Any]:
    """All numbers of the chapter, in meV/atom. finite: of `finite_size`, eV per atom by name; fits: of
    `label_errors`."""
    out: dict[str, Any] = {}
    for setting in SETTINGS:
        for phase in PHASES:
            n = len(found.of("volume", setting=setting, phase=phase, temperature=TEMPERATURE))
            out[f"volume, {setting}, {phase}"] = found.volume(setting, phase).record("A^3/atom")
        out[f"dU, {setting}"] = per_atom(found.heat(setting), n)
    for atoms in sizes(found):
        out |= table_records(found, atoms, finite, fits) | phase_records(found, atoms)
    checks = size_records(found, finite) | temperature_records(found) | step_records(found)
    return out | checks | drift_records(found)


def table_records(
    found: Found, atoms: int, finite: Mapping[str, Value], fits: Mapping[str, Value] | None = None
) -> dict[str, Any]:
    """Table 1 for boxes of one size, beside the paper's numbers, and brought to infinite size, with melting
    temperatures."""
    missing = widened(finite[f"melt minus crystal, {atoms} atoms"])
    direct = measured(found, atoms)
    own, relative = table(found, atoms, fits)
    _, chi2, n = reference(found, atoms)
    out = {}
    if n > 1:
        chi2_per_freedom = Value(chi2 / (n - 1), (2 / (n - 1)) ** 0.5, n)
        out[f"chi^2 per degree of freedom, {atoms} atoms"] = chi2_per_freedom.record()
    for (setting, seed), dF in direct.items():
        out[f"dF, {setting}, {atoms} atoms, seed {seed}, direct"] = per_atom(dF, 1)
    for setting, dF in own.items():
        seeds = [x for (name, _), x in direct.items() if name == setting]
        if seeds:
            out[f"dF, {setting}, {atoms} atoms, direct"] = per_atom(mean(seeds), len(seeds))
        out[f"dF, {setting}, {atoms} atoms"] = per_atom(dF, len(direct))
        large, dU = dF - missing, found.heat(setting)
        dS = (dU.value - large.value) / TEMPERATURE
        out[f"dF, {setting}, {atoms} atoms, less finite-size terms"] = per_atom(large, len(direct))
        fitted = large + shared(fits, setting)  # of the labels, not of this potential alone
        T_m = Value(TEMPERATURE + large.value / dS, fitted.error / dS, len(direct))
        out[f"T_m, {setting}, from {atoms} atoms"] = T_m.record("K")
        if atoms in PAPER[setting]:
            less = dF - PAPER[setting][atoms] * meV + shared(fits, setting)
            out[f"dF, {setting}, {atoms} atoms, less the paper's"] = per_atom(less, 1)
    for setting, dF in relative.items():
        title = f"dF, {setting} less {REFERENCE[0]}, {atoms} atoms"
        out[title] = per_atom(dF, 3)
        out[f"z, {title}"] = z_score(dF)
    return out


def label_records(found: Found, finite: Mapping[str, Value], perturbed: Mapping[str, Any]) -> dict[str, Any]:
    """With `perturbation`: Gamma less 4k by integration and by labels, at the volumes of 4k; and what the
    table becomes when infinite boxes are brought from potentials to their labels."""
    moved, kept = (seeds_mean(found, setting, relaxed=False) for setting in ("128-Gamma", "128-4k"))
    integrated = moved - kept
    title = "128-Gamma less 128-4k at its volumes"
    first = value_of(perturbed, "Gamma minus 4k, liquid minus solid: sum")
    out = {
        f"dF, {title}, potentials": per_atom(integrated, 3),
        f"dF, {title}, labels": per_atom(first, 24),
        f"z, dF, {title}: potentials less labels": z_score(integrated, first),
    }
    for atoms in sizes(found):
        own, _ = table(found, atoms)
        for setting in ("128-Gamma", "128-4k"):
            missed = value_of(perturbed, f"labels minus potential, {setting}, liquid minus solid: sum")
            large = own[setting] - widened(finite[f"melt minus crystal, {atoms} atoms"])
            title = f"dF, {setting}, {atoms} atoms, less finite-size terms, brought to the labels"
            out[title] = per_atom(large + missed, 24)
    return out


def spent(jobs: Mapping[str, Job]) -> dict[str, float]:
    """CPU seconds of all jobs, by device."""
    total: dict[str, float] = {}
    for job in jobs.values():
        total[job["device"]] = total.get(job["device"], 0.0) + job["cpu_seconds"]
    return total


@command(saves="delta-f")
def study(
    folder: Path,
    potentials: Path = POTENTIALS,
    perturbation: Path = Path("results/full/delta-f-perturbation.json"),
    finite_size: Path = Path("results/full/finite-size.json"),
) -> Result:
    """What the jobs in the folder say."""
    found = Found(folder, potentials)
    seconds = spent(found.jobs)
    files = perturbation, finite_size, potentials / "errors.json"
    labels, ends, errors = (kept_records(path) for path in files)
    finite = {name: value_of(ends, name) for name in ends}
    out = records(found, finite, label_errors(errors)) | label_records(found, finite, labels)
    arrays = {"jobs": list(found.jobs.values()), "paper": PAPER, "spent": seconds}
    return Result(out, arrays, sum(seconds.values()), ", ".join(sorted(seconds)))
