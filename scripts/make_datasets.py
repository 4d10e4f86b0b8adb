"""Make the bundled sodium data sets: python scripts/make_datasets.py LABELS

LABELS holds a folder per data set (na-gamma, na-gamma-active, na-4k, ...); in it, or in folders in it,
labeled frames in extended xyz files, any number in each. Written into mlipbook/data: each set as
xz-compressed extended xyz, in which the atoms' lines are the source's and the headers say split, phase, q6
and provenance; and manifest.json with what a reader must know. A frame with more k points need not say where
its structure comes from: its namesake at Gamma does. The same labels give the same files. The bundled files
themselves, unpacked with xz into such folders, are labels too: so a set grows, and no frame changes its part.
Afterwards run scripts/make_data_cards.py.
"""

import hashlib
import io
import json
import lzma
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import archive, observables
from mlipbook.structures import Structures

DATA = Path(__file__).parents[1] / "mlipbook" / "data"
SOLID_Q6 = 0.25
# 5 : 1 : 1, begun so that the extreme volumes are trained on and all three parts hold frames with 4 k points.
PATTERN = ("test", "train", "train", "train", "train", "valid", "train")
DEALT = ("na-gamma", "na-1024-gamma")  # sets whose new frames are dealt out so
ORIGIN = ("source", "md_temperature_K", "kind", "md_time_ps", "forces_spread_meV_A")

CODES = {
    "pw.x": "Quantum ESPRESSO pw.x 6.7",
    "mlipbook.dft": "the plane-wave code of this package",
}
SCF = {
    "pw.x": "Thomas-Fermi mixing, converged to 1e-6 Ry (force error 0.07 meV/A)",
    "mlipbook.dft": "Kerker-preconditioned Pulay mixing, converged to 1e-6 Ry for 128 atoms",
}
LABELS = {
    "functional": "PBE",
    "pseudopotential": (
        "Na.UPF, in the package: norm-conserving (Troullier-Martins), 1 valence electron, scalar "
        "relativistic, nonlinear core correction (rcore 2.1 bohr), r_c 3.0 bohr for s, p, d, local d; made "
        "with ld1.x 6.7"
    ),
    "cutoffs": "10 Ry for wavefunctions, 50 Ry for the density",
    "smearing": "Fermi-Dirac, kT = 0.01 Ry",
    "bands": "96 for 64 occupied, 768 for 512; both codes",
    "symmetry": "none but k = -k",
    "energy": (
        "free energy F = E - TS, with which the forces are consistent; minus_TS_eV is -TS. The zero is the "
        "pseudopotential's: only differences mean something"
    ),
    "forces": "eV/A, mean force removed",
    "stress": (
        "ASE's sign (pressure = -trace/3), without the motion of the ions; pw.x prints it to 1.5e-4 GPa"
    ),
}
PHASE = f"Phase: global Steinhardt Q6 over the 14 nearest neighbors, solid above {SOLID_Q6}"
RULE = f"are dealt out as {', '.join(PATTERN)}, again and again"
NAMESAKES = "The structures, names and parts of their namesakes at Gamma"


@dataclass(frozen=True)
class Set:
    """What a reader must know that the labels do not say."""

    description: str
    kpoints: str
    structures: str
    split_rule: str
    gaps: str


