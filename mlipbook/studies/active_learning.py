"""Active learning: molecular dynamics of a committee finds the structures that it does not know yet.

A round trains a committee, runs molecular dynamics with its first member at many state points and in strained
cells, and picks the frames on which the members disagree most, well apart in time. The picks are labeled (see
`labels.label`) and join the data, but for a part that was drawn before and is held out; then comes the next
round. Stop rule: in new dynamics the members' spread stays within twice the error on validation frames.

    python -m mlipbook.studies.active_learning 1 picks.xyz
    python -m mlipbook.studies.active_learning 2 picks.xyz --labeled labels     (a folder of labeled picks)
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT

from mlipbook import archive, datasets
from mlipbook.accuracy import errors, predict
from mlipbook.ann import ANNPotential
from mlipbook.calculator import Calculator
from mlipbook.cost import Cost
from mlipbook.potentials import CloserThanTrained
from mlipbook.studies.stress_training import descriptor
from mlipbook.training import fit
from mlipbook.units import GPa, fs, kB, meV

CLOSEST = 2.3  # A; dynamics stops before a pair comes closer
TIMESTEP, CHECK, SAMPLE = 3.0, 10, 80  # fs; steps between checks of the distances, and between samples
SETTLE, NPT, NVT = 2.0, 6.0, 2.0  # ps: before sampling; sampling at ambient pressure; in a strained cell
GAP = 0.7  # ps between picks of a trajectory
LIQUID_Q6 = 0.12  # frames that start a liquid have less: some cold ones have begun to crystallize
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
    "solid": Kind("solid", (200, 250, 300, 350, 400), 3 / 12),
    "liquid": Kind("liquid", (300, 350, 400, 450, 600, 900), 3 / 12),
    "supercooled": Kind("liquid", (200, 230, 260, 290), 2 / 12),
    "strained solid": Kind("solid", (200, 250, 300, 350, 400) * 2, 2 / 12, strain=0.03),
    "strained liquid": Kind("liquid", (300, 350, 400, 450, 500) * 2, 2 / 12, strain=0.03),
}


class TooClose(RuntimeError):
    """Two atoms are closer than any structure worth a label."""


def train_committee(
    train: Sequence[Atoms], valid: Sequence[Atoms], *, members: int = 5, epochs: int = 100, seed: int = 0
) -> ANNPotential:
    """A committee of EFP-fits, trained in float32, returned in float64. Raises what `training.fit` raises."""
    potential = ANNPotential(descriptor(), members=members, seed=seed).float()
    fit(potential, train, valid, Cost(p_U=1, p_F=1, p_W=0.2), epochs=epochs, seed=seed)
    return potential.double()


# ---- dynamics -----------------------------------------------------------------------------------------


def explore(
    potential: ANNPotential, start: Atoms, temperature: float, strain: float, rng: np.random.Generator
) -> list[Atoms]:
    """Frames of one trajectory, each with info["time_ps"].

    It settles at ambient pressure first; then, with a strain, the cell is strained and held. If atoms come
    too close it ends; the frames from settling are returned only if it ended so early.
    """
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True, calculator=Calculator(potential))
    atoms.set_velocities(maxwell_boltzmann(atoms, temperature, rng))
    settling: list[Atoms] = []
    frames: list[Atoms] = []
    with suppress(TooClose):
        run(constant_pressure(atoms, temperature), SETTLE, settling)
        if strain:
            atoms.set_cell(atoms.cell.array @ random_strain(strain, rng), scale_atoms=True)
            run(NoseHooverChainNVT(atoms, TIMESTEP * fs, temperature, tdamp=100 * fs), NVT, frames)
        else:
            run(constant_pressure(atoms, temperature), NPT, frames)
    return frames or settling


def maxwell_boltzmann(atoms: Atoms, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Velocities (N, 3) in internal units, without a total momentum."""
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses() * kB * temperature)[:, None]
    return (momenta - momenta.mean(axis=0)) / atoms.get_masses()[:, None]


def constant_pressure(atoms: Atoms, temperature: float) -> IsotropicMTKNPT:
    """Nose-Hoover chains on atoms and volume (Martyna, Tobias, Klein), ambient pressure."""
    return IsotropicMTKNPT(
        atoms, TIMESTEP * fs, temperature_K=temperature, pressure_au=0.0, tdamp=100 * fs, pdamp=500 * fs
    )


