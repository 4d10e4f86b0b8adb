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
from dataclasses import replace
from itertools import pairwise, product
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from mlipbook.averages import Value
from mlipbook.free_energy.series import LONG
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.studies.sodium import PHASES
from mlipbook.studies.table1.jobs import REFERENCE, SHORT, TEMPERATURE
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS
from mlipbook.studies.table1.readings import COMMON, ZERO, Found, mean, straight, terms
from mlipbook.units import meV

# Table 1 of Shimamura, Koura, Shimojo: F_liq - F_sol at 350 K, meV/atom, setting -> atoms -> value.
PAPER: dict[str, dict[int, float]] = {
    "128-Gamma": {128: -2.47, 1024: -2.34},
    "128-4k": {128: -0.63, 1024: -0.74},
    "1024-Gamma": {1024: -0.24},
    "128-32k": {1024: -0.33},
}


LEARNED = {"128-32k": "32k minus 4k", "1024-Gamma": "8k minus 4k"}  # corrections in place of labels
ALLOWANCE = 0.2  # of finite-size terms, for what theory leaves out: as much as sizes measured directly show
Records = dict[str, dict[str, Any]]
Values = Mapping[str, Value]


def per_atom(x: Value, n: int) -> dict[str, Any]:
    """The record, in meV/atom, of an energy (eV) that so many runs tell."""
    return replace(x / meV, n=n).record("meV/atom")


def compared(title: str, a: Value, b: Value = ZERO, what: str = "") -> Records:
    """The z-score of a less b."""
    return {f"z, {title}{what}": Value(a.z(b), 1.0, 1).record()}


def value_of(kept: Mapping[str, Any], name: str) -> Value:
    """Of records in meV/atom."""
    return Value.from_record(kept[name]) * meV


def size_term(finite: Values, atoms: int) -> Value:
    """What a box of so many atoms adds to F_liq - F_sol, with its allowance."""
    term = finite[f"melt minus crystal, {atoms} atoms"]
    return Value(term.value, hypot(term.error, ALLOWANCE * term.value))


# ---- Table 1 -------------------------------------------------------------------------------------------


def label_errors(kept: Mapping[str, Any]) -> dict[str, Value]:
    """Setting, or pair of a correction -> 0 with the error of U_liq - U_sol on held-out labels, eV per atom,
    which all seeds share; kept: the records of `fit_errors`."""
    names = {setting: f"{setting}: energy error, liquid minus solid" for setting in SETTINGS}
    names |= {pair: f"{pair}, left out: energy, liquid minus solid" for pair in LEARNED.values()}
    return {key: Value(0.0, value_of(kept, name).error) for key, name in names.items()}


def table(
    found: Found, atoms: int, fits: Mapping[str, Value] = {}
) -> tuple[dict[str, Value], dict[str, Value]]:
    """F_liq - F_sol by setting, and the same less that of the reference's setting. fits: of `label_errors`;
    where a learned correction stands for labels, all seeds share its error."""
    best = found.reference(atoms)[0] + found.common_error(atoms)
    shifts = {setting: found.seeds_mean(setting) for setting in SETTINGS}
    base = shifts[REFERENCE[0]]
    relative = {s: x - base + fits.get(LEARNED.get(s, ""), ZERO) for s, x in shifts.items()}
    del relative[REFERENCE[0]]
    return {setting: best + shift for setting, shift in shifts.items()}, relative


