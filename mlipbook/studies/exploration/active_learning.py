"""Active learning: molecular dynamics of a committee finds the structures that it does not know yet.

A round trains a committee, runs molecular dynamics with its first member at many state points and in strained
cells, and picks the frames on which the members disagree most, well apart in time. The picks are labeled (see
`labels.label`) and join the data, but for a part that was drawn before and is held out; then comes the next
round. Stop rule: in new dynamics the members' spread stays within twice the error on validation frames.

    python -m mlipbook study exploration.active_learning 1 picks.xyz
    python -m mlipbook study exploration.active_learning 2 picks.xyz --labeled FOLDER
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlipbook import archive, datasets
from mlipbook.accuracy import errors, predict
from mlipbook.averages import mean
from mlipbook.dynamics.trajectory import write_extxyz
from mlipbook.potentials import CloserThanTrained
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.command import command
from mlipbook.studies.exploration.search import explore, shortest
from mlipbook.studies.sodium import LIQUID_Q6, by_part, deviations, trained
from mlipbook.units import meV

GAP = 0.7  # ps between picks of a trajectory
UNITS = {"energy": "meV/atom", "force": "meV/A", "diagonal stress": "GPa", "off-diagonal stress": "GPa"}
# Of twelve new frames of a kind, in random order: one to test, one to validate.
PATTERN = ("train", "test", "train", "train", "train", "train", "train", "valid", *("train",) * 4)


@dataclass(frozen=True)
class Kind:
    """A kind of dynamics: a trajectory per temperature, at ambient pressure or, with a strain, in a fixed
    cell whose six strain components are drawn from -strain to strain. share: of a round's picks."""

    phase: str
    temperatures: tuple[float, ...]
    share: float
    strain: float = 0.0


KINDS = {
    "solid": Kind("solid", (200, 300, 400), 0.2),
    "liquid": Kind("liquid", (300, 400, 500, 700, 900), 0.4),
    "supercooled": Kind("liquid", (200, 250), 0.2),
    "strained solid": Kind("solid", (200, 300, 350, 250), 0.1, strain=0.03),
    "strained liquid": Kind("liquid", (300, 350, 400, 450), 0.1, strain=0.03),
}


def train_committee(
    parts: dict[str, list[Atoms]], *, members: int = 5, epochs: int = 60, seed: int = 0
) -> ANNPotential:
    """A committee of EFP-fits to the parts train and valid."""
    return trained(parts, (1, 1, 0.2), members=members, epochs=epochs, seed=seed)


# ---- what the committee knows -------------------------------------------------------------------------


def force_spread(committee: ANNPotential, frames: Sequence[Atoms]) -> np.ndarray:
    """Standard deviation of the members' forces, root mean square over a frame, (frames,) eV/A."""
    forces = (found["forces"] for found in predict(committee, frames))
    return np.array([np.sqrt(each.var(axis=0, ddof=1).mean()) for each in forces])


