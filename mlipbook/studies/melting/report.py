"""The verdict on Fig. 1: what `hysteresis` computed, scored model by model and put into records.

python -m mlipbook.studies.melting.report --folder FOLDER     results/full/hysteresis.json and .npz

With --first FOLDER, students that were not taught hot liquids join the causal law, and have their own scores
in results/full/hysteresis-first-students.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import jsonio

from mlipbook import archive, bookkit, datasets
from mlipbook.averages import Value
from mlipbook.potentials.ann import load
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting import runs as study
from mlipbook.studies.melting import teacher as teaching
from mlipbook.studies.melting.ramps import EDGES, Plateaus, Ramps
from mlipbook.studies.melting.records import (
    Key,
    count,
    densities,
    records_of_coverage,
    records_of_errors,
    records_of_first_students,
    records_of_kind,
    records_of_plateaus,
    records_of_rates,
    records_of_teacher,
    records_of_teacher_errors,
)
from mlipbook.studies.melting.response import causal_points, laws_of, response
from mlipbook.studies.melting.runs import Size
from mlipbook.studies.melting.scores import Score, distances, score, transitions
from mlipbook.studies.melting.teacher import KINDS


def stored(folder: Path) -> tuple[dict[Key, Ramps], dict[str, Plateaus], float]:
    """What is done of the study: ramps by (model, rate, pressure), plateaus by model; CPU seconds."""
    ramps: dict[Key, Ramps] = {}
    held: dict[str, Plateaus] = {}
    seconds = 0.0
    for path in sorted((folder / "done").glob("*.json")):
        done = jsonio.decode(path.read_text(), always_array=False)
        job, result = done["job"], done["result"]
        seconds += result["seconds"]
        if "rate" in job:
            ramps[job["model"], job["rate"], job["pressure"]] = Ramps(**result["found"])
        else:
            held[job["model"]] = Plateaus(**result["found"])
    return ramps, held, seconds


def report(folder: Path, size: Size, out: Path, first: Path | None = None) -> None:
    """Write `out`.json (records, window, scores, laws, points) and `out`.npz (see `curves`).

    first: folder of the same study with students that were not taught hot liquids, if there is one.
    """
    ramps, held, seconds = stored(folder)
    teacher, pressed = (ramps["teacher", size.rate, p] for p in (0.0, size.pressure))
    window = melting.coexistence_window(teacher.temperature, teacher.observed["q6"])
    names = [f"{kind} {seed}" for kind in KINDS for seed in range(size.seeds)]  # as in the committee
    students = {name: ramps[name, size.rate, 0.0] for name in names}
    learned = load(folder / "teacher.npz")
    own, answer = score(teacher, teacher, window), response(teacher, pressed, size.pressure, window)
    under = transitions(pressed)
    scores = {name: score(found, teacher, window) for name, found in students.items()}
    snapshots = study.teacher_snapshots(folder, size)
    errors = teaching.errors_by_phase(load(folder / "students.npz"), snapshots["test"])
    points = {"students": causal_points(scores, errors, own, answer)}
    others: dict[str, Score] = {}
    if first:
        others = {name: score(x, teacher, window) for (name, _, _), x in stored(first)[0].items()}
        known = teaching.errors_by_phase(load(first / "students.npz"), snapshots["test"])
        points["first students"] = causal_points(others, known, own, answer)
    laws = laws_of(points, answer)
    direct, real = load(folder / "direct.npz"), datasets.load("na-gamma", "test")
    cold = [atoms for atoms in real if atoms.info["md_temperature_K"] <= teacher.temperature.max()]
    records = {
        **records_of_teacher_errors(teaching.teacher_errors(learned)),
        **records_of_teacher(own, answer),
        f"teacher: replicas that melted, {size.pressure:g} GPa": count(int(np.isfinite(under[0]).sum())),
        "teacher: shortest trained pair": count(min((learned.shortest or {}).values()), "A"),
        **records_of_rates({r: x for (name, r, p), x in ramps.items() if name == "teacher" and not p}),
        **records_of_errors(errors),
        **{key: item for kind in KINDS for key, item in records_of_kind(kind, scores, own).items()},
        **{f"causal law, {name}: slope": law.record() for name, (law, _) in laws.items()},
        **records_of_errors(teaching.errors_by_phase(direct, real), "direct "),
        **records_of_coverage(direct, {"real test frames": cold, "snapshots": snapshots["test"]}),
        **records_of_plateaus(held),
        **(records_of_first_students(stored(first)[0]) if first else {}),
    }
    records = {name: item for name, item in records.items() if np.isfinite(item["value"])}
    tables = {
        "window": list(window),
        "frames": {part: len(frames) for part, frames in snapshots.items()},
        "scores": {name: plain(found) for name, found in {"teacher": own, **scores}.items()},
        "scores of first students": {name: plain(found) for name, found in others.items()},
        "pressure_errors": plain({"mean": errors.pressure, "sem": errors.pressure_sem}),
        "laws": {
            name: {"slope": law.value, "sem": law.error, "chi2": chi2, "n": law.n}
            for name, (law, chi2) in laws.items()
        },
        "points": plain(points),
    }
    bookkit.save_result(out.with_suffix(".json"), records, seconds, 0, **tables)
    series = curves({"teacher": teacher, **students}, held)
    models = {"models": ["teacher", *students], "plateau_models": list(held)}
    metadata = {"kind": "curves of the melting hysteresis", "version": 1, **models}
    archive.save(out.with_suffix(".npz"), series, metadata)


def report_first(folder: Path, first: Path, size: Size, out: Path) -> None:
    """Write the scores of students that were not taught hot liquids to `out`-first-students.json."""
    teacher = stored(folder)[0]["teacher", size.rate, 0.0]
    window = melting.coexistence_window(teacher.temperature, teacher.observed["q6"])
    ramps, _, seconds = stored(first)
    scores = {name: score(found, teacher, window) for (name, _, _), found in sorted(ramps.items())}
    own = score(teacher, teacher, window)
    test = study.teacher_snapshots(folder, size)["test"]
    errors = teaching.errors_by_phase(load(first / "students.npz"), test)
    records = records_of_errors(errors) | records_of_first_students(ramps)
    for kind in KINDS:
        records |= records_of_kind(kind, scores, own)
    records = {name: item for name, item in records.items() if np.isfinite(item["value"])}
    path = out.with_name(f"{out.name}-first-students.json")
    bookkit.save_result(path, records, seconds, 0, scores=plain(scores))


def curves(ramps: Mapping[str, Ramps], held: Mapping[str, Plateaus]) -> dict[str, np.ndarray]:
    """Arrays for figures, float32, with a model's axis (M,) in front; the first model is the teacher.

    temperature (2, S) K; density, enthalpy, q6, shortest (M, 2, R, S); T_plus, T_minus (M, R) K;
    edges (bins + 1,) A; frame_temperature (2, F) K; g and g_spread (M, 2, F, bins), means and standard
    deviations over replicas; distance and band (M - 1, 2, F) of g(r) of all but the teacher;
    plateau_temperature (2, n) K; plateau_density (P, 2, n) g/cm^3, nan where the phase has changed;
    plateau_g (P, 2, n, bins).
    """
    teacher = ramps["teacher"]
    found = {
        name: np.stack([x.observed[name] for x in ramps.values()])
        for name in ("density", "enthalpy", "q6", "shortest")
    }
    T_plus, T_minus = np.moveaxis(np.array([transitions(x) for x in ramps.values()]), 1, 0)
    compared = np.array([distances(x, teacher) for x in list(ramps.values())[1:]])
    found |= {
        "temperature": teacher.temperature,
        "T_plus": T_plus,
        "T_minus": T_minus,
        "edges": EDGES,
        "frame_temperature": teacher.frame_temperature,
        "g": np.stack([x.g.mean(axis=1) for x in ramps.values()]),
        "g_spread": np.stack([x.g.std(axis=1, ddof=1) for x in ramps.values()]),
        "distance": compared[:, 0],
        "band": compared[:, 1],
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/full/hysteresis"))
    parser.add_argument("--first", type=Path, help="folder with students that were not taught hot liquids")
    given = parser.parse_args()
    report(given.folder, Size(), given.out, given.first)
    if given.first:
        report_first(given.folder, given.first, Size(), given.out)


if __name__ == "__main__":
    main()
