"""Networks with different weights of Eq. 3, trained side by side in one committee, and their errors.

Network m of every kind starts from the same weights and sees the same batches, so that kinds are compared
seed by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from torch import Tensor

from mlipbook.accuracy import UNITS
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.sodium import Weights, descriptor
from mlipbook.training.cost import Cost, residuals
from mlipbook.training.derivatives import Prepared, make_batches
from mlipbook.training.fitting import fit
from mlipbook.units import GPa, meV


@dataclass(frozen=True)
class CostPerMember(Cost):
    """Eq. 3 with weights of its own for each member of a committee; each: one (p_U, p_F, p_W) per member."""

    each: tuple[Weights, ...] = ()

    def weights(self, progress: float = 1.0) -> Weights:
        """The largest weights of any member, by which labels are checked."""
        p_U, p_F, p_W = zip(*self.each, strict=True)
        return max(p_U), max(p_F), max(p_W)

    def __call__(self, squares: Tensor, counts: Tensor, progress: float = 1.0) -> Tensor:
        p = squares.new_tensor(self.each).T
        return (0.5 * p / counts.clamp(min=1)[:, None] * squares.sum(-1)).sum(0)


def fit_each(
    potential: ANNPotential,
    each: Sequence[Weights],
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    device: str = "cpu",
    learning_rate: float = 1e-2,
    **options: Any,
) -> ANNPotential:
    """Train a committee in float32, each member with its weights; in float64. options: of `training.fit`."""
    potential = potential.to(device).float()
    fit(potential, train, valid, CostPerMember(each=tuple(each)), learning_rate=learning_rate, **options)
    return potential.double()


def train_kinds(
    kinds: dict[str, Weights],
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    *,
    members: int,
    seed: int = 0,
    **options: Any,
) -> ANNPotential:
    """`members` networks of each kind in one fit, in their order; options: of `fit_each`.

    Seeds are paired: network m of every kind starts from the weights of seed + m.
    """
    start = ANNPotential(descriptor(), members=members, seed=seed)
    potential = ANNPotential(descriptor(), members=members * len(kinds))
    for p, p0 in zip(potential.parameters(), start.parameters(), strict=True):
        p.data.copy_(p0.repeat(len(kinds), 1, 1))
    each = [weights for weights in kinds.values() for _ in range(members)]
    return fit_each(potential, each, train, valid, seed=seed, **options)


def by_kind(values: np.ndarray, kinds: dict[str, Weights]) -> dict[str, np.ndarray]:
    """Split values (kinds * members, ...) of a committee of `train_kinds`: name -> (members, ...)."""
    return dict(zip(kinds, values.reshape(len(kinds), -1, *values.shape[1:]), strict=True))


# ---- errors on held-out frames ------------------------------------------------------------------------


def held_out(
    potential: ANNPotential, frames: Sequence[Atoms], prepared: Sequence[Prepared]
) -> dict[str, np.ndarray]:
    """Errors, predicted minus labeled, name -> (members, frames), from stored derivatives as in training.

    energy (meV/atom) and pressure (GPa) with their sign; force (meV/A) and stress (GPa) as root mean squares.
    prepared: `prepare_all` of the frames. Of frames without labels the "errors" are the predictions.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in UNITS}
    for atoms, batch in zip(frames, make_batches(potential, prepared, 1), strict=True):
        dU, dF, dW = (x.detach().cpu().numpy() for x in residuals(potential, batch))
        virial = dW[:, 0] / atoms.cell.volume / GPa
        columns["energy"].append(dU[:, 0] / len(atoms) / meV)
        columns["force"].append(rmse(dF.reshape(len(dF), -1)) / meV)
        columns["stress"].append(rmse(virial))
        columns["pressure"].append(virial[:, :3].mean(1))
    return {name: np.stack(parts, axis=1) for name, parts in columns.items()}


def rmse(errors: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis, frames or components."""
    return np.sqrt((errors**2).mean(-1))


def volume_slope(errors: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    """Slope of pressure errors (members, frames) GPa against ln V, (members,) GPa: minus the error of B."""
    return np.polyfit(np.log(volumes), errors.T, 1)[0]