def table_records(found: Found, atoms: int, finite: Values, fits: Mapping[str, Value] = {}) -> Records:
    """Table 1 for boxes of one size, beside the paper's numbers, and brought to infinite size, with melting
    temperatures."""
    direct, (own, relative) = found.measured(atoms), table(found, atoms, fits)
    out, n = {}, len(direct)
    if n > 1:
        chi2 = Value(found.reference(atoms)[1] / (n - 1), (2 / (n - 1)) ** 0.5, n)
        out[f"chi^2 per degree of freedom, {atoms} atoms"] = chi2.record()
    for (setting, seed), dF in direct.items():
        out[f"dF, {setting}, {atoms} atoms, seed {seed}, direct"] = per_atom(dF, 1)
    for setting, dF in own.items():
        title, shared = f"dF, {setting}, {atoms} atoms", fits.get(setting, ZERO)
        if seeds := [x for (name, _), x in direct.items() if name == setting]:
            out[f"{title}, direct"] = per_atom(mean(seeds), len(seeds))
        out[title] = per_atom(dF, n)
        large = dF - size_term(finite, atoms)
        dS = (found.heat(setting).value - large.value) / TEMPERATURE
        out[f"{title}, less finite-size terms"] = per_atom(large, n)
        T_m = Value(TEMPERATURE + large.value / dS, (large + shared).error / dS, n)  # of the labels
        out[f"T_m, {setting}, from {atoms} atoms"] = T_m.record("K")
        if atoms in PAPER[setting]:
            out[f"{title}, less the paper's"] = per_atom(dF - PAPER[setting][atoms] * meV + shared, 1)
    for setting, dF in relative.items():
        title = f"dF, {setting} less {REFERENCE[0]}, {atoms} atoms"
        out |= {title: per_atom(dF, 3), **compared(title, dF)}
    return out


def phase_records(found: Found, atoms: int) -> Records:
    """F, U and TS of both phases (Fig. 2) and the parts of F, means over the seeds that there are."""
    out: Records = {}
    common = found.common_error(atoms)
    for setting, phase in product(SETTINGS, PHASES):
        if jobs := found.of("free energy", setting=setting, phase=phase, atoms=atoms):
            F = mean([found.F(setting, job["seed"], phase, atoms, TEMPERATURE) for job in jobs])
            F = F + common if phase == "liquid" else F
            U = mean([Value(*job["energy"]) for job in jobs])
            each = [terms(job) for job in jobs]
            parts = {name: mean([x[name] for x in each]) for name in each[0]}
            if COMMON in parts:
                parts[COMMON] = parts[COMMON].value + common
            for name, x in ({"F": F, "U": U, "TS": U - F} | parts).items():
                out[f"{name}, {setting}, {phase}, {atoms} atoms"] = per_atom(x, len(jobs))
    return out


# ---- checks --------------------------------------------------------------------------------------------


def size_records(found: Found, finite: Values) -> Records:
    """What F_liq - F_sol of the reference gains from smaller to larger boxes, as measured, as `finite_size`
    predicts, and the z-score between them."""
    out: Records = {}
    for small, large in pairwise(found.sizes()):
        gain = found.reference(large)[0] - found.reference(small)[0]
        more, less = (finite[f"melt minus crystal, {n} atoms"] for n in (large, small))
        title = f"size effect, {large} less {small} atoms"
        out |= {title: per_atom(gain, 1), f"{title}, predicted": per_atom(more - less, 1)}
        out |= compared(title, gain, more - less, ": measured less predicted")
    return out


def step_records(found: Found) -> Records:
    """F with the time step less F with half of it."""
    out = {}
    for job in found.of(SHORT, None):
        key = tuple(job[name] for name in ("setting", "seed", "phase", "atoms", "temperature"))
        error = found.F(*key) - found.F(*key, quantity=SHORT)
        out["step error, {setting}, seed {seed}, {phase}, {atoms} atoms".format(**job)] = per_atom(error, 1)
    return out


def drift_records(found: Found) -> Records:
    """Windows too short, even if run in one piece, for a drift to be told from noise, n: of how many."""
    out = {}
    for quantity, phase in product(("free energy", "difference"), PHASES):
        rows = [row for job in found.of(quantity, None, phase=phase) for row in job["windows"]]
        rows = [row for row in rows if row["weight"]]
        lasts = [1000 * row["time_per_copy_ps"] / row["autocorrelation_time_fs"] for row in rows]
        if rows:
            short = Value(sum(x < 2 * LONG for x in lasts), n=len(rows))
            name = f"{quantity}, {phase}: windows of less than {2 * LONG} autocorrelation times"
            out[name] = short.record("windows")
    return out


