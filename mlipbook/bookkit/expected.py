"""Expected values of recorded results: how they are compared, and how they change (only by ``bless``)."""

import json
import tomllib
from math import sqrt
from pathlib import Path
from typing import Any

from mlipbook import archive

from . import notebooks
from .results import today

KINDS = ("identity", "bound", "statistic")
MAX_IDENTITY_RTOL = 1e-6


def path_of(notebook: Path) -> Path:
    """Where a chapter's expected values are kept: ``book/expected/<chapter>.toml``."""
    return notebooks.BOOK / "expected" / f"{notebook.stem}.toml"


def load(notebook: Path) -> dict[str, Any]:
    """A chapter's expected values, ``{"records": {name: entry}, "blessed": [...]}``; empty if it has none."""
    path = path_of(notebook)
    return tomllib.loads(path.read_text()) if path.exists() else {"records": {}, "blessed": []}


def at(entry: dict, profile: str) -> dict:
    """One entry at one profile: each field is a plain value, or a table by profile."""
    return {key: field.get(profile) if isinstance(field, dict) else field for key, field in entry.items()}


def mismatch(value: float, sem: float | None, entry: dict, profile: str) -> str:
    """Why a recorded `value` is refused; empty if it is as expected.

    - identity: ``|value - ref| <= atol + rtol |ref|``, rtol at most 1e-6
    - bound: ``min <= value <= max`` (one of them may be missing), for quantities that should nearly vanish
    - statistic: ``|value - ref| <= atol + rtol |ref| + 4 sqrt(sem^2 + ref_sem^2)`` and ``sem <= sem_max``,
      so that a noisy run cannot pass
    """
    want = at(entry, profile)
    kind = want.get("kind")
    if kind == "bound":
        low, high = want.get("min"), want.get("max")
        if low is None and high is None:
            return f"has neither min nor max at profile {profile}"
        inside = (low is None or value >= low) and (high is None or value <= high)
        return "" if inside else f"{value:.6g} is outside [{low}, {high}]"
    if kind not in KINDS:
        return f"kind {kind!r} is none of {', '.join(KINDS)}"
    if want.get("value") is None:
        return f"has no value at profile {profile}"
    allowed = want.get("atol", 0.0) + want.get("rtol", 0.0) * abs(want["value"])
    if kind == "identity" and want.get("rtol", 0.0) > MAX_IDENTITY_RTOL:
        return f"an identity's rtol is at most {MAX_IDENTITY_RTOL}, not {want['rtol']}"
    if kind == "statistic":
        if sem is None:
            return "a statistic was recorded without a standard error"
        if sem > want["sem_max"]:
            return f"standard error {sem:.3g} is above {want['sem_max']:.3g}: too noisy to decide"
        allowed += 4 * sqrt(sem**2 + want["sem"] ** 2)
    if abs(value - want["value"]) <= allowed:
        return ""
    return f"{value:.8g} differs from {want['value']:.8g} by more than {allowed:.3g}"


def powerless(name: str, entry: dict, profile: str) -> list[str]:
    """The ``must_reject`` values that the tolerance would let pass; a list without any is a fault too."""
    want = at(entry, profile)
    if not (wrong := want.get("must_reject")):
        return [f"{name}: no must_reject value at profile {profile}"]
    # The largest standard error that is let through gives the widest tolerance.
    sem = want.get("sem_max")
    passed = [value for value in wrong if not mismatch(value, sem, entry, profile)]
    return [f"{name}: {value} must be rejected at profile {profile}, but passes" for value in passed]


def compare(executed: Path, profile: str) -> list[str]:
    """Differences between a notebook's records and what is expected of the chapter of that name."""
    got, entries = notebooks.records(notebooks.read(executed)), load(executed)["records"]
    found = [f"{name} is not expected: bless it" for name in got if name not in entries]
    found += [f"{name} is expected but was not recorded" for name in entries if name not in got]
    for name in sorted(got.keys() & entries.keys()):
        why = mismatch(got[name]["value"], got[name]["sem"], entries[name], profile)
        found += [f"{name}: {why}"] if why else []
    return [f"{executed.stem} ({profile}): {what}" for what in found]


def bless(notebook: Path, profile: str, reason: str) -> Path:
    """Take the records of an executed chapter as expected from now on, and write down why.

    Only values, standard errors and, for new records, a proposed kind with tolerances are written;
    whatever was set by hand (kind, atol, rtol, sem_max, min, max, must_reject) stays. At the profile of
    the stored outputs the chapter itself is read, else ``_build/notebooks/<profile>/``.
    """
    source = notebooks.EXECUTED / profile / notebook.name
    stored = notebooks.read(notebook)
    if stored["metadata"].get("mlipbook", {}).get("profile") == profile:
        source = notebook
    if not source.exists():
        raise FileNotFoundError(f"run it first: python -m mlipbook run --profile {profile} {notebook.stem}")
    content, path, entries = load(notebook), path_of(notebook), {}
    for name, item in notebooks.records(notebooks.read(source)).items():
        entry = content["records"].get(name, {})
        if entry.get("kind") == "statistic" and item["sem"] is None:
            raise ValueError(f"{notebook.stem}: the statistic {name!r} was recorded without a standard error")
        entries[name] = _updated(entry, item, profile)
    blessed = {"date": today(), "profile": profile, "reason": reason}
    with archive.replacing(path) as file:
        file.write(_toml({"records": entries, "blessed": [*content["blessed"], blessed]}).encode())
    return path


def _updated(entry: dict, item: dict, profile: str) -> dict:
    value, sem = item["value"], item["sem"]
    kind = "statistic" if sem is not None else "bound" if abs(value) < 1e-5 else "identity"
    new = dict(entry) or {"kind": kind}

    def rough(number: float) -> float:
        return float(f"{number:.3g}")

    def put(key: str, number: Any) -> None:
        table = new.get(key, {})
        new[key] = {**table, profile: number} if isinstance(table, dict) else number

    def propose(key: str, number: Any) -> None:
        if at(new, profile).get(key) is None:
            put(key, number)

    if new["kind"] == "bound":
        if at(new, profile).get("min") is None:
            propose("max", rough(10 * abs(value)) or 1e-12)
        propose("must_reject", [rough(100 * abs(value)) or 1e-10])
        return new
    put("value", value)
    if new["kind"] == "statistic":
        put("sem", sem)
        propose("sem_max", rough(2 * sem))
    elif "atol" not in new:
        new.setdefault("rtol", MAX_IDENTITY_RTOL)
    propose("must_reject", [rough(-value), rough(2 * value)])
    return new


def _toml(content: dict) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {literal(item)}" for key, item in value.items()) + " }"
        return json.dumps(value, ensure_ascii=False)

    lines = ["# Changes only through: python -m mlipbook bless CHAPTER --profile P --reason '...'", ""]
    for name, entry in content["records"].items():
        lines += [f"[records.{json.dumps(name)}]", *(f"{key} = {literal(v)}" for key, v in entry.items()), ""]
    for event in content["blessed"]:
        lines += ["[[blessed]]", *(f"{key} = {literal(v)}" for key, v in event.items()), ""]
    return "\n".join(lines)