SETS = {
    "na-gamma": Set(
        "128 Na atoms, bcc and liquid, 200-1300 K, PBE, Gamma point",
        "Gamma",
        "128 atoms, cubic cells. md_*: classical many-body MD of bcc and liquid Na at 200-500 K, cell edge "
        "rescaled by 1.014 +- 0.008 at random; hot_*: liquid at 350-1300 K. "
        f"{PHASE}; the 250 K frames with Q6 of 0.16-0.28 are partly crystallized",
        f"Frames sorted by source, phase, MD temperature and volume {RULE}, "
        "so that each part holds solid and liquid, cold and hot, and the range of volumes. "
        "Frames of one trajectory fall into different parts; no two are close in time: between any two "
        "frames the forces' correlation coefficient is below 0.22 in magnitude, about what chance gives "
        "among 10,440 pairs of 384 components. A frame with more k points is in the part of its namesake at "
        "Gamma",
        "no deformed (non-cubic) cells and no supercooled liquid from a realistic potential (na-gamma-active "
        "has both); no pair below 2.5 A",
    ),
    "na-gamma-active": Set(
        "128 Na atoms found by active learning: solid, liquid, supercooled, strained; PBE, Gamma point",
        "Gamma",
        "128 atoms, triclinic where strained. Molecular dynamics at ambient pressure, or in cells whose six "
        "strain components are uniform in +-3 %, by a committee of five EFP-fits to na-gamma and the frames "
        "of earlier rounds (exploration.active_learning, first digit of the name: the round); of each "
        "trajectory the frames of largest spread of the committee's forces (forces_spread_meV_A), at least "
        f"0.7 ps apart. kind: solid, liquid, supercooled, strained solid, strained liquid. {PHASE}",
        "Drawn in each round before training: all kinds in a row, in random order within a kind; of twelve "
        "in this row one goes to test and one to validate, so that a kind of few frames may have none. "
        "Frames of one trajectory, at least 0.7 ps apart, fall into different parts",
        "the stress of strained cells at one k point holds an error of the mesh, of several GPa times the "
        "shear strain, that no local potential can learn (k_points.strained_cells): train stress on "
        "cubic frames, or take those in na-4k; few frames of hot liquid; no pair below 2.3 A; strains below "
        "3 %; no surfaces, defects, other crystals",
    ),
    "na-4k": Set(
        "structures of na-gamma and na-gamma-active with 4 k points",
        "2x2x2 shifted (4 k)",
        NAMESAKES,
        "as at Gamma, frame by frame",
        "only part of na-gamma and na-gamma-active; see there",
    ),
    "na-8k": Set(
        "structures of na-gamma and na-gamma-active with 8 k points, those of the doubled cell's Gamma point",
        "2x2x2 (8 k)",
        NAMESAKES,
        "as at Gamma, frame by frame",
        "these stand for periodic repetitions of 128-atom structures, not for 1,024 atoms that move "
        "independently (na-1024-gamma has those); few frames, none for validation",
    ),
    "na-32k": Set(
        "structures of na-gamma and na-gamma-active with 32 k points",
        "4x4x4 shifted (32 k)",
        NAMESAKES,
        "as at Gamma, frame by frame",
        "few frames: enough for a correction learned on the difference to na-4k, whose card shows it",
    ),
    "na-1024-gamma": Set(
        "1,024 Na atoms, bcc and liquid, 330-560 K, PBE, Gamma point",
        "Gamma",
        "1,024 atoms, cubic cells. Molecular dynamics at constant temperature and zero pressure with the "
        "teacher potential of chapter 7, a neural network trained on na-gamma (128 atoms, Gamma): bcc "
        "crystals, and liquids of a crystal molten at 560 K. From 1.45 ps after each temperature was set "
        f"(3.2 ps at 560 K), a frame every 0.44 ps. {PHASE}",
        f"Frames sorted by phase, MD temperature and volume {RULE}. Frames of one trajectory, 0.44 ps "
        "apart, fall into different parts",
        "few and short trajectories (one at 350 K in each phase), so that frames share their sound waves and "
        "their volume, and errors over frames are too small; one hot liquid; no strain or applied pressure",
    ),
}


def steinhardt_q6(atoms: Atoms) -> float:
    """Global Q6 over the 14 nearest neighbors."""
    return float(observables.steinhardt(Structures.from_ase(atoms), degree=6, neighbors=14))


def phase(q6: float) -> str:
    return "solid" if q6 > SOLID_Q6 else "liquid"


def largest_force_correlation(frames: list[Atoms]) -> float:
    """Over all pairs of frames: a check that no two are nearly the same configuration."""
    forces = np.stack([atoms.get_forces().ravel() for atoms in frames])
    forces /= np.linalg.norm(forces, axis=1, keepdims=True)
    return float(np.abs(np.triu(forces @ forces.T, k=1)).max())


