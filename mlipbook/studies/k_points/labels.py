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
UNITS = {
    "energy": "meV/atom",
    "pressure": "GPa",
    "force (RMS)": "meV/A",
    "deviatoric stress (RMS)": "GPa",
}


@dataclass(frozen=True)
class Differences:
    """One setting minus another on the same structures; `values` maps a key of UNITS to (frames,)."""

    frames: list[str]
    solid: np.ndarray  # (frames,) bool
    edges: np.ndarray  # (frames,) A, cube root of the cell's volume
    electrons: np.ndarray  # (frames,) one an atom
    values: dict[str, np.ndarray]


def bundled() -> dict[str, list[Atoms]]:
    """The labels of cubic cells that come with the package, by the name of their k points.

    What a mesh has wrong in strained cells is another matter: see `strained_cells`.
    """
    return {name: [a for entry in sets for a in cubic(datasets.load(entry))] for name, sets in SETS.items()}


def at_temperatures(sets: Mapping[str, Sequence[Atoms]], low: float, high: float) -> dict[str, list[Atoms]]:
    """Frames from trajectories at `low` to `high` K."""
    return {
        name: [atoms for atoms in frames if low <= atoms.info["md_temperature_K"] <= high]
        for name, frames in sets.items()
    }


def compare(a: Sequence[Atoms], b: Sequence[Atoms]) -> Differences:
    """a minus b over the frames that both have, in the order of b.

    energy: of F per atom; pressure: of -Tr(stress)/3; force: root mean square over the components of a frame;
    deviatoric stress: the same of the six components without the pressure. Raises ValueError where no frame
    is common, or where frames of one name differ by more than 1e-4 A in a position or in the cell.
    """
    named = {atoms.info["frame"]: atoms for atoms in a}
    pairs = [(named[atoms.info["frame"]], atoms) for atoms in b if atoms.info["frame"] in named]
    if not pairs:
        raise ValueError("no frame has a namesake in the other set: compare labels of the same structures")
    for first, second in pairs:
        _same_structure(first, second)
    energy = np.array([(x.get_potential_energy() - y.get_potential_energy()) / len(y) for x, y in pairs])
    stress = np.array([x.get_stress() - y.get_stress() for x, y in pairs]) / GPa
    pressure = -stress[:, :3].mean(1)
    deviatoric = stress + pressure[:, None] * np.array([1, 1, 1, 0, 0, 0])
    return Differences(
        frames=[y.info["frame"] for _, y in pairs],
        solid=np.array([y.info["phase"] == "solid" for _, y in pairs]),
        edges=np.cbrt([y.cell.volume for _, y in pairs]),
        electrons=np.array([len(y) for _, y in pairs]),
        values={
            "energy": energy / meV,
            "pressure": pressure,
            "force (RMS)": np.array([_rms(x.get_forces() - y.get_forces()) for x, y in pairs]) / meV,
            "deviatoric stress (RMS)": np.array([_rms(x) for x in deviatoric]),
        },
    )


def against(sets: Mapping[str, Sequence[Atoms]], reference: str) -> dict[str, Differences]:
    """Every other setting minus the reference, where they have a frame in common."""
    named = {name: {atoms.info["frame"] for atoms in frames} for name, frames in sets.items()}
    return {
        name: compare(frames, sets[reference])
        for name, frames in sets.items()
        if name != reference and named[name] & named[reference]
    }


def without_atoms(found: Differences, a: str, b: str, kT: float = WIDTH) -> dict[str, np.ndarray]:
    """What free electrons in the frames' volumes differ by: energy and pressure (frames,), as in UNITS."""

    def errors(setting: str) -> np.ndarray:
        sizes = zip(found.electrons, found.edges, strict=True)
        return np.array([free_electrons.mesh_error(n, edge, *MESHES[setting], kT) for n, edge in sizes])

    energy, pressure = (errors(a) - errors(b)).T
    return {"energy": energy / meV, "pressure": pressure / GPa}


def records(sets: Mapping[str, Sequence[Atoms]], reference: str = "4k") -> dict[str, dict]:
    """Every setting minus the reference: name -> value, standard error over frames, n, unit.

    "Gamma minus 4k, solid: energy" and so on, for "solid", "liquid" and "all" frames; beside energy and
    pressure what free electrons in the frames' volumes differ by, "Gamma minus 4k, solid: energy of free
    electrons". "Gamma minus 4k, liquid minus solid: energy" is the difference of the means, "... energy
    beyond free electrons" the same after theirs is subtracted frame by frame. Settings without a common frame
    and phases with a single one are left out.
    """
    out: dict[str, dict] = {}
    for name, found in against(sets, reference).items():
        pair = f"{name} minus {reference}"
        free = without_atoms(found, name, reference)
        every = found.values | {f"{quantity} of free electrons": x for quantity, x in free.items()}
        phases = {"solid": found.solid, "liquid": ~found.solid, "all": found.solid | True}
        phases = {phase: here for phase, here in phases.items() if here.sum() > 1}
        for phase, here in phases.items():
            for quantity, x in every.items():
                out[f"{pair}, {phase}: {quantity}"] = mean(x[here]).record(unit_of(quantity))
        for quantity in free if len(phases) == 3 else ():
            x, title = found.values[quantity], f"{pair}, liquid minus solid: {quantity}"
            out[title] = shift(x, found.solid).record(UNITS[quantity])
            beyond = shift(x - free[quantity], found.solid)
            out[f"{title} beyond free electrons"] = beyond.record(UNITS[quantity])
    return out


def table(sets: Mapping[str, Sequence[Atoms]]) -> dict[str, dict]:
    """`records` of every setting minus 4k, and of 32k minus 8k."""
    return records(sets) | records({name: sets[name] for name in ("8k", "32k")}, "8k")


def unit_of(quantity: str) -> str:
    return UNITS[quantity.removesuffix(" of free electrons")]


def mean(samples: np.ndarray) -> Value:
    """With its standard error. Raises ValueError for fewer than two samples."""
    if len(samples) < 2:
        raise ValueError(f"a standard error needs two frames or more of each phase, got {len(samples)}")
    return averages.mean(samples)


def shift(samples: np.ndarray, solid: np.ndarray) -> Value:
    """Mean over the liquid minus mean over the solid frames; n: all of them."""
    return replace(mean(samples[~solid]) - mean(samples[solid]), n=len(samples))


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _same_structure(a: Atoms, b: Atoms) -> None:
    apart = max(abs(a.positions - b.positions).max(), abs(a.cell.array - b.cell.array).max())
    if len(a) != len(b) or apart > 1e-4:
        raise ValueError(f"frames named {b.info['frame']!r} are different structures ({apart:.2g} A apart)")


@command(saves="k-points")
def study() -> Result:
    """The differences of all bundled labels: near melting, and at all temperatures."""
    sets = bundled()
    return Result(table(at_temperatures(sets, *MELTING)), {"all_temperatures": table(sets)})
