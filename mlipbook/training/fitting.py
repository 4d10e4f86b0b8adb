"""Training on the cost function: Adam or L-BFGS, early stopping, checkpoints; same seed, same result."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from ase import Atoms
from tqdm import tqdm

from mlipbook import archive
from mlipbook.checks import frames, one_of, positive, whole
from mlipbook.potentials.ann import ANNPotential
from mlipbook.training.checkpoint import Checkpoint, History, Learner, known_by, make_learners, scales
from mlipbook.training.cost import Cost, counts_of, squares
from mlipbook.training.derivatives import Batch, Prepared, make_batches, normalize, prepare_all, shortest_of

DIVERGED = (
    "epoch {}: the validation cost of member {} is not finite, the fit diverged; lower the learning rate, "
    "and look for wrong labels"
)


@dataclass
class Plan:
    """How a fit goes. Raises ValueError for what cannot be meant."""

    cost: Cost
    optimizer: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    reference_energies: dict[str, float] | None
    seed: int

    def __post_init__(self) -> None:
        one_of(self.optimizer, "optimizer", ("adam", "lbfgs"))
        self.epochs, self.batch_size = whole(self.epochs, "epochs"), whole(self.batch_size, "batch_size")
        self.learning_rate = positive(self.learning_rate, "learning_rate")
        self.seed = whole(self.seed, "seed", least=0)
        if self.patience is not None:
            whole(self.patience, "patience")

    def weights(self) -> list[tuple[float, float, float]]:
        """All that the fit will use."""
        return [self.cost.weights(epoch / self.epochs) for epoch in range(self.epochs + 1)]

    def batches(self, potential: ANNPotential, prepared: Sequence[Prepared]) -> list[Batch]:
        """Of the training set, mixed once."""
        order = np.random.default_rng(self.seed).permutation(len(prepared))
        return make_batches(potential, [prepared[i] for i in order], self.batch_size)

    def identity(self) -> dict[str, str]:
        """What tells a fit from others that go otherwise, described."""
        weights = self.weights()  # which tell all of a Cost, if not of a class of your own
        cost = weights if type(self.cost) is Cost else [type(self.cost), weights]
        own = {
            name: archive.described(x) for name, x in vars(self).items() if name not in ("cost", "patience")
        }
        return {**own, "cost": archive.described(cost, f"{weights[0]} to {weights[-1]}")}


def fit(
    potential: ANNPotential,
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    cost: Cost | None = None,
    *,
    optimizer: str = "adam",
    epochs: int = 200,
    batch_size: int = 4,
    learning_rate: float = 2e-2,
    patience: int | None = None,
    reference_energies: dict[str, float] | None = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train all members of a potential in place; every member keeps the parameters of its best epoch.

    train, valid: frames with energy (free energy first), forces and stress in their calculators; any mixture
    of sizes and compositions. cost: Eq. 3, default p_U = p_F = p_W = 1. optimizer: "adam" (the learning rate
    rises over a tenth of the epochs and falls as a cosine) or "lbfgs" (full batch, member by member, an epoch
    is ten iterations). patience: stop when no member's validation cost fell for so many epochs.
    reference_energies: E_atom in eV (default: least squares on the training energies). checkpoint: a file
    written after every epoch; if it exists, the fit goes on from there to the result it would have had.

    A potential that was fitted before keeps its normalization and reference energies (warm start).
    Raises ValueError for unknown species, labels that are not finite, a cost weight without any label to act
    on, and a checkpoint that is damaged or of another fit; InUse if another process writes it.
    """
    settings = (optimizer, epochs, batch_size, learning_rate, patience, reference_energies, seed)
    plan = Plan(cost or Cost(), *settings)
    train, valid = frames(train, "train"), frames(valid, "valid")
    sets = {"train": prepare_all(potential, train, "train"), "valid": prepare_all(potential, valid, "valid")}
    check_labels(plan.weights(), sets)
    given = scales(potential)
    if not potential.normalized:
        normalize(potential, sets["train"], reference_energies)
    potential.shortest = shortest_of(sets["train"], potential.shortest)
    history, learners = History(summarize(potential, sets)), make_learners(potential, optimizer)
    own = {**identity(potential, train, valid), **plan.identity()}
    saved = Checkpoint(checkpoint, own, (given, scales(potential)), learners)
    go(potential, plan, sets, learners, history, saved, progress)
    return history


def go(
    potential: ANNPotential,
    plan: Plan,
    sets: Mapping[str, Sequence[Prepared]],
    learners: Sequence[Learner],
    history: History,
    saved: Checkpoint,
    progress: bool,
) -> None:
    """All epochs that are not in the checkpoint."""
    batches = plan.batches(potential, sets["train"])
    held_out = make_batches(potential, sets["valid"], plan.batch_size)
    with archive.locked(saved.lock):
        start, end = saved.load(learners, history), plan.epochs
        bar = tqdm(range(start, end), initial=start, total=end, desc="fit", disable=not progress)
        try:
            for epoch in bar:
                if plan.patience and epoch and epoch - 1 - history.best_epoch.max() >= plan.patience:
                    break
                began = time.perf_counter()
                history.train_cost.append(one_epoch(plan, learners, batches, epoch))
                validate(learners, held_out, plan.cost, history)
                history.seconds += time.perf_counter() - began
                if len(lost := np.flatnonzero(~np.isfinite(history.valid_cost[-1]))):
                    raise ValueError(DIVERGED.format(epoch, lost[0]))  # the checkpoint before stays
                saved.save(learners, history)
                U, F, W = 1e3 * np.median(history.valid_rmse[-1], axis=1)
                bar.set_postfix_str(f"valid U {U:.2f} meV/atom, F {F:.1f} meV/A, W {W:.2f} meV/atom")
        finally:  # an interrupted potential holds its best weights, too
            with torch.no_grad():
                for k, p in enumerate(potential.parameters()):
                    p.copy_(torch.cat([learner.best[k] for learner in learners]))


