"""The verdict on Fig. 1: what `hysteresis` computed, scored model by model and put into records.

python -m mlipbook.studies.hysteresis_report --folder FOLDER     results/full/hysteresis.json and .npz

With --first FOLDER, students that were not taught hot liquids join the causal law, and have their own scores
in results/full/hysteresis-first-students.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import jsonio

from mlipbook import archive, bookkit, datasets
from mlipbook.accuracy import predict
from mlipbook.ann import ANNPotential, load
from mlipbook.studies import hysteresis as study
from mlipbook.studies import melting
from mlipbook.studies import teacher as teaching
from mlipbook.studies.hysteresis import Plateaus, Ramps, Size
from mlipbook.studies.hysteresis_scores import (
    PHASES,
    Response,
    Score,
    bounded,
    causal_law,
    causal_points,
    distances,
    grid_of,
    response,
    score,
    teacher_error,
    transitions,
)
from mlipbook.studies.melting import Law, Mean
from mlipbook.studies.stress_training import UNITS
from mlipbook.studies.teacher import KINDS, Errors
from mlipbook.units import meV

BRANCHES = ("heating", "cooling")
Key = tuple[str, float, float]  # model, rate (K/ps), pressure (GPa)


def record(value: Mean | Law, unit: str, scale: float = 1.0) -> dict[str, Any]:
    number = value.slope if isinstance(value, Law) else value.value
    sem = None if not np.isfinite(value.sem) else float(value.sem) * scale
    return {"value": float(number) * scale, "sem": sem, "n": value.n, "unit": unit}


def count(value: float, unit: str = "") -> dict[str, Any]:
    return {"value": value, "sem": None, "n": 1, "unit": unit}


def over_seeds(values: Iterable[float], unit: str, common: float = 0.0) -> dict[str, Any]:
    """Mean over students; its standard error is that over seeds with an error `common` to all of them."""
    found = melting.mean(np.array(list(values)))
    return record(Mean(found.value, float(np.hypot(found.sem, common)), found.n), unit)


def records_of_kind(kind: str, scores: Mapping[str, Score], teacher: Score) -> dict[str, dict[str, Any]]:
    """Means over the students of a kind; where they are compared with the teacher, its error is included.

    z of the transition is that of the mean over students, and its own standard error is 1.
    """
    own = [found for name, found in scores.items() if name.split()[0] == kind]
    wrong = [1 - np.trace(s.labels) / s.labels.sum() for s in own]
    found = {
        "agreement of phase labels": over_seeds((100 * s.agreement for s in own), "%"),
        "replicas with another label": over_seeds((100 * x for x in wrong), "%"),
        "melting temperature": over_seeds((s.T_plus.value for s in own), "K"),
        "replicas that melted": over_seeds((s.melted for s in own), ""),
        "replicas that froze": over_seeds((s.froze for s in own), ""),
        "replicas lost": over_seeds((s.lost for s in own), ""),
        "shortest pair": count(min(s.closest for s in own), "A"),
        "volume step": over_seeds((s.volume_step.value for s in own), "A^3"),
        "enthalpy step": over_seeds((s.enthalpy_step.value for s in own), "meV/atom"),
    }
    melted = melting.mean(np.array([s.T_plus.value for s in own]))
    z = Mean(melting.z_score(melted, teacher.T_plus), 1.0, melted.n)
    found["z of the transition on heating"] = record(z, "")
    for b, (branch, common) in enumerate(zip(BRANCHES, teacher_error(teacher), strict=True)):
        found[f"g(r) within the band, {branch}"] = over_seeds((100 * s.g[b] for s in own), "%")
        found[f"density RMS, {branch}"] = over_seeds((100 * s.density[b] for s in own), "%", 100 * common)
        shifts = (100 * s.volume_shift[b].value for s in own)
        found[f"volume shift, {PHASES[b]}"] = over_seeds(shifts, "%", 100 * common)
    return {f"{kind}: {name}": item for name, item in found.items()}


def records_of_teacher(found: Score, response: Response) -> dict[str, dict[str, Any]]:
    return {
        "teacher: melting temperature": record(found.T_plus, "K"),
        "teacher: replicas that froze": count(found.froze),
        "teacher: shortest pair": count(found.closest, "A"),
        "teacher: volume step": record(found.volume_step, "A^3"),
        "teacher: enthalpy step": record(found.enthalpy_step, "meV/atom"),
        "teacher: bulk modulus, solid": record(response.bulk_modulus[0], "GPa"),
        "teacher: bulk modulus, liquid": record(response.bulk_modulus[1], "GPa"),
        "teacher: dT/dP of melting on heating": record(response.melting, "K/GPa"),
        "teacher: dT/dP by Clapeyron": record(response.clapeyron, "K/GPa"),
    }


def records_of_errors(errors: Errors, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Held-out errors of a committee of students, EF and EFP, over seeds."""
    out: dict[str, dict[str, Any]] = {}
    for k, kind in enumerate(KINDS):
        for name, values in errors.rmse.items():
            out[f"{prefix}{kind}: {name} error"] = over_seeds(np.split(values, 2)[k], UNITS[name])
        for phase in PHASES:
            bias = np.split(errors.pressure[phase], 2)[k]
            out[f"{prefix}{kind}: pressure bias, {phase}"] = over_seeds(bias, "GPa")
    return out


