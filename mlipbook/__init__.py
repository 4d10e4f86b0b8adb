"""mlipbook: how machine-learning interatomic potentials should be trained, and proved.

Units at every public boundary: eV, angstrom, amu and ASE's time unit; see `mlipbook.units`.
"""

import ctypes
import sys

from mlipbook import (
    aenet,
    campaign,
    datasets,
    dft,
    dynamics,
    free_energy,
    heat,
    labels,
    neighbors,
    observables,
    plotting,
    potentials,
    units,
)
from mlipbook.accuracy import ErrorTable, errors, predict
from mlipbook.calculator import Calculator
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials import Evaluation
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.structures import Structures
from mlipbook.training.cost import Cost
from mlipbook.training.fitting import History, fit

__version__ = "0.1.0"
__all__ = [
    "ANNPotential",
    "Calculator",
    "Chebyshev",
    "Cost",
    "ErrorTable",
    "Evaluation",
    "History",
    "Structures",
    "aenet",
    "campaign",
    "datasets",
    "dft",
    "dynamics",
    "errors",
    "fit",
    "free_energy",
    "heat",
    "labels",
    "load",
    "neighbors",
    "observables",
    "plotting",
    "potentials",
    "predict",
    "units",
]


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks: fresh pages for every temporary tensor cost a third of the time."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
        except OSError:  # another C library
            return
        M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


_keep_freed_memory()
