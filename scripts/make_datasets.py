"""Make the bundled sodium data sets: python scripts/make_datasets.py FOLDER

FOLDER holds na_gamma.xyz and na_4k.xyz as labeled by pw.x. Written into mlipbook/data: each set as
xz-compressed extended xyz, in which the atoms' lines are the source's and the headers gain free_energy, q6,
phase and split; and manifest.json with what a reader must know about them, and their SHA-256.
"""

import hashlib
import io
import json
import lzma
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from scipy.special import sph_harm_y

DATA = Path(__file__).parents[1] / "mlipbook" / "data"
SOLID_Q6 = 0.25
# 5 : 1 : 1, begun so that the extreme volumes are trained on and all three parts hold frames with 4 k points.
PATTERN = ("test", "train", "train", "train", "train", "valid", "train")

LABELS = {
    "code": "Quantum ESPRESSO pw.x 6.7",
    "functional": "PBE",
    "pseudopotential": (
        "norm-conserving (Troullier-Martins), 1 valence electron, scalar relativistic, nonlinear core "
        "correction (rcore 2.1 bohr), r_c 3.0 bohr for s, p, d, local d; made with ld1.x 6.7"
    ),
    "cutoffs": "10 Ry for wavefunctions, 50 Ry for the density",
    "smearing": "Fermi-Dirac, kT = 0.01 Ry",
    "bands": 96,
    "scf": "Thomas-Fermi mixing, converged to 1e-6 Ry (force error 0.07 meV/A); no symmetry",
    "energy": (
        "free energy F = E - TS, with which the forces are consistent; minus_TS_eV is -TS. The zero is the "
        "pseudopotential's: only differences mean something"
    ),
    "forces": "eV/A, mean force removed",
    "stress": "ASE's sign (pressure = -trace/3), without the motion of the ions; resolution 1.5e-4 GPa",
}
STRUCTURES = (
    "128 atoms, cubic cells. md_*: classical many-body MD of bcc and liquid Na at 200-500 K, cell edge "
    "rescaled by 1.014 +- 0.008 at random; hot_*: liquid at 350-1300 K. Phase: global Steinhardt Q6 "
    f"over the 14 nearest neighbors, solid above {SOLID_Q6}; the 250 K frames with Q6 of 0.16-0.28 are "
    "partly crystallized"
)
SPLIT = (
    f"Frames sorted by source, phase, MD temperature and volume are dealt out as {', '.join(PATTERN)}, "
    "again and again, so that each part holds solid and liquid, cold and hot, and the range of volumes. "
    "Frames of one trajectory fall into different parts; no two are close in time: between any two "
    "frames the forces' correlation coefficient is below 0.22 in magnitude, about what chance gives "
    "among 10,440 pairs of 384 components. A frame with 4 k points is in the part of its namesake at "
    "Gamma"
)
GAPS = "no deformed (non-cubic) cells; no pair below 2.5 A; no supercooled liquid from a realistic potential"
SETS = {
    "na-gamma": ("na_gamma.xyz", "128 Na atoms, bcc and liquid, 200-1300 K, PBE, Gamma point", "Gamma"),
    "na-4k": ("na_4k.xyz", "nine of the na-gamma structures with 4 k points", "2x2x2, shifted: 4 k points"),
}


def steinhardt_q6(atoms: Atoms, neighbors: int = 14) -> float:
    """Global Q6 = sqrt(4 pi/13 sum_m |mean Y_6m|^2) over the bonds to each atom's nearest neighbors.

    Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983), Eq. 1.4. Perfect bcc with 14 neighbors: 0.511.
    """
    vectors, distances = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    nearest = np.argsort(distances, axis=1)[:, 1 : neighbors + 1]  # the first one is the atom itself
    x, y, z = np.take_along_axis(vectors, nearest[..., None], axis=1).reshape(-1, 3).T
    theta, phi = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    q = np.array([sph_harm_y(6, m, theta, phi).mean() for m in range(-6, 7)])
    return float(np.sqrt(4 * np.pi / 13 * np.sum(np.abs(q) ** 2)))


def phase(q6: float) -> str:
    return "solid" if q6 > SOLID_Q6 else "liquid"


def largest_force_correlation(frames: list[Atoms]) -> float:
    """Over all pairs of frames: a check that no two are nearly the same configuration."""
    forces = np.stack([atoms.get_forces().ravel() for atoms in frames])
    forces /= np.linalg.norm(forces, axis=1, keepdims=True)
    return float(np.abs(np.triu(forces @ forces.T, k=1)).max())


def split(frames: list[Atoms], q6: list[float]) -> dict[str, str]:
    """Part of each frame, by its name."""
    def stratum(i: int) -> tuple:
        info = frames[i].info
        return info["source"], phase(q6[i]), info["md_temperature_K"], frames[i].get_volume()

    order = sorted(range(len(frames)), key=stratum)
    return {frames[i].info["frame"]: PATTERN[k % len(PATTERN)] for k, i in enumerate(order)}


def annotate(text: str, frames: list[Atoms], q6: list[float], parts: dict[str, str]) -> str:
    """The same extended xyz with more keys in the headers; every printed digit stays."""
    lines = text.splitlines()
    start = 0
    for atoms, q in zip(frames, q6, strict=True):
        energy = next(word[7:] for word in lines[start + 1].split() if word.startswith("energy="))
        part = parts[atoms.info["frame"]]
        lines[start + 1] += f" free_energy={energy} q6={q:.4f} phase={phase(q)} split={part}"
        start += len(atoms) + 2
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    manifest, parts = {}, {}
    for name, (source, description, kpoints) in SETS.items():
        text = (folder / source).read_text()
        frames = ase.io.read(io.StringIO(text), index=":", format="extxyz")
        q6 = [steinhardt_q6(atoms) for atoms in frames]
        parts = parts or split(frames, q6)
        packed = lzma.compress(annotate(text, frames, q6, parts).encode(), preset=9 | lzma.PRESET_EXTREME)
        target = DATA / f"{name}.xyz.xz"
        target.write_bytes(packed)
        names = [atoms.info["frame"] for atoms in frames]
        manifest[name] = {
            "file": target.name,
            "sha256": hashlib.sha256(packed).hexdigest(),
            "description": description,
            "frames": len(frames),
            "split": {part: sum(parts[n] == part for n in names) for part in ("train", "valid", "test")},
            "kpoints": kpoints,
            "units": {"length": "A", "energy": "eV", "forces": "eV/A", "stress": "eV/A^3"},
            "labels": LABELS,
            "structures": STRUCTURES,
            "split_rule": SPLIT,
            "gaps": GAPS,
            "license": "CC0-1.0",
        }
        print(name, len(frames), "frames", len(packed), "bytes", manifest[name]["split"])
        print(f"  largest correlation of forces between two frames: {largest_force_correlation(frames):.3f}")
    (DATA / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
