"""From few labels with many k points to all, by the correction of `equations`: how good it is.

`learning_curve` tells how many frames are enough, `transfer_records` what a corrected potential is worth, and
`large_cell_records` whether labels of 1,024 atoms at Gamma are those that 8 k points of 128 atoms predict.

    python -m mlipbook study k_points.correction
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from ase import Atoms

from mlipbook import averages, datasets
from mlipbook.averages import Value
from mlipbook.potentials import EdgePotential
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.command import Result, command
from mlipbook.studies.exploration.active_learning import train_committee
from mlipbook.studies.k_points.equations import (
    UNITS,
    Equations,
    blank,
    constant,
    differences,
    equations,
    fit_correction,
    least_squares,
    subset,
)
from mlipbook.studies.k_points.labels import MELTING, at_temperatures, bundled, mean, shift
from mlipbook.studies.sodium import by_frame, by_part, deviations, means
from mlipbook.studies.stress.kinds import rmse

PAIRS = (("4k", "Gamma"), ("8k", "4k"), ("32k", "4k"), ("32k", "Gamma"))
SIZES = (2, 4, 8, 16, 32, 64, 128)


def learning_curve(found: Equations, sizes: Sequence[int], draws: int) -> dict[str, np.ndarray]:
    """RMS errors on frames that were not drawn, (sizes, draws, 2): constant and linear correction."""
    if draws < 2:
        raise ValueError(f"{draws} draws: their scatter needs two or more")
    rng, n = np.random.default_rng(0), len(found.y)
    curves = {name: np.zeros((len(sizes), draws, 2)) for name in UNITS}
    for (i, size), k in product(enumerate(sizes), range(draws)):
        order = rng.permutation(n)
        drawn, rest = subset(found, order[:size]), subset(found, order[size:])
        for m, c in enumerate((constant(drawn), least_squares(drawn)[0])):
            for name, values in rest.errors(c).items():
                curves[name][i, k, m] = rmse(values)
    return curves


def records(
    found: Equations, curves: dict[str, np.ndarray], sizes: Sequence[int], pair: str
) -> dict[str, dict]:
    """Differences without correction; held-out errors with one, with the standard deviation over draws."""
    out = {}
    plain = found.errors(np.zeros(found.X.shape[-1]))
    for name, unit in UNITS.items():
        out[f"{pair}: {name}, uncorrected"] = (averages.mean(plain[name] ** 2) ** 0.5).record(unit)
        for (m, kind), (i, size) in product(enumerate(("constant", "linear")), enumerate(sizes)):
            draws = curves[name][i, :, m]
            title = f"{pair}: {name}, {kind} correction from {size} frames"
            out[title] = Value(draws.mean(), draws.std(ddof=1), len(draws)).record(unit)
    return out


def transferred(
    potential: EdgePotential, correction: ANNPotential | None, frames: Sequence[Atoms]
) -> dict[str, np.ndarray]:
    """Errors of a committee's mean, with the correction added, in UNITS: (frames,), force as rms."""
    found = means(potential, frames)
    if correction is not None:
        found = [{k: p[k] + c[k] for k in p} for p, c in zip(found, means(correction, frames), strict=True)]
    return by_frame(deviations(frames, found))


def transfer_records(
    potential: EdgePotential, many: Sequence[Atoms], few: Sequence[Atoms]
) -> dict[str, dict]:
    """RMSEs on test frames with many k points of a potential trained on few: alone, and with a correction
    learned from training frames that have both labels, eight of them and all.
    """
    both = by_part(differences(many, few))
    learned, names = both["train"], {atoms.info["frame"] for atoms in both["test"]}
    test = [atoms for atoms in many if atoms.info["frame"] in names]
    eight = [learned[i] for i in np.linspace(0, len(learned) - 1, 8).astype(int)]
    out = {}
    corrections: dict[str, ANNPotential | None] = {"as trained": None}
    corrections |= {f"corrected by {len(each)} frames": fit_correction(each) for each in (eight, learned)}
    for title, correction in corrections.items():
        for name, errors in transferred(potential, correction, test).items():
            rms = averages.mean(errors**2) ** 0.5
            out[f"test frames, potential {title}: {name}"] = rms.record(UNITS[name])
    return out


def held_out(frames: Sequence[Atoms]) -> list[Atoms]:
    return [atoms for atoms in frames if atoms.info["split"] != "train"]


def large_cell_records(
    title: str,
    potential: EdgePotential,
    correction: ANNPotential | None,
    small: Sequence[Atoms],
    large: Sequence[Atoms],
) -> dict[str, dict]:
    """Predicted minus labeled, means by phase (force as rms): on small cells, labeled as the potential
    learned it; on large ones, with the correction; and the difference, in which what the potential has wrong
    cancels.
    """
    found = transferred(potential, None, small), transferred(potential, correction, large)
    is_small = np.arange(len(small) + len(large)) < len(small)
    solid = np.array([atoms.info["phase"] == "solid" for atoms in [*small, *large]])
    out = {}
    for name, unit in UNITS.items():
        errors = np.concatenate([each[name] for each in found])
        for phase, here in (("solid", solid), ("liquid", ~solid)):
            key = f"{title}, {phase}"
            out[f"{key}, small cells: {name}"] = mean(errors[here & is_small]).record(unit)
            out[f"{key}, large cells: {name}"] = mean(errors[here & ~is_small]).record(unit)
            out[f"{key}, large minus small: {name}"] = shift(errors[here], is_small[here]).record(unit)
    return out


@command(saves="k-point-correction")
def study(draws: int = 50) -> Result:
    """Learning curves of all PAIRS; what corrected potentials are worth; large cells. draws: of each size."""
    sets = bundled()
    results: dict[str, dict] = {}
    arrays: dict[str, dict] = {}
    for many, few in PAIRS:
        frames = differences(sets[many], sets[few])
        sizes = [size for size in SIZES if size <= len(frames) - 2]
        potential, prepared = blank(frames)
        found = equations(potential, frames, prepared)
        curves = learning_curve(found, sizes, draws)
        results |= records(found, curves, sizes, f"{many} minus {few}")
        arrays[f"{many} minus {few}"] = {"sizes": sizes} | {k: x.tolist() for k, x in curves.items()}
    gamma, four = (train_committee(by_part(sets[name])) for name in ("Gamma", "4k"))
    transfer = transfer_records(gamma, sets["4k"], sets["Gamma"])
    results |= {f"4k {key}": item for key, item in transfer.items()}
    large = {"large": datasets.load("na-1024-gamma")}
    near = at_temperatures({"Gamma": held_out(sets["Gamma"]), "4k": held_out(sets["4k"])} | large, *MELTING)
    to_eight = fit_correction(differences(sets["8k"], sets["4k"]))
    for title, potential, correction, name in (
        ("trained on Gamma", gamma, None, "Gamma"),
        ("trained on 4k, corrected to 8k", four, to_eight, "4k"),
    ):
        results |= large_cell_records(title, potential, correction, near[name], near["large"])
    return Result(results, {"curves": arrays})
