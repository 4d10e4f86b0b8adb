"""mlipbook: how machine-learning interatomic potentials should be trained, and proved.

Units at every public boundary: eV, angstrom, amu and ASE's time unit; see `mlipbook.units`. A name below is
imported when it is first used (PEP 562), so that `import mlipbook` costs nothing and changes nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mlipbook._version import __version__

if TYPE_CHECKING:
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
    from mlipbook.descriptors import Chebyshev
    from mlipbook.fast.choice import fast
    from mlipbook.potentials import Evaluation
    from mlipbook.potentials.ann import ANNPotential, load
    from mlipbook.potentials.calculator import Calculator
    from mlipbook.structures import Structures
    from mlipbook.training.cost import Cost
    from mlipbook.training.fitting import History, fit

_HOMES = {  # of what is not a module itself; a test holds this table and the imports above together
    "ANNPotential": "potentials.ann",
    "Calculator": "potentials.calculator",
    "Chebyshev": "descriptors",
    "Cost": "training.cost",
    "ErrorTable": "accuracy",
    "Evaluation": "potentials",
    "History": "training.fitting",
    "Structures": "structures",
    "errors": "accuracy",
    "fit": "training.fitting",
    "load": "potentials.ann",
    "predict": "accuracy",
}
__all__ = ["ANNPotential", "Calculator", "Chebyshev", "Cost", "ErrorTable", "Evaluation", "History"]
__all__ += ["Structures", "__version__", "aenet", "campaign", "datasets", "dft", "dynamics", "errors"]
__all__ += ["fast", "fit", "free_energy", "heat", "labels", "load", "neighbors", "observables", "plotting"]
__all__ += ["potentials", "predict", "units"]

if not TYPE_CHECKING:  # a checker of types would take any name for one of these

    def __getattr__(name: str) -> object:
        """A public name, or any module of the package, from where it is defined."""
        if name in _HOMES:
            value = getattr(import_module(f"mlipbook.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        try:
            return import_module(f"mlipbook.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"mlipbook.{name}":
                raise
            raise AttributeError(f"module 'mlipbook' has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
