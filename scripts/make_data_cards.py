"""Write the page of data cards and its figures from the bundled data sets: python scripts/make_data_cards.py

book/data_sets.md and book/images/data_*.svg say what scripts/make_datasets.py put into mlipbook/data.
"""

from pathlib import Path

import matplotlib
import numpy as np
from ase import Atoms

from mlipbook import archive, datasets, plotting
from mlipbook.bookkit.records import format_value
from mlipbook.bookkit.results import REPOSITORY
from mlipbook.studies.exploration.first_principles import SAMPLE, TIMESTEP
from mlipbook.studies.k_points.labels import MELTING
from mlipbook.units import GPa, meV

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "data_sets.md"
RESULTS = ROOT / "results" / "full"
QUANTITIES = ("energy", "force", "pressure")
COLORS = {"solid": plotting.COLORS["other"], "liquid": plotting.COLORS["EF"]}

INTRODUCTION = """# Data sets

First-principles labels of sodium, bundled with the package: energies, forces and stresses of the same
structures with different k points, of structures that active learning asked for, and of cells of 1,024 atoms.
Cutoffs, smearing and pseudopotential are the same in all, so that sets differ in nothing but what their names
say.
"""
MISSING = """## Not here yet

- More frames with 8 and with 32 k points; a [correction](#na-4k) learned on these is the substitute.
- Cells of 1,024 atoms that are strained, compressed or hot.
"""
READING = f"""## Reading them

```python
import mlipbook as mb

mb.datasets.available()                        # names, with a line each
mb.datasets.describe("na-gamma")               # what this page says, as a dictionary
train = mb.datasets.load("na-gamma", "train")  # list of ase.Atoms
train[0].get_potential_energy()                # eV; get_forces(), get_stress(), info
```

Without the package: each set is one xz-compressed extended xyz file in
[`mlipbook/data`]({REPOSITORY}/tree/main/mlipbook/data); after `xz -d na-gamma.xyz.xz`,
`ase.io.read("na-gamma.xyz", ":")` and every other reader of extended xyz take it. Potentials of chapters 3
to 7 are trained on `na-gamma` alone, so that their numbers stand while other sets grow. For a larger training
set of the same settings join it with `na-gamma-active`, without the strained cells, whose stress one k point
gets wrong (see there):

```python
active = mb.datasets.load("na-gamma-active", "train")
train += [atoms for atoms in active if not atoms.info["kind"].startswith("strained")]
```
"""
FIELDS = {
    "`energy`, `free_energy`": "$F = E - TS$ in eV, the same number twice; forces and stress are its "
    "derivatives. Its zero is the pseudopotential's: only differences at equal settings mean something",
    "`minus_TS_eV`": "$-TS$ of the electrons, for those who want $E$",
    "`forces`": "eV/Å; the mean force was removed",
    "`stress`": "eV/Å$^3$ in ASE's sign: tension is positive, the pressure is minus a third of the trace; "
    "without the motion of the ions",
    "`Lattice`, `pos`": "Å; atoms may lie outside the cell",
    "`frame`": "name; the same name in another set is the same structure with other k points",
    "`split`": "`train`, `valid` or `test`: the same in every set, the same in every version",
    "`phase`, `q6`": "by the global Steinhardt order parameter $Q_6$",
    "`source`, `kind`, `md_temperature_K`": "where the structure comes from",
    "`kpoints`, `provenance`": "the mesh; code, version, settings, date and, where noted, device",
}


def page() -> str:
    names = list(datasets.available())
    rows = ["| set | frames | train, valid, test | atoms | k points |", "|---|---|---|---|---|"]
    for name in names:
        entry, atoms = datasets.describe(name), len(datasets.load(name)[0])
        parts = ", ".join(str(count) for count in entry["split"].values())
        rows.append(f"| [`{name}`](#{name}) | {entry['frames']} | {parts} | {atoms} | {entry['kpoints']} |")
    fields = ["| in a frame | meaning |", "|---|---|"]
    fields += [f"| {key} | {meaning} |" for key, meaning in FIELDS.items()]
    tables = ["\n".join(lines) + "\n" for lines in (rows, fields)]
    cards = [card(name) for name in names]
    return "\n".join(
        [INTRODUCTION, tables[0], MISSING, READING, tables[1], settings(), k_points(), trajectories(), *cards]
    )


