"""The fastest form of a potential that gives the same numbers on the device at hand.

    fast(potential)                 in C on a CPU, as a recorded graph on a GPU, else the potential itself
    fast(potential, off=True)       the potential itself; MLIPBOOK_FAST=off in the environment does it for all

Dynamics, Calculator, errors, heat and free energies ask for it themselves. PyTorch stays the definition: a
test holds each form to it. (Module `choice` says more; this one can be called, so that `mb.fast` is both.)
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlipbook.potentials import Potential


class _Fast(ModuleType):
    def __call__(self, potential: "Potential", off: bool = False) -> "Potential":
        from mlipbook.fast.choice import fast

        return fast(potential, off)


sys.modules[__name__].__class__ = _Fast
