"""F_liq - F_sol of the four labelings from the jobs of `runs`: one level for all, and shifts from it."""

from collections.abc import Mapping
from dataclasses import replace
from math import hypot
from typing import Any

from mlipbook.averages import Value
from mlipbook.studies.table1.jobs import REFERENCE, TEMPERATURE
from mlipbook.studies.table1.potentials import SETTINGS
from mlipbook.studies.table1.readings import ZERO, Found, mean, merged, weighted
from mlipbook.units import meV

LEARNED = {"128-32k": "32k minus 4k", "1024-Gamma": "8k minus 4k"}  # corrections in place of labels
ALLOWANCE = 0.2  # of finite-size terms, for what theory leaves out: as much as sizes measured directly show


def per_atom(x: Value, n: int) -> dict[str, Any]:
    """The record, in meV/atom, of an energy (eV) that so many runs tell."""
    return replace(x / meV, n=n).record("meV/atom")


def z_score(a: Value, b: Value = ZERO) -> dict[str, Any]:
    return Value(a.z(b), 1.0, 1).record()


def sizes(found: Found) -> list[int]:
    """Numbers of atoms of the free energies."""
    return sorted({job["atoms"] for job in found.of("free energy", temperature=TEMPERATURE)})


def measured(found: Found, atoms: int) -> dict[tuple[str, int], Value]:
    """F_liq - F_sol of every (setting, seed) that has one. Raises KeyError if one phase is missing."""
    jobs = found.of("free energy", atoms=atoms, temperature=TEMPERATURE)
    pairs = sorted({(job["setting"], job["seed"]) for job in jobs})
    return {(setting, seed): found.delta(setting, seed, atoms) for setting, seed in pairs}


def reference(found: Found, atoms: int) -> tuple[Value, float, int]:
    """F_liq - F_sol of the reference potential by all direct results, without the common error; chi^2 about
    it; their number. Where they scatter by more than their errors, the mean's error grows to match."""
    reduced = [dF - found.shift(*key) for key, dF in measured(found, atoms).items()]
    return merged(reduced), weighted(reduced)[1], len(reduced)


def widened(term: Value) -> Value:
    """A finite-size term with its allowance."""
    return Value(term.value, hypot(term.error, ALLOWANCE * term.value))


def table(
    found: Found, atoms: int, fits: Mapping[str, Value] | None = None
) -> tuple[dict[str, Value], dict[str, Value]]:
    """F_liq - F_sol by setting, and the same less that of the reference's setting. fits: of `label_errors`;
    where a learned correction stands for labels, all seeds share its error."""
    best = reference(found, atoms)[0] + found.common_error(atoms)
    shifts = {setting: seeds_mean(found, setting) for setting in SETTINGS}
    own = {setting: best + shift for setting, shift in shifts.items()}
    relative = {
        s: shift - shifts[REFERENCE[0]] + shared(fits, LEARNED.get(s, ""))
        for s, shift in shifts.items()
        if s != REFERENCE[0]
    }
    return own, relative


def shared(fits: Mapping[str, Value] | None, name: str) -> Value:
    """0 with the error that a fit has in common for all seeds, if it is known."""
    return Value(0.0, fits[name].error if fits and name in fits else 0.0)


def label_errors(kept: Mapping[str, Any]) -> dict[str, Value]:
    """Setting, or pair of a correction -> error of U_liq - U_sol on held-out labels, eV per atom; kept: the
    records of `k_point_potentials`."""
    names = {setting: f"{setting}: energy error, liquid minus solid" for setting in SETTINGS}
    names |= {pair: f"{pair}, left out: energy, liquid minus solid" for pair in LEARNED.values()}
    return {key: value_of(kept, name) for key, name in names.items()}


def seeds_mean(found: Found, setting: str, relaxed: bool = True) -> Value:
    """The shift from the reference, mean over the seeds of a setting."""
    seeds = {job["seed"] for job in found.of("difference", setting=setting, temperature=TEMPERATURE)}
    seeds |= {REFERENCE[1]} if setting == REFERENCE[0] else set()
    if not seeds:
        raise KeyError(f"{setting}: no differences from the reference in {found.folder}; run `difference`")
    return mean([found.shift(setting, seed, relaxed) for seed in sorted(seeds)])


def value_of(kept: Mapping[str, Any], name: str) -> Value:
    """Of records in meV/atom."""
    return Value.from_record(kept[name]) * meV
