"""The cost function of Eq. 3 on stored descriptor derivatives.

With dG/dr and dG/dstrain computed once per structure, forces and virials are linear in s = d(eps)/dG, the
gradient of the small networks alone:

    g_e = sum_n s_n dG_n/dr_e,     W = sum_i sum_n s_in B_in,     B_in = - sum_e r_e (x) dG_n/dr_e

so that virials cost next to nothing, and all members of a committee train in the same matrix products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlipbook.potentials.ann import ANNPotential
from mlipbook.training.derivatives import Batch

Schedule = float | Callable[[float], float]


@dataclass(frozen=True)
class Cost:
    """The cost function, Eq. 3:

        C =   p_U/2 <(dU/N)^2> + p_F/2 <1/(3N) sum |dF|^2> + p_W/2 <1/6 sum_j (dW_j/N)^2>

    with the mean over structures, U and W in eV, F in eV/A, N the number of atoms. Each mean runs over
    the structures that carry the label. Weights are numbers, or functions of the progress 0..1 of the
    fit. p_W = 0 is the EF-fit, p_W > 0 the EFP-fit. Raises ValueError for weights that cannot be meant.
    """

    p_U: Schedule = 1.0
    p_F: Schedule = 1.0
    p_W: Schedule = 1.0

    def __post_init__(self) -> None:
        self.weights()

    def weights(self, progress: float = 1.0) -> tuple[float, float, float]:
        p_U, p_F, p_W = (p(progress) if callable(p) else p for p in (self.p_U, self.p_F, self.p_W))
        values = (p_U, p_F, p_W)
        if not all(0 <= p < float("inf") for p in values) or max(values) == 0:
            raise ValueError(f"cost weights {values}: give finite ones, not negative, and not all zero")
        return values

    def __call__(self, squares: Tensor, counts: Tensor, progress: float = 1.0) -> Tensor:
        """(members,) from the sums of squares per structure, (3, members, I), and label counts (3,)."""
        p = squares.new_tensor(self.weights(progress))
        return (0.5 * p / counts.clamp(min=1)) @ squares.sum(-1)


def residuals(potential: ANNPotential, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted minus target: dU (members, I) eV, dF (members, A, 3) eV/A, dW (members, I, 6) eV."""
    M, A, I = potential.members, len(batch.frame), len(batch.n_atoms)  # noqa: E741
    features = batch.features.expand(M, -1, -1).detach().requires_grad_()
    with torch.enable_grad():
        energies = potential.network_energies(features, batch.species)  # (M, A)
        s = torch.autograd.grad(energies.sum(), features, create_graph=True)[0]  # d(eps)/dG
    rows = 3 * batch.moves.shape[1], 6
    motion, strain = (batch.derivatives @ s.permute(1, 2, 0)).split(rows, dim=1)  # (A, ..., M)
    forces = s.new_zeros(A, 3, M).index_add(0, batch.moves.flatten(), motion.reshape(-1, 3, M), alpha=-1)
    virials = s.new_zeros(I, 6, M).index_add(0, batch.frame, strain)
    total = s.new_zeros(M, I).index_add(1, batch.frame, energies)
    return total - batch.U, forces.permute(2, 0, 1) - batch.F, virials.permute(2, 0, 1) - batch.W


def squares(potential: ANNPotential, batch: Batch) -> Tensor:
    """The three squared errors of Eq. 3 per structure, (3, members, I); 0 where the label is missing."""
    dU, dF, dW = residuals(potential, batch)
    per_frame = dU.new_zeros(dU.shape).index_add(1, batch.frame, dF.square().sum(-1))
    N = batch.n_atoms
    terms = torch.stack([(dU / N) ** 2, per_frame / (3 * N), (dW / N[:, None]).square().mean(-1)])
    return terms * batch.present[:, None]


def counts_of(batches: Sequence[Batch]) -> Tensor:
    """How many structures carry U, F and W labels, (3,)."""
    return torch.stack([batch.present.sum(-1) for batch in batches]).sum(0)