def records_of_teacher_errors(errors: Mapping[str, Errors]) -> dict[str, dict[str, Any]]:
    """Errors of the teacher on real test frames, by group; pressure biases with their error over frames."""
    out: dict[str, dict[str, Any]] = {}
    for group, found in errors.items():
        n = sum(found.frames.values())
        for name, values in found.rmse.items():
            item = {"value": float(values[0]), "sem": None, "n": n, "unit": UNITS[name]}
            out[f"teacher: {name} error, {group} test frames"] = item
        for phase, bias in found.pressure.items():
            value = Mean(float(bias[0]), float(found.pressure_sem[phase][0]), found.frames[phase])
            out[f"teacher: pressure bias, {phase}, {group} test frames"] = record(value, "GPa")
    return out


def records_of_rates(by_rate: Mapping[float, Ramps]) -> dict[str, dict[str, Any]]:
    """What the rate does to the teacher: when it melts, how many freeze, how much order the rest gains."""
    out: dict[str, dict[str, Any]] = {}
    for rate, found in sorted(by_rate.items()):
        plus, minus = transitions(found)
        out[f"teacher: melting temperature, {rate:g} K/ps"] = record(bounded(found), "K")
        out[f"teacher: replicas that melted, {rate:g} K/ps"] = count(int(np.isfinite(plus).sum()))
        out[f"teacher: replicas that froze, {rate:g} K/ps"] = count(int(np.isfinite(minus).sum()))
        coldest = grid_of(found, "q6")[melting.COOLING, :, 0]
        out[f"teacher: Q6 at the end of cooling, {rate:g} K/ps"] = record(melting.mean(coldest), "")
    return out