def split(frames: list[Atoms], q6: list[float]) -> dict[str, str]:
    """Part of each frame of a set DEALT, by its name."""

    def stratum(i: int) -> tuple:
        info = frames[i].info
        return info["source"], phase(q6[i]), info["md_temperature_K"], frames[i].get_volume()

    order = sorted(range(len(frames)), key=stratum)
    return {frames[i].info["frame"]: PATTERN[k % len(PATTERN)] for k, i in enumerate(order)}


# ---- one frame ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labeled:
    """A frame as read, and its atoms' lines as they stand in the file."""

    atoms: Atoms
    lines: tuple[str, ...]
    path: Path

    @property
    def name(self) -> str:
        return self.atoms.info["frame"]


def read(folder: Path) -> Iterator[Labeled]:
    for path in sorted([*folder.glob("*.xyz"), *folder.glob("*/*.xyz")]):
        text, start = path.read_text().splitlines(), 0
        for atoms in ase.io.iread(path, index=":", format="extxyz"):
            yield Labeled(atoms, tuple(text[start + 2 : start + 2 + len(atoms)]), path)
            start += len(atoms) + 2


def formatted(frame: Labeled, kpoints: str, part: str) -> str:
    """Extended xyz of a frame: a header in one order, the atoms' lines unchanged.

    Raises ValueError if the forces do not sum to zero within the printed digits, or a label is missing.
    """
    atoms, info = frame.atoms, frame.atoms.info
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    if np.abs(forces.sum(axis=0)).max() > 1e-6 * len(atoms):
        raise ValueError(f"{frame.path}, frame {frame.name}: forces sum to {forces.sum(axis=0)} eV/A")
    q6 = steinhardt_q6(atoms)
    header = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    header.calc = SinglePointCalculator(
        header, energy=energy, free_energy=energy, forces=forces, stress=atoms.get_stress()
    )
    header.info = {"frame": frame.name, "split": part, "phase": phase(q6), "q6": round(q6, 4)}
    header.info |= {key: info[key] for key in (*ORIGIN, "scf_iterations") if key in info}
    header.info |= {"kpoints": kpoints, "minus_TS_eV": info["minus_TS_eV"], "provenance": provenance(frame)}
    buffer = io.StringIO()
    ase.io.write(buffer, header, format="extxyz")
    count, first, *_ = buffer.getvalue().splitlines()
    return "\n".join([count, first, *frame.lines]) + "\n"


def pseudopotential() -> str:
    return f"Na.UPF, SHA-256 {hashlib.sha256((DATA / 'Na.UPF').read_bytes()).hexdigest()[:16]}"


def provenance(frame: Labeled) -> dict:
    """Calculator, its parameters, versions, date and, where it is known, the device.

    As `mlipbook.labels` wrote it; else from info["code"], "name version"; else of the pw.x runs.
    """
    info = frame.atoms.info
    if "provenance" in info:
        return info["provenance"]
    code, version = info.get("code", "pw.x 6.7").split()
    device = {"device": info["device"]} if "device" in info else {}
    return {
        "calculator": code,
        "parameters": {
            "xc": "PBE",
            "ecut_Ry": 10,
            "ecut_density_Ry": 50,
            "smearing": "fermi-dirac",
            "kT_Ry": 0.01,
            "bands": 3 * len(frame.atoms) // 4,
            "scf_Ry": 1e-6 * len(frame.atoms) / 128,
            "pseudopotential": pseudopotential(),
        },
        "versions": {code: version},
        **device,
        "date": date_of_run(frame),
    }


def date_of_run(frame: Labeled) -> str:
    """As the frame says, or pw.x's output, if it lies in runs/NAME beside the frame."""
    output = frame.path.parent / "runs" / frame.name / "espresso.pwo"
    if output.exists():
        return started(output.read_text())
    return frame.atoms.info.get("date", "not recorded")


def started(output: str) -> str:
    """Day on which pw.x says that it started."""
    day = re.search(r"starts on +(\d+[A-Z][a-z]+\d+) at", output)[1]
    return datetime.strptime(day, "%d%b%Y").replace(tzinfo=UTC).date().isoformat()


# ---- one set ------------------------------------------------------------------------------------------


