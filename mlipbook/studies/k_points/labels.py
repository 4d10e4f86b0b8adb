"""How labels change with the k points: the same structures, labeled with several meshes.

`compare` takes frames of several settings and pairs them by their name (info["frame"]); `records` gives the
numbers of chapter 1: for bundled cubic cells from trajectories at temperatures MELTING, where solid and
liquid can be compared, and for all.

    python -m mlipbook study k_points.labels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from mlipbook import averages, datasets
from mlipbook.averages import Value
from mlipbook.studies.command import Result, command
from mlipbook.studies.k_points import free_electrons
from mlipbook.studies.sodium import cubic
from mlipbook.units import GPa, Ry, meV

WIDTH = 0.01 * Ry  # kT of the bundled labels
SETS = {"Gamma": ("na-gamma", "na-gamma-active"), "4k": ("na-4k",), "8k": ("na-8k",), "32k": ("na-32k",)}
MESHES = {"Gamma": (1, 0.0), "4k": (2, 0.5), "8k": (2, 0.0), "32k": (4, 0.5)}  # points per axis, shift
MELTING = 300, 400  # K, both phases in equal shares
UNITS = {"energy": "meV/atom", "pressure": "GPa", "force (RMS)": "meV/A", "deviatoric stress (RMS)": "GPa"}


@dataclass(frozen=True)
class Differences:
    """One setting minus another on the same structures; `values` maps a key of UNITS to (frames,)."""

    frames: list[str]
    solid: np.ndarray  # (frames,) bool
    edges: np.ndarray  # (frames,) A, cube root of the cell's volume
    electrons: np.ndarray  # (frames,) one an atom
    values: dict[str, np.ndarray]


def bundled() -> dict[str, list[Atoms]]:
    """The package's labels of cubic cells by the name of their k points; strained ones: `strained_cells`."""
    return {name: [a for entry in sets for a in cubic(datasets.load(entry))] for name, sets in SETS.items()}


def at_temperatures(sets: Mapping[str, Sequence[Atoms]], low: float, high: float) -> dict[str, list[Atoms]]:
    """Frames from trajectories at `low` to `high` K."""
    return {
        name: [atoms for atoms in frames if low <= atoms.info["md_temperature_K"] <= high]
        for name, frames in sets.items()
    }


def namesakes(a: Sequence[Atoms], b: Sequence[Atoms]) -> list[tuple[Atoms, Atoms]]:
    """Pairs of frames with one name, in the order of b. Raises ValueError where there is none, or where two
    differ by more than 1e-4 A in a position or in the cell.
    """
    named = {atoms.info["frame"]: atoms for atoms in a}
    pairs = [(named[y.info["frame"]], y) for y in b if y.info["frame"] in named]
    if not pairs:
        raise ValueError("no frame has a namesake in the other set: compare labels of the same structures")
    for x, y in pairs:
        both = (np.vstack([z.positions, z.cell.array]) for z in (x, y))
        apart = abs(np.subtract(*both)).max() if len(x) == len(y) else np.inf
        if apart > 1e-4:
            raise ValueError(
                f"frames named {y.info['frame']!r} are different structures ({apart:.2g} A apart)"
            )
    return pairs


def compare(a: Sequence[Atoms], b: Sequence[Atoms]) -> Differences:
    """a minus b over the frames that both have, in the order of b; raises what `namesakes` raises.

    Energy of F per atom, pressure of -Tr(stress)/3; force and deviatoric stress as rms over components.
    """
    pairs = namesakes(a, b)
    stress = np.array([x.get_stress() - y.get_stress() for x, y in pairs]) / GPa
    pressure = -stress[:, :3].mean(1)
    deviatoric = stress + pressure[:, None] * np.array([1, 1, 1, 0, 0, 0])
    energy = np.array([(x.get_potential_energy() - y.get_potential_energy()) / len(y) for x, y in pairs])
    squares = np.array([((x.get_forces() - y.get_forces()) ** 2).mean() for x, y in pairs])
    return Differences(
        frames=[y.info["frame"] for _, y in pairs],
        solid=np.array([y.info["phase"] == "solid" for _, y in pairs]),
        edges=np.cbrt([y.cell.volume for _, y in pairs]),
        electrons=np.array([len(y) for _, y in pairs]),
        values={
            "energy": energy / meV,
            "pressure": pressure,
            "force (RMS)": np.sqrt(squares) / meV,
            "deviatoric stress (RMS)": np.sqrt((deviatoric**2).mean(1)),
        },
    )


def without_atoms(found: Differences, a: str, b: str) -> dict[str, np.ndarray]:
    """What free electrons in the frames' volumes differ by: energy and pressure (frames,), as in UNITS."""

    def errors(setting: str) -> np.ndarray:
        sizes = zip(found.electrons, found.edges, strict=True)
        return np.array([free_electrons.mesh_error(n, edge, *MESHES[setting], WIDTH) for n, edge in sizes])

    energy, pressure = (errors(a) - errors(b)).T
    return {"energy": energy / meV, "pressure": pressure / GPa}


def records(sets: Mapping[str, Sequence[Atoms]], reference: str = "4k") -> dict[str, dict]:
    """Every setting minus the reference, "Gamma minus 4k, solid: energy" and so on: means over "solid",
    "liquid" and "all" frames with their errors; "... of free electrons" in the frames' volumes; of energy and
    pressure "liquid minus solid", and the same "beyond free electrons", theirs subtracted frame by frame.
    Settings without a common frame and phases with a single one are left out.
    """
    out: dict[str, dict] = {}
    names = {atoms.info["frame"] for atoms in sets[reference]}
    for name, frames in sets.items():
        if name == reference or names.isdisjoint(atoms.info["frame"] for atoms in frames):
            continue
        found = compare(frames, sets[reference])
        pair, free = f"{name} minus {reference}", without_atoms(found, name, reference)
        samples = {q: (x, UNITS[q]) for q, x in found.values.items()}
        samples |= {f"{q} of free electrons": (x, UNITS[q]) for q, x in free.items()}
        phases = {"solid": found.solid, "liquid": ~found.solid, "all": found.solid | True}
        phases = {phase: here for phase, here in phases.items() if here.sum() > 1}
        for phase, here in phases.items():
            for q, (x, unit) in samples.items():
                out[f"{pair}, {phase}: {q}"] = mean(x[here]).record(unit)
        for q in free if len(phases) == 3 else ():
            x, title = found.values[q], f"{pair}, liquid minus solid: {q}"
            out[title] = shift(x, found.solid).record(UNITS[q])
            out[f"{title} beyond free electrons"] = shift(x - free[q], found.solid).record(UNITS[q])
    return out


def table(sets: Mapping[str, Sequence[Atoms]]) -> dict[str, dict]:
    """`records` of every setting minus 4k, and of 32k minus 8k."""
    return records(sets) | records({name: sets[name] for name in ("8k", "32k")}, "8k")


def mean(samples: np.ndarray) -> Value:
    """With its standard error. Raises ValueError for fewer than two samples."""
    if len(samples) < 2:
        raise ValueError(f"a standard error needs two frames or more of each phase, got {len(samples)}")
    return averages.mean(samples)


def shift(samples: np.ndarray, solid: np.ndarray) -> Value:
    """Mean over the liquid minus mean over the solid frames; n: all of them."""
    return replace(mean(samples[~solid]) - mean(samples[solid]), n=len(samples))


@command(saves="k-points")
def study() -> Result:
    """The differences of all bundled labels: near melting, and at all temperatures."""
    sets = bundled()
    return Result(table(at_temperatures(sets, *MELTING)), {"all_temperatures": table(sets)})