def records_of_coverage(
    committee: ANNPotential, groups: Mapping[str, Sequence[Atoms]]
) -> dict[str, dict[str, Any]]:
    """Spread of the EFP-fits to real labels on groups of frames: the same where the labels cover both."""
    spreads: dict[str, dict[str, Any]] = {}
    for group, frames in groups.items():
        found = [x["forces"][committee.members // 2 :] for x in predict(committee, frames)]
        spread = np.array([np.sqrt(forces.var(axis=0, ddof=1).mean()) for forces in found]) / meV
        spreads[f"spread of forces, {group}"] = record(melting.mean(spread), "meV/A")
        spreads[f"largest spread of forces, {group}"] = count(float(spread.max()), "meV/A")
    return spreads


def records_of_first_students(ramps: Mapping[Key, Ramps]) -> dict[str, dict[str, Any]]:
    """How many replicas students lost that had not been taught hot liquids, and where the first."""
    lost = [(found, b, i) for found in ramps.values() for b, i in np.argwhere(found.lost)]
    everyone = sum(found.lost.size for found in ramps.values())
    heated = [first_close(found, b, i) for found, b, i in lost if b == melting.HEATING]
    return {
        "students without hot liquids: replicas": count(everyone),
        "students without hot liquids: replicas lost": count(len(lost)),
        "students without hot liquids: coldest loss on heating": count(min(heated, default=np.nan), "K"),
    }


def first_close(ramps: Ramps, branch: int, replica: int) -> float:
    """Temperature at which a replica first has a pair closer than CLOSEST, K."""
    close = ~(ramps.observed["shortest"][branch, replica] > study.CLOSEST)
    return float(ramps.temperature[branch, np.argmax(close)])


def records_of_plateaus(held: Mapping[str, Plateaus]) -> dict[str, dict[str, Any]]:
    """Density of students of the real labels at constant temperature, over seeds, and of the teacher.

    Runs that have changed their phase are left out.
    """
    out: dict[str, dict[str, Any]] = {}
    for b, k in np.ndindex(held["teacher"].temperature.shape):
        where = f"density, {PHASES[b]}, {held['teacher'].temperature[b, k]:g} K"
        out[f"teacher: {where}"] = record(of_blocks(held["teacher"].observed["density"][b, k]), "g/cm^3")
        for kind in KINDS:
            own = [p.observed for name, p in held.items() if name.startswith(f"direct {kind} ")]
            same = [x["density"][b, k].mean() for x in own if keeps(PHASES[b], x["q6"][b, k])]
            out[f"direct {kind}: {where}"] = over_seeds(same, "g/cm^3")
    return out


def keeps(phase: str, q6: np.ndarray) -> bool:
    """Whether a series (samples,) of Q6 is still that of its phase in its last fifth."""
    return bool((q6[-(len(q6) // 5) :].mean() > melting.SOLID) == (phase == "solid"))


def densities(held: Plateaus) -> np.ndarray:
    """Mean of each plateau, (2, n) g/cm^3; nan where the phase has changed."""
    found = held.observed["density"].mean(axis=-1)
    for b, k in np.ndindex(found.shape):
        if not keeps(PHASES[b], held.observed["q6"][b, k]):
            found[b, k] = np.nan
    return found


def of_blocks(series: np.ndarray, blocks: int = 5) -> Mean:
    """Mean of a correlated series with the error of the means of equal blocks."""
    return melting.mean(np.array([block.mean() for block in np.array_split(series, blocks)]))


# ---- from the folder to the files -----------------------------------------------------------------------


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
        "teacher: shortest trained pair": count(min((learned.shortest or {}).values()), "A"),
        **records_of_rates({r: x for (name, r, p), x in ramps.items() if name == "teacher" and not p}),
        **records_of_errors(errors),
        **{key: item for kind in KINDS for key, item in records_of_kind(kind, scores, own).items()},
        **{f"causal law, {name}: slope": record(law, "") for name, law in laws.items()},
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
        "laws": plain(laws),
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


def laws_of(points: Mapping[str, Mapping[str, np.ndarray]], answer: Response) -> dict[str, Law]:
    """The causal laws of the first group of points, and of all groups together."""
    laws = {}
    for name, moduli in (("volume", answer.bulk_modulus), ("melting", (answer.melting,))):
        groups, scale = [found[name] for found in points.values()], max(x.sem / x.value for x in moduli)
        laws[name] = causal_law(groups[:1], len(moduli), scale)
        if len(groups) > 1:
            laws[f"{name}, {' and '.join(points)}"] = causal_law(groups, len(moduli), scale)
    return laws


def curves(ramps: Mapping[str, Ramps], held: Mapping[str, Plateaus]) -> dict[str, np.ndarray]:
    """Arrays for figures, float32, with a model's axis (M,) in front; the first model is the teacher.

    temperature (2, S) K; density, enthalpy, q6, shortest (M, 2, R, S); T_plus, T_minus (M, R) K;
    edges (bins + 1,) A; frame_temperature (2, F) K; g and g_spread (M, 2, F, bins), means and standard
    deviations over replicas; distance (M, 2, F) and band (2, F) of g(r); plateau_temperature (2, n) K;
    plateau_density (P, 2, n) g/cm^3, nan where the phase has changed; plateau_g (P, 2, n, bins).
    """
    teacher = ramps["teacher"]
    found = {
        name: np.stack([x.observed[name] for x in ramps.values()])
        for name in ("density", "enthalpy", "q6", "shortest")
    }
    T_plus, T_minus = np.moveaxis(np.array([transitions(x) for x in ramps.values()]), 1, 0)
    D = [distances(x, teacher) for x in ramps.values()]
    found |= {
        "temperature": teacher.temperature,
        "T_plus": T_plus,
        "T_minus": T_minus,
        "edges": study.EDGES,
        "frame_temperature": teacher.frame_temperature,
        "g": np.stack([x.g.mean(axis=1) for x in ramps.values()]),
        "g_spread": np.stack([x.g.std(axis=1, ddof=1) for x in ramps.values()]),
        "distance": np.stack([d for d, _ in D]),
        "band": D[0][1],
        "plateau_temperature": held["teacher"].temperature,
        "plateau_density": np.stack([densities(x) for x in held.values()]),
        "plateau_g": np.stack([x.g for x in held.values()]),
    }
    return {name: np.asarray(x, np.float32) for name, x in found.items()}


def plain(value: Any) -> Any:
    """Dataclasses, arrays and numbers as JSON knows them; numbers that are none become None."""
    if isinstance(value, Mean | Law | Score):
        value = asdict(value)
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
