"""One style for every figure: the reference black, EF-fits red, EFP-fits green, as in the paper.

Colors are distinguishable in the common color deficiencies and differ in lightness; markers differ too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"reference": "#111111", "EF": "#c8332b", "EFP": "#1a8f5a", "other": "#3c6fb4", "light": "#b8bec6"}
MARKERS = {"reference": "o", "EF": "v", "EFP": "^", "other": "s"}
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e8ec",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": plt.cycler(color=["#3c6fb4", "#c8332b", "#1a8f5a", "#8a5fbf", "#c88a1a", "#555555"]),
    "svg.fonttype": "none",
}


def figure(
    columns: int = 1, width: float = 6.4, height: float = 3.6, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """A figure in the book's style with panels in a row, sizes in inches: (figure, axes (columns,))."""
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            1, columns, figsize=(width, height), squeeze=False, layout="constrained", **kwargs
        )
    return fig, axes[0]


def band(
    axes: Axes, x: Sequence[float], samples: np.ndarray, kind: str, label: str | None = None, **style: Any
) -> None:
    """Mean of samples (n, len(x)) over their first axis as a line, with a band of one standard deviation.

    Numbers are drawn in the unit they come in, here and below: the axes' labels say it.
    """
    mean, spread = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1) if len(samples) > 1 else 0
    axes.plot(x, mean, color=COLORS[kind], label=label or kind, **style)
    axes.fill_between(x, mean - spread, mean + spread, color=COLORS[kind], alpha=0.2, linewidth=0)


def parity(
    axes: Axes, reference: np.ndarray, predicted: np.ndarray, kind: str, label: str | None = None
) -> None:
    """Predicted against reference, with the diagonal; arrays of one shape and in one unit."""
    axes.scatter(
        reference, predicted, s=12, color=COLORS[kind], marker=MARKERS[kind], alpha=0.7, label=label or kind
    )
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    axes.plot([low, high], [low, high], color=COLORS["reference"], linewidth=0.8, zorder=0)


def pair_distributions(
    axes: Axes,
    r: np.ndarray,
    temperatures: Sequence[float],
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    step: float = 1.5,
) -> None:
    """One branch of the paper's Fig. 1: g(r) at each temperature, hotter ones higher by `step`.

    r: (bins,) angstrom. curves: kind (a key of COLORS) -> g(r) and its uncertainty, drawn as a band, each
    (temperatures, bins).
    """
    for kind, (mean, spread) in curves.items():
        width = 2.2 if kind == "reference" else 1.0  # the first line shows under those that cover it
        for k, around in enumerate(spread):
            g = mean[k] + k * step
            axes.plot(r, g, color=COLORS[kind], linewidth=width, label="_" if k else kind)
            axes.fill_between(r, g - around, g + around, color=COLORS[kind], alpha=0.2, linewidth=0)
    for k, T in enumerate(temperatures):
        axes.annotate(f"{T:.0f} K", (r[0], k * step + 0.12), fontsize=8)
    axes.set(xlabel="r (Å)", xlim=(r[0], r[-1]), yticks=step * np.arange(len(temperatures)), yticklabels=[])
    axes.set_ylabel(f"g(r), zeros {step:g} apart")


def hysteresis(
    axes: Axes, temperatures: Sequence[float], heating: np.ndarray, cooling: np.ndarray, kind: str
) -> None:
    """A quantity along a loop in temperature, (runs, temperatures) each: heating solid, cooling dashed.

    Lines are means over the runs, bands one standard deviation.
    """
    band(axes, temperatures, heating, kind)
    band(axes, temperatures, cooling, kind, label="_", linestyle="--")


def free_energy_steps(axes: Axes, phases: Mapping[str, Any], zero: float) -> None:
    """Free energies (`free_energy.FreeEnergy`) by phase, each a bar for every term and a line at their sum.

    zero: eV per atom, taken from each last term, which holds the energy of the potential. Axis: meV per atom.
    """
    names: list[str] = []
    for kind, (phase, result) in zip(("EF", "other"), phases.items(), strict=True):
        level, first = 0.0, len(names)
        for name, term in result.terms.items():
            last = name == list(result.terms)[-1]
            step = 1e3 * (term.value - zero * last)
            axes.barh(len(names), step, 0.7, left=level, color=COLORS[kind], alpha=0.75)
            names.append(name)
            level += step
        axes.plot([level] * 2, [first - 0.5, len(names) - 0.5], color=COLORS[kind], linewidth=1.2)
        text = f"{phase}: {level:.1f}"
        axes.annotate(text, (level, len(names)), fontsize=9, color=COLORS[kind], ha="center", va="center")
        names.append("")
    axes.axvline(0, color=COLORS["reference"], linewidth=0.8)
    rows = [k for k, name in enumerate(names) if name]
    axes.set_yticks(rows, [names[k].replace(" to ", "\nto ") for k in rows], fontsize=8)
    axes.set(xlabel="free energy (meV/atom)", ylim=(len(names) - 0.4, -0.7))