def parts_of(name: str, frames: list[Labeled], known: dict[str, str]) -> dict[str, str]:
    """Part of each frame: of its namesake at Gamma; given with the frame; or, in the sets DEALT, by the rule.

    Raises ValueError if a frame has no part, or two frames one name.
    """
    names = [frame.name for frame in frames]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{name}: frames {', '.join(twice)} are there more than once; remove all but one")
    given = {frame.name: known.get(frame.name, frame.atoms.info.get("split")) for frame in frames}
    without = [frame for frame in frames if given[frame.name] is None]
    if without and name not in DEALT:
        stray = ", ".join(frame.name for frame in without)
        raise ValueError(f"{name}: frames {stray} have no namesake at Gamma and no split")
    new = [frame.atoms for frame in without]
    return given | split(new, [steinhardt_q6(atoms) for atoms in new])


def add_origins(frames: list[Labeled], known: dict[str, Atoms]) -> None:
    """Where a structure comes from, as its namesake at Gamma says, to what a frame says itself."""
    for frame in frames:
        same = known[frame.name].info if frame.name in known else {}
        frame.atoms.info = {key: same[key] for key in ORIGIN if key in same} | frame.atoms.info


def check_namesakes(name: str, frames: list[Labeled], known: dict[str, Atoms]) -> None:
    """Raise ValueError if a frame has not the structure of the frame of its name at Gamma."""
    for frame in frames:
        same = known.get(frame.name)
        if same and not (
            np.allclose(same.positions, frame.atoms.positions, rtol=0, atol=1e-8)
            and np.allclose(same.cell, frame.atoms.cell, rtol=0, atol=1e-8)
        ):
            raise ValueError(f"{name}: {frame.name} in {frame.path} is another structure than at Gamma")


def summary(frames: list[Labeled], parts: dict[str, str]) -> dict:
    """Counts for the manifest."""
    kinds = [f.atoms.info.get("kind") or phase(steinhardt_q6(f.atoms)) for f in frames]
    return {
        "frames": len(frames),
        "split": {part: sum(parts[f.name] == part for f in frames) for part in ("train", "valid", "test")},
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
    }


def labels_of(codes: list[str]) -> dict[str, str]:
    """How labels were computed by these codes."""
    return {
        "code": "; ".join(f"{code}: {CODES[code]}" for code in codes),
        "scf": "; ".join(f"{code}: {SCF[code]}" for code in codes),
        **LABELS,
    }


def main(labels: Path) -> None:
    manifest: dict[str, dict] = {}
    parts: dict[str, str] = {}
    known: dict[str, Atoms] = {}
    for name, about in SETS.items():
        frames = list(read(labels / name))
        if not frames:
            continue
        check_namesakes(name, frames, known)
        add_origins(frames, known)
        parts |= parts_of(name, frames, parts)
        order = {n: i for i, n in enumerate(known)}
        frames.sort(key=lambda frame: order.get(frame.name, len(order)))
        known |= {frame.name: frame.atoms for frame in frames if frame.name not in known}
        text = "".join(formatted(frame, about.kpoints, parts[frame.name]) for frame in frames)
        packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
        target = DATA / f"{name}.xyz.xz"
        write(target, packed)
        codes = sorted({provenance(frame)["calculator"] for frame in frames})
        manifest[name] = {
            "file": target.name,
            "sha256": hashlib.sha256(packed).hexdigest(),
            "description": about.description,
            **summary(frames, parts),
            "calculators": codes,
            "kpoints": about.kpoints,
            "units": {"length": "A", "energy": "eV", "forces": "eV/A", "stress": "eV/A^3"},
            "labels": labels_of(codes),
            "structures": about.structures,
            "split_rule": about.split_rule,
            "gaps": about.gaps,
            "license": "CC0-1.0",
        }
        print(name, len(frames), "frames", len(packed), "bytes", manifest[name]["split"])
        correlation = largest_force_correlation([frame.atoms for frame in frames])
        print(f"  largest correlation of forces between two frames: {correlation:.3f}")
    write(DATA / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    with archive.replacing(path) as file:
        file.write(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