def identity(potential: ANNPotential, train: Sequence[Atoms], valid: Sequence[Atoms]) -> dict[str, str]:
    """What is fitted to what, but for the weights and scales that it starts from, described."""
    networks = {s: (network.sizes, network.activations) for s, network in potential.networks.items()}
    shape = {"members": potential.members, "repulsion": potential.repulsion_cutoff, "networks": networks}
    return {
        "potential": archive.described({**shape, **potential.descriptor.settings}),
        "training set": archive.described([*map(known_by, train)], f"{len(train)} frames"),
        "validation set": archive.described([*map(known_by, valid)], f"{len(valid)} frames"),
    }


def check_labels(weights: list[tuple[float, float, float]], sets: dict[str, list[Prepared]]) -> None:
    """Raise ValueError if a weight of the cost, at any time of the fit, has no label to act on."""
    largest = np.max(weights, axis=0)
    for part, prepared in sets.items():
        have = torch.stack([p.present for p in prepared]).sum(0).tolist()
        for p, name, count in zip(largest, ("energy", "force", "stress"), have, strict=True):
            if p > 0 and count == 0:
                raise ValueError(
                    f"the cost weighs the {name} by {p:g}, but none of the {len(prepared)} {part} frames "
                    f"has {name} labels; add some, or set the weight to 0 (p_W = 0 is the EF-fit)"
                )


def summarize(potential: ANNPotential, sets: dict[str, list[Prepared]]) -> str:
    """The structures and labels of a fit in words."""
    lines = [f"{potential.members} member(s), {sum(p.numel() for p in potential.parameters())} parameters"]
    for part, prepared in sets.items():
        atoms = sum(len(p.species) for p in prepared)
        U, F, W = torch.stack([p.present for p in prepared]).sum(0).tolist()
        n = len(prepared)
        lines.append(f"{part}: {n} frames, {atoms} atoms; {U} with energy, {F} forces, {W} stress")
        lines += [f"{part} frames without stress, counting in U and F only: {n - W}"] * (n > W)
    return "; ".join(lines)


# ---- one epoch ---------------------------------------------------------------------------------------


def one_cycle(progress: float) -> float:
    """Learning-rate factor: a linear rise over the first tenth, then a cosine down to a thousandth."""
    falling = (1 + cos(pi * (progress - 0.1) / 0.9)) / 2
    return 0.1 + 9 * progress if progress < 0.1 else 0.001 + 0.999 * falling


def one_epoch(plan: Plan, learners: Sequence[Learner], batches: Sequence[Batch], epoch: int) -> np.ndarray:
    """The cost averaged over the epoch, (members,)."""
    train_epoch = adam_epoch if plan.optimizer == "adam" else lbfgs_epoch
    shuffle = np.random.default_rng((plan.seed, epoch)).permutation(len(batches))
    shuffled, progress = [batches[i] for i in shuffle], epoch / plan.epochs
    rate = plan.learning_rate * one_cycle(progress)
    return np.concatenate([train_epoch(x, shuffled, plan.cost, progress, rate) for x in learners])


def adam_epoch(
    learner: Learner, batches: Sequence[Batch], cost: Cost, progress: float, rate: float
) -> np.ndarray:
    """One step per batch; returns the cost averaged over the epoch, (members,)."""
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    counts, total = counts_of(batches), torch.zeros_like(learner.best_cost)
    for batch in batches:
        members = cost(squares(learner.potential, batch), counts, progress)
        learner.optimizer.zero_grad()
        (len(batches) * members.sum()).backward()  # the members' gradients do not mix
        learner.optimizer.step()
        total += members.detach()
    return total.cpu().numpy()


def lbfgs_epoch(
    learner: Learner, batches: Sequence[Batch], cost: Cost, progress: float, _rate: float
) -> np.ndarray:
    """Ten iterations on all batches (the line search finds the step); returns the cost before, (1,)."""
    counts = counts_of(batches)

    def closure() -> float:
        learner.optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            part = cost(squares(learner.potential, batch), counts, progress).sum()
            part.backward()
            total += float(part.detach())
        return total

    return np.atleast_1d(float(learner.optimizer.step(closure)))


@torch.no_grad()
def validate(learners: Sequence[Learner], held_out: Sequence[Batch], cost: Cost, history: History) -> None:
    """Append validation errors to the history and keep the parameters of members that improved."""
    counts, costs, rmses = counts_of(held_out), [], []
    for learner in learners:
        total = torch.stack([squares(learner.potential, batch).sum(-1) for batch in held_out]).sum(0)
        members = cost(total[..., None], counts)
        better = members < learner.best_cost
        learner.best_cost = torch.where(better, members, learner.best_cost)
        for best, p in zip(learner.best, learner.potential.parameters(), strict=True):
            best[better] = p.detach()[better]
        costs.append(members)
        rmses.append((total / counts[:, None]).sqrt())
    history.valid_cost.append(torch.cat(costs).cpu().numpy())
    history.valid_rmse.append(torch.cat(rmses, dim=1).cpu().numpy())