def squared_errors(committee: ANNPotential, frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Errors squared, averaged over a frame's components and the members: name -> (frames,), see UNITS."""
    each = deviations(frames, predict(committee, frames))
    parts = {
        "energy": [d["energy"] for d in each],
        "force": [d["forces"] for d in each],
        "diagonal stress": [d["stress"][:, :3] for d in each],
        "off-diagonal stress": [d["stress"][:, 3:] for d in each],
    }
    return {name: np.array([(x**2).mean() for x in found]) for name, found in parts.items()}


def pick(frames: Sequence[Atoms], spread: np.ndarray, count: int) -> list[int]:
    """Up to `count` frames of a trajectory in order of falling spread, at least GAP ps apart."""
    chosen: list[int] = []
    for i in np.argsort(-spread):
        time = frames[i].info["time_ps"]
        if len(chosen) < count and all(abs(time - frames[j].info["time_ps"]) >= GAP for j in chosen):
            chosen.append(int(i))
    return chosen


def hold_out(picks: Sequence[Atoms], rng: np.random.Generator) -> list[str]:
    """Part of each pick: one in twelve to test, one to validate, the kinds dealt out one after the other."""
    order = sorted(rng.permutation(len(picks)), key=lambda i: picks[i].info["kind"])  # stable: random within
    parts = {i: PATTERN[k % len(PATTERN)] for k, i in enumerate(order)}
    return [parts[i] for i in range(len(picks))]


# ---- a round ------------------------------------------------------------------------------------------


def explore_all(
    committee: ANNPotential, starts: Sequence[Atoms], total: int, number: int
) -> tuple[list[Atoms], list[dict]]:
    """About `total` picks of a round, and a record of each trajectory; starts: what these begin from."""
    driver = committee.member(0)
    picks: list[Atoms] = []
    records: list[dict] = []
    for name, kind in KINDS.items():
        n, wanted = len(kind.temperatures), round(total * kind.share)
        for k, temperature in enumerate(kind.temperatures):
            rng = np.random.default_rng((number, len(records)))
            start = start_for(starts, kind.phase, temperature, rng)
            # To leave the training set is the purpose here.
            with warnings.catch_warnings(action="ignore", category=CloserThanTrained):
                frames = explore(driver, start, temperature, kind.strain, rng)
                spread = force_spread(committee, frames)
            chosen = pick(frames, spread, wanted * (k + 1) // n - wanted * k // n)
            picks += [described(frames[i], name, temperature, spread[i], number) for i in chosen]
            records.append(summary(name, temperature, frames, spread, len(chosen)))
            print(json.dumps(records[-1]), flush=True)
    parts = hold_out(picks, np.random.default_rng(number))
    for k, (atoms, part) in enumerate(zip(picks, parts, strict=True)):
        atoms.info |= {"frame": f"al{number}_{k:04d}", "split": part}
    return picks, records


def start_for(starts: Sequence[Atoms], phase: str, temperature: float, rng: np.random.Generator) -> Atoms:
    """One of the three frames of a phase that are nearest in temperature; no half-crystallized liquid."""
    same = [a for a in starts if a.info["phase"] == phase and (phase == "solid" or a.info["q6"] < LIQUID_Q6)]
    nearest = sorted(same, key=lambda atoms: abs(atoms.info["md_temperature_K"] - temperature))[:3]
    return nearest[rng.integers(len(nearest))]


def described(atoms: Atoms, kind: str, temperature: float, spread: float, number: int) -> Atoms:
    """A copy without velocities that says where it comes from."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    copy.info = {
        "source": f"active learning, round {number}",
        "kind": kind,
        "md_temperature_K": float(temperature),
        "md_time_ps": atoms.info["time_ps"],
        "forces_spread_meV_A": round(float(spread) / meV, 2),
    }
    return copy


def summary(kind: str, temperature: float, frames: Sequence[Atoms], spread: np.ndarray, picks: int) -> dict:
    """A trajectory in numbers: mean volume (A^3 per atom), shortest pair (A), spread (meV/A)."""
    found = {"kind": kind, "temperature": temperature, "samples": len(frames), "picks": picks}
    if frames:
        found |= {
            "volume": round(float(np.mean([a.cell.volume / len(a) for a in frames])), 3),
            "shortest": round(min(shortest(a) for a in frames), 3),
            "spread mean": round(float(spread.mean()) / meV, 3),
            "spread max": round(float(spread.max()) / meV, 3),
        }
    return found


def error_report(committee: ANNPotential, frames: Sequence[Atoms]) -> dict[str, dict]:
    """RMSE on old frames and on each new kind, by part of the data: records."""
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        groups.setdefault(f"{atoms.info.get('kind', 'old')}, {atoms.info['split']}", []).append(atoms)
    return {
        f"{group}: {name}": (mean(squares) ** 0.5).record(UNITS[name])
        for group, members in sorted(groups.items())
        for name, squares in squared_errors(committee, members).items()
    }


def stop_rule(records: Sequence[dict], validation_error: float) -> dict[str, float]:
    """Share of trajectories whose largest spread (meV/A) is within twice the validation error."""
    largest = np.array([record["spread max"] for record in records if record["samples"]])
    limit = 2 * validation_error
    return {"limit": limit, "largest": float(largest.max()), "share within": float((largest <= limit).mean())}


@command()
def next_round(
    number: int, out: Path, /, *, labeled: Path | None = None, picks: int = 60, epochs: int = 60
) -> None:
    """Train on all labeled frames, report errors, explore, write picks. out: extxyz for the picks; beside it
    .json and .npz (committee). labeled: folder with labeled picks of earlier rounds, extxyz.
    """
    new = sorted(labeled.glob("*.xyz")) if labeled else []
    frames = datasets.load("na-gamma") + [atoms for path in new for atoms in ase.io.iread(path)]
    parts = by_part(frames)
    committee = train_committee(parts, epochs=epochs, seed=100 * number)
    committee.save(out.with_suffix(".npz"))
    print(json.dumps(found := error_report(committee, frames), indent=1), flush=True)
    starts = [a for a in datasets.load("na-gamma", "train") if a.info["source"].startswith("classical MD, r")]
    picked, dynamics = explore_all(committee, starts, picks, number)
    rule = stop_rule(dynamics, float(errors(committee, parts["valid"]).rmse["force"].mean()))
    print(json.dumps(rule), len(picked), "picks")
    report = {"train": len(parts["train"]), "errors": found, "dynamics": dynamics, "stop rule": rule}
    write_extxyz(out.with_suffix(".xyz"), picked)
    with archive.replacing(out.with_suffix(".json")) as file:
        file.write(json.dumps(report, indent=1).encode())