def random_strain(largest: float, rng: np.random.Generator) -> np.ndarray:
    """1 + strain, (3, 3), symmetric; the six components uniform in -largest..largest."""
    xx, yy, zz, yz, xz, xy = rng.uniform(-largest, largest, 6)
    return np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def run(dynamics: IsotropicMTKNPT | NoseHooverChainNVT, length: float, frames: list[Atoms]) -> None:
    """Run for `length` ps and append samples to frames. Raises TooClose when atoms are."""
    for step in range(CHECK, round(1e3 * length / TIMESTEP) + 1, CHECK):
        dynamics.run(CHECK)
        if not shortest(dynamics.atoms) > CLOSEST:
            raise TooClose(f"{shortest(dynamics.atoms):.2f} A at {step * TIMESTEP:.0f} fs")
        if step % SAMPLE == 0:
            frame = dynamics.atoms.copy()
            frame.info["time_ps"] = step * TIMESTEP / 1e3
            frames.append(frame)


def shortest(atoms: Atoms) -> float:
    """Shortest distance between two atoms, angstrom; nan if positions are."""
    distances = atoms.get_all_distances(mic=True)
    return float(distances[np.triu_indices(len(atoms), 1)].min())


# ---- what the committee knows -------------------------------------------------------------------------


def force_spread(committee: ANNPotential, frames: Sequence[Atoms]) -> np.ndarray:
    """Standard deviation of the members' forces, root mean square over a frame, (frames,) eV/A."""
    forces = (found["forces"] for found in predict(committee, frames))
    return np.array([np.sqrt(each.var(axis=0, ddof=1).mean()) for each in forces])


def stress_errors(committee: ANNPotential, frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """RMSE of the diagonal and of the off-diagonal stress components, each (members,) GPa."""
    differences = [
        found["stress"] - atoms.get_stress()
        for atoms, found in zip(frames, predict(committee, frames), strict=True)
    ]
    square = (np.array(differences) / GPa) ** 2  # (frames, members, 6)
    return {
        "diagonal": np.sqrt(square[..., :3].mean((0, 2))),
        "off-diagonal": np.sqrt(square[..., 3:].mean((0, 2))),
    }


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
    """The picks of round `number`, about `total`, and what each trajectory told (one record each).

    starts: frames with info["phase"] and info["md_temperature_K"] for trajectories to begin from.
    """
    driver = committee.member(0)
    picks: list[Atoms] = []
    records: list[dict] = []
    for name, kind in KINDS.items():
        n = len(kind.temperatures)
        wanted = round(total * kind.share)
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
    """Mean over members of the errors on old frames and on each new kind, by part of the data."""
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        kind = atoms.info.get("kind", "old")
        groups.setdefault(f"{kind}, {atoms.info['split']}", []).append(atoms)
        if kind != "old":
            groups.setdefault(f"new, {atoms.info['split']}", []).append(atoms)
        if kind.startswith("strained"):
            groups.setdefault(f"strained, {atoms.info['split']}", []).append(atoms)
    report = {}
    for name, group in sorted(groups.items()):
        both = errors(committee, group).rmse | stress_errors(committee, group)
        report[name] = {"frames": len(group)} | {key: round(float(v.mean()), 5) for key, v in both.items()}
    return report


def stop_rule(records: Sequence[dict], validation_error: float) -> dict[str, float]:
    """Share of trajectories whose largest spread (meV/A) is within twice the validation error."""
    largest = np.array([record["spread max"] for record in records if record["samples"]])
    limit = 2 * validation_error
    return {"limit": limit, "largest": float(largest.max()), "share within": float((largest <= limit).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("round", type=int)
    parser.add_argument("out", type=Path, help="extxyz for the picks; beside it .json and .npz (committee)")
    parser.add_argument("--labeled", type=Path, help="folder with labeled picks of earlier rounds, extxyz")
    parser.add_argument("--picks", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args()
    new = sorted(args.labeled.glob("*.xyz")) if args.labeled else []
    frames = datasets.load("na-gamma") + [atoms for path in new for atoms in ase.io.iread(path)]
    parts = {part: [a for a in frames if a.info["split"] == part] for part in datasets.SPLITS}
    committee = train_committee(parts["train"], parts["valid"], epochs=args.epochs, seed=100 * args.round)
    committee.save(args.out.with_suffix(".npz"))
    print(json.dumps(found := error_report(committee, frames), indent=1), flush=True)
    starts = [a for a in datasets.load("na-gamma", "train") if a.info["source"].startswith("classical MD, r")]
    picks, dynamics = explore_all(committee, starts, args.picks, args.round)
    rule = stop_rule(dynamics, float(errors(committee, parts["valid"]).rmse["force"].mean()))
    print(json.dumps(rule), len(picks), "picks")
    report = {"train": len(parts["train"]), "errors": found, "dynamics": dynamics, "stop rule": rule}
    text = io.StringIO()
    ase.io.write(text, picks, format="extxyz")
    for suffix, content in (("xyz", text.getvalue()), ("json", json.dumps(report, indent=1))):
        with archive.replacing(args.out.with_suffix(f".{suffix}")) as file:
            file.write(content.encode())


if __name__ == "__main__":
    main()