def settings() -> str:
    """How the labels were computed, and how well codes and devices agree."""
    lines = ["## How the labels were computed\n", "| | |", "|---|---|"]
    tables = [datasets.describe(name)["labels"] for name in datasets.available()]
    for key in tables[0]:
        each = "; ".join(dict.fromkeys(part for table in tables for part in table[key].split("; ")))
        lines.append(f"| {key} | {each} |")
    lines += ["\nLabels of this book's plane-wave code minus those of `pw.x`, on the same structures:\n"]
    lines += comparison("dft-against-pwx")
    (device,) = {row["bundled device"] for row in result("dft-devices")["rows"]}
    lines += [f"\nThe same code on a CPU minus on a GPU ({device}):\n", *comparison("dft-devices")]
    return "\n".join(lines) + "\n"


def comparison(name: str) -> list[str]:
    """Lines of a table of `scripts/compare_codes.py`."""
    digits = {"energy": 5, "force rms": 2, "force largest": 2, "stress largest": 5}
    lines = ["| set | frame | energy | forces, rms | forces, largest | stress, largest |"]
    lines += ["|---|---|---|---|---|---|", "| | | meV/atom | meV/Å | meV/Å | GPa |"]
    for row in result(name)["rows"]:
        numbers = [f"{row[key]:.{n}f}" for key, n in digits.items()]
        lines.append(f"| {row['set']} | {row['frame']}, {row['phase']} | {' | '.join(numbers)} |")
    return lines


def k_points() -> str:
    """Differences of settings on common structures."""
    found = result("k-points")
    low, high = MELTING
    return f"""(k-point-differences)=
## What the k points change

Differences between settings on the same cubic cells: means and standard errors over structures, those of
forces root mean squares over components. First for trajectories at {low} to {high} K, where both phases
were visited; then for all. The last column is what a free-energy difference of the phases inherits, before
the structures themselves change ([chapter 1](ch01_first_principles.ipynb) asks where it comes from).

{differences(found["records"])}

All temperatures:

{differences(found["all_temperatures"])}
"""


def trajectories() -> str:
    """First-principles dynamics beside a potential's own."""
    records = result("first-principles-md")["records"]
    names = {
        "energy bias": "energy on these frames, potential minus labels (meV/atom)",
        "force error (RMS)": "forces on these frames, rms (meV/Å)",
        "pressure bias": "pressure on these frames (GPa)",
        "energy, potential minus first principles": "mean energy, each on its own dynamics (meV/atom)",
        "pressure, potential minus first principles": "mean pressure, each on its own dynamics (GPa)",
        "distance of g(r)": "distance of $g(r)$",
        "distance of g(r) from noise alone": "the same from noise alone",
    }
    phases = ("solid", "liquid")
    rows = ["| 350 K, 128 atoms, Gamma | solid | liquid |", "|---|---|---|"]
    for key, title in names.items():
        items = [records[f"{phase}, 350 K: {key}"] for phase in phases]
        shown = [value(item) if item["sem"] else f"{item['value']:.3f}" for item in items]
        rows.append(f"| {title} | {' | '.join(shown)} |")
    spacing = TIMESTEP * SAMPLE  # fs
    lengths = [f"{records[f'{phase}, 350 K: energy bias']['n'] * spacing / 1e3:.1f}" for phase in phases]
    table = "\n".join(rows)
    folder = f"{REPOSITORY}/tree/main/results/full/first-principles-md"
    return f"""## First-principles molecular dynamics

Langevin dynamics on labels at Gamma, {lengths[0]} ps of the crystal and {lengths[1]} ps of the melt after
settling ([trajectories]({folder}),
a frame every {spacing:.0f} fs), judges a committee trained on `na-gamma`: on the frames, and by what its own
dynamics in the same cell gives. The distance of $g(r)$ is the area between the two curves over that between
the reference and 1, both weighted with $r^2$.

{table}
"""


