"""Which form of a potential computes; what is said where it is not the fast one."""

import logging
import os
from functools import cache
from typing import cast

import torch

from mlipbook.checks import refusal
from mlipbook.fast.graphs import Recorded
from mlipbook.fast.networks import Native
from mlipbook.fast.pairs import NativePairs
from mlipbook.potentials import EdgePotential, Ionic, PairPotential, Potential, Wrapper
from mlipbook.potentials.ann import ANNPotential, MemberPerReplica


def fast(potential: Potential, off: bool = False) -> Potential:
    """The fastest form of a potential that gives the same numbers on the device at hand.

    In C for structures on a CPU (ANN potentials, pair potentials, and wrappers around them), as a CUDA graph
    for those on a GPU. Where there is none, or no C compiler, it is the potential itself; why is written once
    on stderr (logger "mlipbook"). Weights that change in the potential change in its form, too. off: the
    potential itself, always; MLIPBOOK_FAST=off in the environment does so everywhere. Raises TypeError for
    what is no potential.
    """
    if isinstance(potential, type) or not hasattr(potential, "evaluate"):
        raise refusal(potential, "potential", "a potential, such as mb.load(path)", error=TypeError)
    if off or os.environ.get("MLIPBOOK_FAST") == "off" or isinstance(potential, Recorded):
        return potential
    form = in_c(potential)
    return Recorded(form) if torch.cuda.is_available() else form


def in_c(potential: Potential) -> Potential:
    """With C in place of what C can do; a wrapper as a copy around other forms."""
    if isinstance(potential, (Native, NativePairs)):
        return potential
    if isinstance(potential, (ANNPotential, MemberPerReplica, PairPotential, Ionic)):
        form = NativePairs if isinstance(potential, (PairPotential, Ionic)) else Native
        try:
            return cast(Potential, form(potential))  # type: ignore[arg-type]
        except (RuntimeError, TypeError) as error:
            tell(f"{type(potential).__name__} is computed by PyTorch, not in C: {error}")
            return potential
    if isinstance(potential, Wrapper) and not isinstance(potential, EdgePotential):
        return potential.around(in_c)
    return potential


@cache
def tell(text: str) -> None:
    """Once in a process, on stderr unless logging is set up otherwise."""
    logging.getLogger("mlipbook").warning(text)
