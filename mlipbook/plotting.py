"""One style for every figure: the reference black, EF-fits red, EFP-fits green, as in the paper.

Colors are distinguishable in the common color deficiencies and differ in lightness; markers differ too.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def band(axes: Axes, x: Sequence[float], samples: np.ndarray, kind: str, label: str | None = None) -> None:
    """Mean of samples (n, len(x)) over their first axis as a line, with a band of one standard deviation."""
    mean, spread = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1) if len(samples) > 1 else 0
    axes.plot(x, mean, color=COLORS[kind], label=label or kind)
    axes.fill_between(x, mean - spread, mean + spread, color=COLORS[kind], alpha=0.2, linewidth=0)


def parity(
    axes: Axes, reference: np.ndarray, predicted: np.ndarray, kind: str, label: str | None = None
) -> None:
    """Predicted against reference, with the diagonal; arrays of one shape."""
    axes.scatter(
        reference, predicted, s=12, color=COLORS[kind], marker=MARKERS[kind], alpha=0.7, label=label or kind
    )
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    axes.plot([low, high], [low, high], color=COLORS["reference"], linewidth=0.8, zorder=0)