def differences(records: dict[str, dict]) -> str:
    rows = ["| | | solid | liquid | liquid minus solid |", "|---|---|---|---|---|"]
    units = {"energy": "meV/atom", "force (RMS)": "meV/Å", "pressure": "GPa"}
    for pair in dict.fromkeys(key.split(",")[0] for key in records):
        for quantity, unit in units.items():
            keys = [f"{pair}, {phase}: {quantity}" for phase in ("solid", "liquid", "liquid minus solid")]
            items = [value(records[key]) if key in records else "" for key in keys]
            counts = " and ".join(str(records[key]["n"]) for key in keys[:2])
            title = f"{pair} ({counts} structures)" if quantity == "energy" else ""
            rows.append(f"| {title} | {quantity.removesuffix(' (RMS)')} ({unit}) | {' | '.join(items)} |")
    return "\n".join(rows)


def result(name: str) -> dict:
    return archive.read_json(RESULTS / f"{name}.json")


def value(item: dict) -> str:
    return format_value(item["value"], item["sem"])


def corrections() -> str:
    """How many frames with more k points are enough."""
    records = result("k-point-correction")["records"]
    rows = ["| | learned from | energy | force | pressure |", "|---|---|---|---|---|"]
    rows += ["| | frames | meV/atom | meV/Å | GPa |"]
    for key in records:
        if ": energy, " in key and "constant" not in key:
            pair, kind = key.split(": energy, ")
            items = [value(records[f"{pair}: {quantity}, {kind}"]) for quantity in QUANTITIES]
            frames = "-" if kind == "uncorrected" else kind.split()[-2]
            rows.append(f"| {pair} | {frames} | {' | '.join(items)} |")
    for key in records:
        if key.startswith("4k test frames") and key.endswith(": energy"):
            title = key.removesuffix(": energy")
            items = [value(records[f"{title}: {quantity}"]) for quantity in QUANTITIES]
            rows.append(f"| {title} | | {' | '.join(items)} |")
    table = "\n".join(rows)
    return f"""
How few frames are enough for energy and pressure: the difference between two settings on cubic cells, and
what is left of it in frames that a linear correction has not seen (root mean squares; after ± the standard
deviation over draws of the frames). Last, a committee trained on labels at Gamma, tested on labels with 4 k
points, without and with a correction (`python -m mlipbook study k_points.correction`):

{table}
"""


def large_cells() -> str:
    """Labels of 1,024 atoms against potentials of small cells."""
    records = result("k-point-correction")["records"]
    rows = ["| | phase | | energy | force, rms | pressure |", "|---|---|---|---|---|---|"]
    rows += ["| | | | meV/atom | meV/Å | GPa |"]
    cells = {"small cells": "128 atoms", "large cells": "1,024 atoms", "large minus small": "difference"}
    for key in records:
        title, _, kind = key.rpartition(", ")
        if kind.endswith(": energy") and kind.removesuffix(": energy") in cells:
            kind = kind.removesuffix(": energy")
            trained, phase = title.rsplit(", ", 1)
            items = [value(records[f"{title}, {kind}: {quantity}"]) for quantity in QUANTITIES]
            rows.append(f"| {trained} | {phase} | {cells[kind]} | {' | '.join(items)} |")
    table = "\n".join(rows)
    low, high = MELTING
    corrected = "trained on 4k, corrected to 8k, {}, large minus small: energy"
    apart = max(abs(records[corrected.format(phase)]["value"]) for phase in ("solid", "liquid"))
    return f"""
The Gamma point of a doubled cell is the mesh of 8 k points, exactly where the structure repeats
([chapter 1](ch01_first_principles.ipynb)). For atoms that move independently it should hold on average, as
potentials trained on small cells can tell: predicted minus labeled at {low} to {high} K, means and standard
errors over frames. Of 128 atoms, frames for validation and test are predicted, labeled with the k points of
the training; what the potential has wrong in them it has wrong in large cells, too, so that the difference
compares the labels. Trained on Gamma, it should be about Gamma minus 4k ([above](#k-point-differences));
trained on 4k and corrected, about zero: so it is, to {apart:.1f} meV/atom. The pressures differ by more than
their standard errors, which know nothing of the volumes: small cells scatter in them, large ones do not
(`python -m mlipbook study k_points.correction`):

{table}
"""


