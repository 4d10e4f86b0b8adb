"""Gamma against four k points, without any fit: first-principles labels on fixed ensembles.

Snapshots of crystal and melt are drawn from NVT runs of one potential, here that of 128-4k, and labeled at
both samplings. For each phase, to second order (Zwanzig, J. Chem. Phys. 22, 1420 (1954)),

    F(Gamma) - F(4k) = <U_Gamma - U_4k> - variance/(2 kT),

in the potential's ensemble in place of that of 4k. Liquid minus solid is what the change of labels does to
F_liq - F_sol at fixed volumes, beside the same difference from thermodynamic integration. Labels minus
potential tells in the same way what a fit has missed. For 32k and 8k (the sampling of 1024-Gamma) the
corrections of `k_point_potentials` stand for labels.

    python -m mlipbook.studies.perturbation frames --folder F --out frames.xyz
    python -m mlipbook.studies.perturbation report --gamma gamma.xyz --four 4k.xyz --out result.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import bookkit
from mlipbook.accuracy import predict
from mlipbook.ann import ANNPotential, load
from mlipbook.dynamics import Langevin, Limits, thermalize
from mlipbook.dynamics.trajectory import write_extxyz
from mlipbook.observables import steinhardt
from mlipbook.studies import delta_f, k_point_potentials
from mlipbook.studies.boxes import heated, starts
from mlipbook.studies.k_point_correction import differences, fit_correction
from mlipbook.units import fs, kB, meV

SETTING, SEED = "128-4k", 0
SNAPSHOTS = 12  # of each phase, from as many replicas
STEPS = 1250


def snapshots(
    potential: ANNPotential, phase: str, volume: float, temperature: float, **run: Any
) -> list[Atoms]:
    """The last frames of independent replicas of 128 atoms, 5 ps after their start; volume: A^3 per atom."""
    boxes = starts(phase, SNAPSHOTS, volume, temperature)
    state = thermalize(boxes, heated(phase, temperature), seed=1)
    simulation = Langevin(potential, delta_f.TIMESTEP * fs, temperature)
    end = simulation.run(state, STEPS, limits=Limits(closest=0.0), **run).state.structures
    found = end.to_ase()
    for k, (atoms, q6) in enumerate(zip(found, steinhardt(end).tolist(), strict=True)):
        atoms.wrap()
        name = {"frame": f"ti_{phase[0]}{k:02d}", "phase": phase, "q6": round(q6, 4)}
        atoms.info |= {**name, "md_temperature_K": temperature, "source": f"NVT of the {SETTING} potential"}
    return found


def predicted(committee: ANNPotential, frames: Sequence[Atoms]) -> list[Atoms]:
    """Copies of the frames with the mean of the members as labels."""
    copies = []
    for atoms, found in zip(frames, predict(committee, frames), strict=True):
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, info=dict(atoms.info))
        copy.calc = SinglePointCalculator(copy, **{name: x.mean(0) for name, x in found.items()})
        copies.append(copy)
    return copies


def perturbed(
    a: Sequence[Atoms], b: Sequence[Atoms], temperature: float, title: str
) -> dict[str, dict[str, Any]]:
    """Records of F(a) - F(b) in meV/atom, for each phase and for liquid minus solid; title: "a minus b".

    Errors are those of means over independent snapshots; that of the second cumulant is of a normal variance.
    """
    frames = differences(a, b)
    kT, out, sums = kB * temperature, {}, {}
    for phase in ("solid", "liquid"):
        here = [atoms for atoms in frames if atoms.info["phase"] == phase]
        u = np.array([atoms.get_potential_energy() for atoms in here])
        N, n = len(here[0]), len(u)
        first = u.mean() / N, u.std(ddof=1) / n**0.5 / N
        second = -u.var(ddof=1) / (2 * kT) / N
        cumulants = {
            "mean": first,
            "second cumulant": (second, abs(second) * (2 / (n - 1)) ** 0.5),
        }
        total = first[0] + second, float(np.hypot(first[1], cumulants["second cumulant"][1]))
        sums[phase] = cumulants | {"sum": total}
        for name, x in sums[phase].items():
            out[f"{title}, {phase}: {name}"] = record(x, n)
    for name, (value, error) in sums["liquid"].items():
        other = sums["solid"][name]
        shift = value - other[0], float(np.hypot(error, other[1]))
        out[f"{title}, liquid minus solid: {name}"] = record(shift, len(frames))
    return out


def record(x: tuple[float, float], n: int) -> dict[str, Any]:
    return {"value": float(x[0]) / meV, "sem": float(x[1]) / meV, "n": n, "unit": "meV/atom"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["frames", "report"])
    parser.add_argument("--folder", type=Path, help="of delta_f, with the volumes")
    parser.add_argument("--potentials", type=Path, default=delta_f.POTENTIALS)
    parser.add_argument("--gamma", help="the frames with labels at the Gamma point")
    parser.add_argument("--four", help="the frames with labels at 4k")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    T = delta_f.TEMPERATURE
    if given.command == "report":
        began = time.perf_counter()
        labels: dict[str, Any] = {"Gamma": ase.io.read(given.gamma, ":"), "4k": ase.io.read(given.four, ":")}
        results = perturbed(labels["Gamma"], labels["4k"], T, "Gamma minus 4k")
        for name, frames in labels.items():
            committee = load(given.potentials / f"128-{name}.npz")
            title = f"labels minus potential, 128-{name}"
            results |= perturbed(frames, predicted(committee, frames), T, title)
        known = k_point_potentials.bundled()
        for name in ("32k", "8k"):
            correction = fit_correction(differences(known[name], known["4k"]))
            corrected = k_point_potentials.corrected(labels["4k"], correction)
            results |= perturbed(corrected, labels["4k"], T, f"{name} minus 4k, by the correction")
        names = [atoms.info["frame"] for atoms in labels["Gamma"]]
        energies = {name: [a.get_potential_energy() for a in frames] for name, frames in labels.items()}
        seconds = time.perf_counter() - began
        return bookkit.save_result(given.out, results, seconds, seed=0, frames=names, energies=energies)
    potential = delta_f.member(given.potentials, SETTING, SEED)
    frames = []
    for phase in delta_f.PHASES:
        job = delta_f.jobs_of("volume", [SETTING], [SEED], [phase], [T])[0]
        volume = delta_f.volume_at(given.folder, job)
        store = given.folder / "runs" / f"snapshots-{phase}-{delta_f.fingerprint(given.potentials, job)}"
        frames += snapshots(potential, phase, volume, T, store=store, progress=False)
    write_extxyz(given.out, frames)


if __name__ == "__main__":
    main()