def temperature_records(found: Found) -> Records:
    """Gibbs-Helmholtz: d(dF/T)/d(1/T) = dU, from three temperatures against the energies."""
    out: Records = {}
    seed = REFERENCE[1]
    for setting in SETTINGS:
        jobs = found.of("free energy", None, setting=setting, atoms=128, seed=seed, phase="liquid")
        if len(jobs) >= 3:
            T, dU = sorted(job["temperature"] for job in jobs), found.heat(setting)
            slope = straight(1 / np.array(T), [found.delta(setting, seed, 128, t) / t for t in T])
            title = f"dU, {setting}"
            out[f"{title}: from F(T)"] = per_atom(slope, len(T))
            out[f"{title}: from energies"] = per_atom(dU, 3)
            out |= compared(title, slope, dU, ": from F(T) less from energies")
    return out


def label_records(found: Found, finite: Values, perturbed: Mapping[str, Any]) -> Records:
    """With `perturbation`: Gamma less 4k by integration and by labels, at the volumes of 4k; and what the
    table becomes when infinite boxes are brought from potentials to their labels."""
    settings = ("128-Gamma", "128-4k")
    moved, kept = (found.seeds_mean(setting, relaxed=False) for setting in settings)
    title = "dF, 128-Gamma less 128-4k at its volumes"
    first = value_of(perturbed, "Gamma minus 4k, liquid minus solid: sum")
    out = {f"{title}, potentials": per_atom(moved - kept, 3), f"{title}, labels": per_atom(first, 24)}
    out |= compared(title, moved - kept, first, ": potentials less labels")
    for atoms, setting in product(found.sizes(), settings):
        missed = value_of(perturbed, f"labels minus potential, {setting}, liquid minus solid: sum")
        brought = table(found, atoms)[0][setting] - size_term(finite, atoms) + missed
        title = f"dF, {setting}, {atoms} atoms, less finite-size terms, brought to the labels"
        out[title] = per_atom(brought, 24)
    return out


def records(found: Found, finite: Values, fits: Mapping[str, Value] = {}) -> Records:
    """All numbers of the chapter, in meV/atom. finite: of `finite_size`, eV per atom by name; fits: of
    `label_errors`."""
    out: Records = {}
    for setting in SETTINGS:
        volumes = {phase: found.at_zero_pressure("volume", setting, phase) for phase in PHASES}
        out |= {f"volume, {setting}, {phase}": V.record("A^3/atom") for phase, V in volumes.items()}
        out[f"dU, {setting}"] = per_atom(found.heat(setting), volumes["liquid"].n)
    for atoms in found.sizes():
        out |= table_records(found, atoms, finite, fits) | phase_records(found, atoms)
    checks = size_records(found, finite) | temperature_records(found) | step_records(found)
    return out | checks | drift_records(found)


@command(saves="delta-f")
def study(
    folder: Path,
    potentials: Path = POTENTIALS,
    perturbation: Path = Path("results/full/delta-f-perturbation.json"),
    finite_size: Path = Path("results/full/finite-size.json"),
) -> Result:
    """What the jobs in the folder say."""
    found, seconds = Found(folder, potentials), dict[str, float]()
    for job in found.jobs.values():
        seconds[job["device"]] = seconds.get(job["device"], 0.0) + job["cpu_seconds"]
    files = perturbation, finite_size, potentials / "errors.json"
    labels, ends, errors = (kept_records(path) for path in files)
    finite = {name: value_of(ends, name) for name in ends}
    out = records(found, finite, label_errors(errors)) | label_records(found, finite, labels)
    arrays = {"jobs": list(found.jobs.values()), "paper": PAPER, "spent": seconds}
    return Result(out, arrays, sum(seconds.values()), ", ".join(sorted(seconds)))