def active_learning() -> str:
    """What the new frames changed, and what one k point does to strained cells."""
    errors, strained = result("active-learning")["records"], result("strained-cells")

    rows = ["| frames | | energy, without | with | off-diagonal stress, without | with |"]
    rows += ["|---|---|---|---|---|---|", "| | | meV/atom | meV/atom | GPa | GPa |"]
    for kind in [key.split(",")[0] for key in errors if key.endswith("without new frames: energy")]:
        items = [
            errors[f"{kind}, {trained} new frames: {quantity}"]
            for quantity in ("energy", "off-diagonal stress")
            for trained in ("without", "with")
        ]
        rows.append(f"| {kind} | {items[0]['n']} | {' | '.join(value(item) for item in items)} |")
    table = "\n".join(rows)
    slopes = "\n".join(
        f"| {key.removesuffix(': per strain')} | {value(item)} |"
        for key, item in strained["records"].items()
        if key.endswith(": per strain")
    )
    slopes += "".join(
        f"\n| {name}, free electrons | {slope:.2f} |" for name, slope in strained["free_electrons"].items()
    )
    ratio = value(errors["solid: force error over spread"])
    rounds = rounds_table()
    return f"""
What the new frames changed: root mean square errors of committees of five EFP-fits, trained without the new
frames, or with those of the other two thirds of their trajectories (three-fold cross-validation):

{table}

Ordinary solid, liquid and supercooled frames changed nothing; those of hot liquid are too few, and of too few
trajectories, to tell. **The shear stress of strained cells is not learned at all**: at one k point it holds
an error of the mesh, which depends on the shape of the cell and not on the surroundings of any atom. The
stress that a potential trained on cubic cells misses, per shear strain (GPa):

| labels | missed per strain |
|---|---|
{slopes}

Free electrons without atoms have an error of this kind, too (difference to a converged mesh, for the mean
volume of these cells).

Outcome of the stop rule, the largest spread of forces in new dynamics against twice the validation error:

{rounds}

By the rule the first round would have been the last. It stops too early: in the solid the force error is
{ratio} times the spread. `exploration.active_learning` and `k_points.strained_cells` computed these numbers.
"""


def card(name: str) -> str:
    entry, frames = datasets.describe(name), datasets.load(name)
    codes = " and ".join(entry["calculators"])
    counts = ", ".join(f"{count} {kind}" for kind, count in entry["kinds"].items())
    rows = [f"| {title} | {low:.{n}f} | {high:.{n}f} |" for title, low, high, n in ranges(frames)]
    return f"""({name})=
## `{name}`

{text(entry["description"])}: {entry["frames"]} frames ({counts}), labeled by {codes}.
License {entry["license"]}: use them for anything.

```{{figure}} images/data_{name}.svg
:alt: Histograms of energy, pressure, volume and off-diagonal stress of {name}, solid and liquid stacked.
:name: fig-data-{name}
Solid and liquid frames of `{name}`: energy above the lowest frame, pressure, volume, off-diagonal stress.
```

| | lowest | highest |
|---|---|---|
{chr(10).join(rows)}

Structures
: {text(entry["structures"])}.

Parts
: {text(entry["split_rule"])}.

Known gaps
: {text(entry["gaps"])}.

File
: `mlipbook/data/{entry["file"]}`, SHA-256 `{entry["sha256"]}`
{MORE.get(name, str)()}"""


