"""The verdict on Fig. 1: what `melting.runs` computed, scored model by model and put into records.

    python -m mlipbook study melting.report report --folder F --first G
    python -m mlipbook study melting.report figures --folder F
    python -m mlipbook study melting.report first-students --folder F --first G

G: folder of the same study with students that were not taught hot liquids.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlipbook import archive, datasets
from mlipbook.archive.jobs import decoded
from mlipbook.averages import Value
from mlipbook.potentials.ann import load
from mlipbook.studies.command import Result, command
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting import records
from mlipbook.studies.melting import teacher as teaching
from mlipbook.studies.melting.ramps import EDGES, Plateaus, Ramps
from mlipbook.studies.melting.records import Key, count, densities
from mlipbook.studies.melting.response import causal_points, laws_of, response
from mlipbook.studies.melting.runs import Size, model, teacher_snapshots
from mlipbook.studies.melting.scores import Score, distances, score, transitions
from mlipbook.studies.melting.teacher import KINDS


def stored(folder: Path) -> tuple[dict[Key, Ramps], dict[str, Plateaus], float]:
    """What is done of the study, by the present potentials: ramps by (model, rate, pressure), plateaus by
    model; CPU seconds."""
    present = cache(lambda name: archive.identity(model(folder, name)))
    ramps: dict[Key, Ramps] = {}
    held: dict[str, Plateaus] = {}
    seconds = 0.0
    for path in sorted((folder / "done").glob("*.json")):
        done = decoded(archive.read_json(path))
        job, result = done["job"], done["result"]
        if "potential" in job and job["potential"] != present(job["model"]):  # older ones do not tell
            continue
        seconds += result["seconds"]
        if "rate" in job:
            ramps[job["model"], job["rate"], job["pressure"]] = Ramps(**result["found"])
        else:
            held[job["model"]] = Plateaus(**result["found"])
    return ramps, held, seconds


@command(saves="hysteresis")
def report(folder: Path, first: Path | None = None) -> Result:
    """Records, window, scores, laws and points. first: folder of the same study with students that were not
    taught hot liquids, which join the causal law."""
    size, (ramps, held, seconds) = Size(), stored(folder)
    teacher, pressed = (ramps["teacher", size.rate, p] for p in (0.0, size.pressure))
    window = melting.coexistence_window(teacher.temperature, teacher.observed["q6"])
    own, answer = score(teacher, teacher, window), response(teacher, pressed, size.pressure, window)
    snapshots, points = teacher_snapshots(folder, size), {}
    untaught = stored(first)[0] if first else {}
    groups = {"students": (folder, students_of(ramps, size))}
    if first:
        groups["first students"] = first, {name: x for (name, _, _), x in untaught.items()}
    scores, errors = {}, {}
    for group, (place, found) in groups.items():
        scores[group] = {name: score(x, teacher, window) for name, x in found.items()}
        errors[group] = teaching.errors_by_phase(load(place / "students.npz"), snapshots["test"])
        points[group] = causal_points(scores[group], errors[group], own, answer)
    laws, melted = laws_of(points, answer), np.isfinite(transitions(pressed)[0])
    rates = {rate: x for (name, rate, P), x in ramps.items() if name == "teacher" and not P}
    out = {
        **records.of_teacher(own, answer),
        f"teacher: replicas that melted, {size.pressure:g} GPa": count(int(melted.sum())),
        **records.of_rates(rates),
        **records.of_errors(errors["students"]),
        **{k: x for kind in KINDS for k, x in records.of_kind(kind, scores["students"], own).items()},
        **{f"causal law, {name}: slope": law.record() for name, (law, _) in laws.items()},
        **records_of_real_labels(folder, snapshots["test"], float(teacher.temperature.max())),
        **records.of_plateaus(held),
        **(records.of_first_students(untaught) if first else {}),
    }
    bias = errors["students"].pressure.items()
    tables = {
        "window": window,
        "frames": {part: len(frames) for part, frames in snapshots.items()},
        "scores": {"teacher": own, **scores["students"]},
        "scores of first students": scores.get("first students", {}),
        "pressure_errors": {"mean": {p: x.value for p, x in bias}, "sem": {p: x.error for p, x in bias}},
        "laws": {
            name: {"slope": law.value, "sem": law.error, "chi2": chi2, "n": law.n}
            for name, (law, chi2) in laws.items()
        },
        "points": points,
    }
    return Result(finite(out), plain(tables), seconds)


@command(saves="hysteresis-first-students")
def first_students(folder: Path, first: Path) -> Result:
    """Scores of students that were not taught hot liquids. first: their folder."""
    teacher = stored(folder)[0]["teacher", Size().rate, 0.0]
    window = melting.coexistence_window(teacher.temperature, teacher.observed["q6"])
    ramps, _, seconds = stored(first)
    scores = {name: score(found, teacher, window) for (name, _, _), found in sorted(ramps.items())}
    own = score(teacher, teacher, window)
    errors = teaching.errors_by_phase(load(first / "students.npz"), teacher_snapshots(folder, Size())["test"])
    out = records.of_errors(errors) | records.of_first_students(ramps)
    for kind in KINDS:
        out |= records.of_kind(kind, scores, own)
    return Result(finite(out), {"scores": plain(scores)}, seconds)


@command()
def figures(folder: Path, out: Path = Path("results/full/hysteresis.npz")) -> None:
    """What figures draw, see `curves`."""
    ramps, held, _ = stored(folder)
    models = {"teacher": ramps["teacher", Size().rate, 0.0], **students_of(ramps, Size())}
    metadata = {"kind": "curves of the melting hysteresis", "version": 1}
    archive.save(out, curves(models, held), metadata | {"models": list(models), "plateau_models": list(held)})


def students_of(ramps: Mapping[Key, Ramps], size: Size) -> dict[str, Ramps]:
    """Ramps by student, as in the committee."""
    names = [f"{kind} {seed}" for kind in KINDS for seed in range(size.seeds)]
    return {name: ramps[name, size.rate, 0.0] for name in names}


def records_of_real_labels(folder: Path, snapshots: Sequence[Atoms], hottest: float) -> dict[str, dict]:
    """Errors of the teacher and of students of the real labels on these, and what the labels cover."""
    learned, direct = (load(folder / f"{name}.npz") for name in ("teacher", "direct"))
    real = datasets.load("na-gamma", "test")
    cold = [atoms for atoms in real if atoms.info["md_temperature_K"] <= hottest]
    return {
        **records.of_teacher_errors(teaching.teacher_errors(learned)),
        "teacher: shortest trained pair": count(min((learned.shortest or {}).values()), "A"),
        **records.of_errors(teaching.errors_by_phase(direct, real), "direct "),
        **records.of_coverage(direct, {"real test frames": cold, "snapshots": snapshots}),
    }


def finite(found: dict[str, dict]) -> dict[str, dict]:
    return {name: item for name, item in found.items() if np.isfinite(item["value"])}


def curves(ramps: Mapping[str, Ramps], held: Mapping[str, Plateaus]) -> dict[str, np.ndarray]:
    """Arrays for figures, float32, with a model's axis (M,) in front; the first model is the teacher.

    temperature (2, S) K; density, enthalpy, q6, shortest (M, 2, R, S); T_plus, T_minus (M, R) K;
    edges (bins + 1,) A; frame_temperature (2, F) K; g and g_spread (M, 2, F, bins), means and standard
    deviations over replicas; distance and band (M - 1, 2, F) of g(r) of all but the teacher;
    plateau_temperature (2, n) K; plateau_density (P, 2, n) g/cm^3, nan where the phase has changed;
    plateau_g (P, 2, n, bins).
    """
    teacher, others = ramps["teacher"], list(ramps.values())[1:]
    T_plus, T_minus = np.moveaxis(np.array([transitions(x) for x in ramps.values()]), 1, 0)
    distance, band = np.moveaxis(np.array([distances(x, teacher) for x in others]), 1, 0)
    seen = ("density", "enthalpy", "q6", "shortest")
    found = {name: np.stack([x.observed[name] for x in ramps.values()]) for name in seen} | {
        "temperature": teacher.temperature,
        "T_plus": T_plus,
        "T_minus": T_minus,
        "edges": EDGES,
        "frame_temperature": teacher.frame_temperature,
        "g": np.stack([x.g.mean(axis=1) for x in ramps.values()]),
        "g_spread": np.stack([x.g.std(axis=1, ddof=1) for x in ramps.values()]),
        "distance": distance,
        "band": band,
        "plateau_temperature": held["teacher"].temperature,
        "plateau_density": np.stack([densities(x) for x in held.values()]),
        "plateau_g": np.stack([x.g for x in held.values()]),
    }
    return {name: np.asarray(x, np.float32) for name, x in found.items()}


def plain(value: Any) -> Any:
    """Dataclasses, arrays and numbers as JSON knows them; numbers that are none become None."""
    if isinstance(value, Value):
        value = {"value": value.value, "sem": value.error, "n": value.n}
    if isinstance(value, Score):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(x) for x in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
