"""Training on the cost function (Eq. 3) with stored descriptor derivatives."""

from mlipbook.training.checkpoint import History
from mlipbook.training.cost import Cost
from mlipbook.training.fitting import fit

__all__ = ["Cost", "History", "fit"]