def text(sentence: str) -> str:
    """Begun with a capital, as Markdown."""
    return (sentence[0].upper() + sentence[1:]).replace("*", r"\*").replace("+-", "±")


def rounds_table() -> str:
    rows = ["| committee trained on | trajectories | largest spread | limit | ended early |"]
    rows += ["|---|---|---|---|---|", "| frames | | meV/Å | meV/Å | |"]
    for item in result("active-learning-rounds")["rounds"]:
        early = ", ".join(item["ended early"]) or "none"
        rows.append(
            f"| {item['train']} | {item['trajectories']} | {item['largest spread']:.1f} "
            f"| {item['limit']:.1f} | {early} |"
        )
    return "\n".join(rows)


# What else a card says.
MORE = {"na-gamma-active": active_learning, "na-4k": corrections, "na-1024-gamma": large_cells}


def energies(frames: list[Atoms]) -> np.ndarray:
    """Per atom above the lowest frame, meV."""
    each = np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames])
    return (each - each.min()) / meV


def pressures(frames: list[Atoms]) -> np.ndarray:
    """GPa."""
    return np.array([-atoms.get_stress()[:3].mean() for atoms in frames]) / GPa


def volumes(frames: list[Atoms]) -> np.ndarray:
    """Per atom, A^3."""
    return np.array([atoms.cell.volume / len(atoms) for atoms in frames])


def shear(frames: list[Atoms]) -> np.ndarray:
    """Off-diagonal stress components, (frames, 3) GPa."""
    return np.array([atoms.get_stress()[3:] for atoms in frames]) / GPa


def ranges(frames: list[Atoms]) -> list[tuple[str, float, float, int]]:
    """(quantity, lowest, highest, digits to print)."""
    pairs = [atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)].min() for atoms in frames]
    largest = [abs(atoms.get_forces()).max() for atoms in frames]
    columns = {
        "temperature of the dynamics (K)": ([atoms.info["md_temperature_K"] for atoms in frames], 0),
        "volume (Å$^3$ per atom)": (volumes(frames), 2),
        "pressure (GPa)": (pressures(frames), 3),
        "off-diagonal stress (GPa)": (shear(frames), 3),
        "energy above the lowest (meV per atom)": (energies(frames), 1),
        "largest force component of a frame (eV/Å)": (largest, 2),
        "shortest pair (Å)": (pairs, 2),
    }
    return [(title, np.min(x), np.max(x), digits) for title, (x, digits) in columns.items()]


def figure(name: str, path: Path) -> None:
    frames = datasets.load(name)
    phases = np.array([atoms.info["phase"] for atoms in frames])
    columns = {
        "energy (meV/atom)": energies(frames),
        "pressure (GPa)": pressures(frames),
        "volume (Å$^3$/atom)": volumes(frames),
        "off-diagonal stress (GPa)": shear(frames),
    }
    fig, axes = plotting.figure(len(columns), width=9.6, height=2.3)
    for panel, (title, x) in zip(axes, columns.items(), strict=True):
        parts = [x[phases == phase].ravel() for phase in COLORS]
        panel.hist(parts, bins=20, stacked=True, color=list(COLORS.values()), label=list(COLORS))
        panel.set_xlabel(title)
    axes[0].set_ylabel("frames")
    axes[-1].set_ylabel("components")
    axes[0].legend()
    path.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        fig.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    for name in datasets.available():
        figure(name, PAGE.parent / "images" / f"data_{name}.svg")
    with archive.replacing(PAGE) as file:
        file.write(page().encode())


if __name__ == "__main__":
    main()
