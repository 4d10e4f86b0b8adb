"""Training: Eq. 3 as printed, its gradient, and fits that can be killed, repeated and trusted."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from conftest import BOX, SKEW, TINY, ann, scattered

import mlipbook as mb
from mlipbook import archive
from mlipbook.descriptors import cutoff_function
from mlipbook.potentials import CloserThanTrained, EdgePotential, PairPotential, scatter
from mlipbook.training.checkpoint import Checkpoint
from mlipbook.training.cost import counts_of, residuals, squares
from mlipbook.training.derivatives import VOIGT, make_batches, normalize, prepare_all
from mlipbook.training.fitting import one_cycle


def with_labels(atoms: Atoms, **labels) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def random_labels(seed: int = 0) -> list[Atoms]:
    """Four frames of other sizes, compositions and cells, the first one a slab; the last two lack the stress,
    one its forces.
    """
    rng, frames = np.random.default_rng(seed), []
    kinds = (("Ag5Se3", SKEW), ("AgSe", 1.1 * TINY), ("Ag4Se2", BOX), ("Ag2", SKEW))
    for k, (formula, cell) in enumerate(kinds):
        atoms = scattered(formula, cell, (True, True, k > 0), seed=seed + k)
        labels = {
            "energy": -2.0 * len(atoms) + rng.normal(),
            "forces": 0.1 * rng.normal(size=(len(atoms), 3)),
            "stress": 0.01 * rng.normal(size=6),
        }
        for name in ((), (), ("stress",), ("stress", "forces"))[k]:
            del labels[name]
        frames.append(with_labels(atoms, **labels))
    return frames


def tapered(r: torch.Tensor, *_) -> torch.Tensor:
    """Lennard-Jones argon, taken smoothly to zero at 5.5 A as the features are."""
    x = (3.4 / r) ** 6
    return 4 * 0.0103 * (x * x - x) * cutoff_function(r, 5.5)


def lennard_jones(n: int, seed: int) -> list[Atoms]:
    """Rattled, strained fcc argon at many volumes with energies, forces and stress of a pair potential."""
    rng, potential, frames = np.random.default_rng(seed), PairPotential(tapered, 5.5), []
    for _ in range(n):
        atoms = bulk("Ar", "fcc", rng.uniform(5.0, 5.8), cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.15 * rng.normal(size=atoms.positions.shape)
        result = potential.evaluate(mb.Structures.from_ase(atoms))
        stress = result.stress[0].numpy()[VOIGT]
        frames.append(
            with_labels(atoms, energy=float(result.energy), forces=result.forces[0].numpy(), stress=stress)
        )
    return frames


@pytest.fixture(scope="module")
def argon() -> tuple[list[Atoms], list[Atoms]]:
    return lennard_jones(40, 0), lennard_jones(8, 1)


@pytest.fixture(scope="module")
def few(argon) -> tuple[list[Atoms], list[Atoms]]:
    return argon[0][:9], argon[1][:3]


def argon_potential(**settings) -> mb.ANNPotential:
    return mb.ANNPotential(mb.Chebyshev(("Ar",), 5.5, 10, 5.5, 2), (8,), **settings)


def random_potential(**settings) -> mb.ANNPotential:
    return ann(mb.Structures.from_ase(random_labels()[0]), **settings)


def fit(potential: mb.ANNPotential, data, cost: mb.Cost | None = None, **settings) -> mb.History:
    return mb.fit(potential, *data, cost, **{"epochs": 4, "progress": False, **settings})


def stored(potential: mb.ANNPotential, frames: list[Atoms], cost: mb.Cost) -> torch.Tensor:
    """Eq. 3 of each member, (members,), through the stored derivatives."""
    batches = make_batches(potential, prepare_all(potential, frames, "train"), 3)
    return sum(cost(squares(potential, batch), counts_of(batches)) for batch in batches)


def parameters(potential: mb.ANNPotential) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in potential.parameters()])


# ---- the cost function -------------------------------------------------------------------------------


def equation_3(
    potential: EdgePotential, frames: list[Atoms], p: tuple[float, float, float], error: str = ""
) -> float:
    """The printed formula in NumPy, term by term; each average over the frames that have the label."""
    terms: list[list[float]] = [[], [], []]
    for atoms in frames:
        N, labels = len(atoms), atoms.calc.results
        result = potential.evaluate(mb.Structures.from_ase(atoms))
        U, F, W = float(result.energy), result.forces[0].numpy(), result.virial[0].numpy()[VOIGT]
        terms[0].append(((U - labels["energy"]) / N) ** 2)
        if "forces" in labels:
            terms[1].append(1 / (3 * N) * np.sum((F - labels["forces"]) ** 2))
        if "stress" in labels:
            W_reference = -atoms.cell.volume * labels["stress"]
            if error == "sign of W":
                W_reference = -W_reference
            per_atom = 1 if error == "W not divided by N" else N
            terms[2].append(1 / 6 * sum(((W[j] - W_reference[j]) / per_atom) ** 2 for j in range(6)))
    half = 1.0 if error == "no factor 1/2" else 0.5
    return sum(half * weight / len(term) * sum(term) for weight, term in zip(p, terms, strict=True) if term)


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (7, 0.5, 3)], ids=str)
@pytest.mark.parametrize("repulsion", [None, 3.9])
def test_cost_is_equation_3(weights, repulsion):
    """Mixed sizes and compositions, missing labels, both members; to 1e-12."""
    committee = random_potential(members=2, repulsion=repulsion)
    found = stored(committee, random_labels(), mb.Cost(*weights))
    for m in range(2):
        assert float(found[m].detach()) == pytest.approx(
            equation_3(committee.member(m), random_labels(), weights), rel=1e-12
        )


@pytest.mark.parametrize("error", ["sign of W", "W not divided by N", "no factor 1/2"])
def test_wrong_costs_are_told_apart(error):
    weights = (1, 1, 1)
    potential = random_potential()
    found = float(stored(potential, random_labels(), mb.Cost(*weights)).detach())
    assert abs(equation_3(potential, random_labels(), weights, error) / found - 1) > 1e-3


def test_residuals_are_those_of_evaluate():
    """Forces and virials from stored derivatives equal those from the gradient of the energy, to 1e-10."""
    committee, frames = random_potential(members=2, repulsion=3.9), random_labels()
    [batch] = make_batches(committee, prepare_all(committee, frames, "train"), 4)
    dU, dF, dW = (x.detach() for x in residuals(committee, batch))
    first = 0
    for k, atoms in enumerate(frames):
        result = committee.evaluate(mb.Structures.from_ase(atoms))
        labels = {"forces": 0.0, "stress": np.zeros(6)} | atoms.calc.results
        rows = slice(first, first + len(atoms))
        first = rows.stop
        torch.testing.assert_close(dU[:, k], result.energy[:, 0] - labels["energy"], rtol=0, atol=1e-10)
        if "forces" in atoms.calc.results:
            expected = result.forces[:, 0] - torch.as_tensor(labels["forces"])
            torch.testing.assert_close(dF[:, rows], expected, rtol=0, atol=1e-10)
        if "stress" in atoms.calc.results:
            W = result.virial[:, 0][:, VOIGT[0], VOIGT[1]] + torch.as_tensor(
                atoms.cell.volume * labels["stress"]
            )
            torch.testing.assert_close(dW[:, k], W, rtol=0, atol=1e-10)


def double_backward(
    potential: mb.ANNPotential, frames: list[Atoms], p: tuple[float, float, float]
) -> torch.Tensor:
    """Eq. 3 with forces and virials by differentiating through descriptor and network, graph kept."""
    terms: list[list[torch.Tensor]] = [[], [], []]
    for atoms in frames:
        structures, labels = mb.Structures.from_ase(atoms), atoms.calc.results
        edges = mb.neighbors.build(structures, potential.cutoff)
        vectors = edges.vectors(structures).requires_grad_()
        energies = potential.atomic_energies(vectors, *edges.species(structures))
        g = torch.autograd.grad(energies.sum(), vectors, create_graph=True)[0]
        F, W = scatter(g, vectors, edges, "II")
        terms[0].append(((energies.sum() - labels["energy"]) / len(atoms)).square())
        if "forces" in labels:
            terms[1].append((F - torch.as_tensor(labels["forces"])).square().mean())
        if "stress" in labels:
            dW = W.sum(0)[VOIGT] + atoms.cell.volume * torch.as_tensor(labels["stress"])
            terms[2].append((dW / len(atoms)).square().mean())
    return sum(0.5 * weight * torch.stack(term).mean() for weight, term in zip(p, terms, strict=True))


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=str)
def test_gradient_is_that_of_double_backward(weights):
    """Stored derivatives against differentiating twice through the descriptor, every parameter, to 1e-9."""
    potential = random_potential()
    exact = torch.autograd.grad(
        double_backward(potential, random_labels(), weights), list(potential.parameters()), allow_unused=True
    )
    found = torch.autograd.grad(
        stored(potential, random_labels(), mb.Cost(*weights)).sum(),
        list(potential.parameters()),
        allow_unused=True,
    )
    size = max(float(g.abs().max()) for g in exact if g is not None)
    assert size > 1e-3
    for a, b, p in zip(found, exact, potential.parameters(), strict=True):
        a, b = (torch.zeros_like(p) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * size)


def test_members_do_not_mix():
    """The gradient of the summed cost of a committee is that of each member alone."""
    committee, cost = random_potential(members=3), mb.Cost()
    together = torch.autograd.grad(
        stored(committee, random_labels(), cost).sum(), list(committee.parameters())
    )
    for m in range(3):
        member = committee.member(m)
        alone = torch.autograd.grad(stored(member, random_labels(), cost).sum(), list(member.parameters()))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[m : m + 1], b, rtol=1e-10, atol=1e-12)


def test_energy_and_force_fits_ignore_the_stress():
    """p_W = 0: nothing changes when the stress labels are replaced or removed."""
    cost, potential = mb.Cost(1, 1, 0), random_potential()
    frames = random_labels()
    before = stored(potential, frames, cost)
    frames[0].calc.results["stress"] = np.full(6, 1e3)
    del frames[1].calc.results["stress"]
    assert torch.equal(stored(potential, frames, cost), before)


def test_weights_follow_schedules():
    cost = mb.Cost(p_U=lambda x: 1 + 9 * x, p_F=lambda x: 1 - x, p_W=0.5)
    assert cost.weights(0.0) == (1.0, 1.0, 0.5)
    assert cost.weights(0.5) == (5.5, 0.5, 0.5)
    assert cost.weights() == (10.0, 0.0, 0.5)
    terms = torch.ones(3, 1, 2, dtype=torch.float64)
    counts = torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64)
    assert float(cost(terms, counts, 0.5)) == pytest.approx(0.5 * (5.5 + 0.5 + 2 * 0.5))
    for wrong in ((-1, 1, 1), (0, 0, 0)):
        with pytest.raises(ValueError, match="finite ones, not negative, and not all zero"):
            mb.Cost(*wrong)


def test_learning_rate_rises_and_falls():
    factors = [one_cycle(x) for x in np.linspace(0, 1, 101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == pytest.approx(1.0) == factors[10]
    assert factors[-1] == pytest.approx(1e-3)
    assert all(a < b for a, b in zip(factors[:10], factors[1:11], strict=True))
    assert all(a > b for a, b in zip(factors[10:-1], factors[11:], strict=True))


# ---- normalization -----------------------------------------------------------------------------------


def test_normalization_is_that_of_aenet():
    """Per element: features of zero mean and unit variance. Cohesive energies per atom fill [-1, 1]."""
    frames = random_labels()
    potential = mb.ANNPotential(mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3))
    E_atom = {"Ag": -1.7, "Se": -2.4}
    normalize(potential, prepare_all(potential, frames, "train"), E_atom)
    for element, network in potential.networks.items():
        G = np.concatenate([potential.descriptor.compute(f)[f.symbols == element] for f in frames])
        np.testing.assert_allclose(network.mean, G.mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(network.mean_square, (G**2).mean(0), rtol=1e-12, atol=1e-12)
    cohesive = np.array(
        [(f.get_potential_energy() - sum(E_atom[s] for s in f.symbols)) / len(f) for f in frames]
    )
    y = float(potential.energy_scale) * (cohesive - float(potential.energy_shift))
    assert (y.min(), y.max()) == (pytest.approx(-1), pytest.approx(1))
    assert potential.reference_energies == E_atom


def test_reference_energies_are_least_squares():
    frames = random_labels()
    potential = mb.ANNPotential(mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3))
    normalize(potential, prepare_all(potential, frames, "train"), None)
    counts = np.array([[np.sum(f.symbols == s) for s in ("Ag", "Se")] for f in frames], float)
    U = np.array([f.get_potential_energy() for f in frames])
    expected = np.linalg.lstsq(counts, U)[0]
    np.testing.assert_allclose([potential.reference_energies[s] for s in ("Ag", "Se")], expected, rtol=1e-10)


def test_a_potential_remembers_the_shortest_distances():
    frames = random_labels()
    potential = mb.ANNPotential(mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3))
    fit(potential, (frames, frames), epochs=1)
    expected: dict[tuple[str, str], float] = {}
    for atoms in frames:
        many = atoms * np.where(atoms.pbc, 3, 1)
        r, symbols = many.get_all_distances(mic=True), many.symbols
        for i, j in zip(*np.nonzero((r > 0) & (r < 4.5)), strict=True):
            pair = tuple(sorted((symbols[i], symbols[j])))
            expected[pair] = min(r[i, j], expected.get(pair, 9.0))
    assert potential.shortest == {pair: pytest.approx(r) for pair, r in expected.items()}
    closer = frames[0].copy()
    closer.set_cell(0.9 * closer.cell.array, scale_atoms=True)
    with pytest.warns(CloserThanTrained):
        potential.evaluate(mb.Structures.from_ase(closer))


# ---- fits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer, epochs", [("adam", 40), ("lbfgs", 8)])
def test_a_fit_learns_lennard_jones(argon, optimizer, epochs):
    """Held-out errors fall below a fifth of the spread of the labels (measured 0.05 to 0.15), all three."""
    potential = argon_potential()
    fit(potential, argon, mb.Cost(10, 1, 1), optimizer=optimizer, epochs=epochs, learning_rate=3e-2)
    table = mb.errors(potential, argon[1])
    labels = [f.calc.results for f in argon[1]]
    spread = {
        "energy": np.std([x["energy"] / 4 for x in labels]) / mb.units.meV,
        "force": np.std([x["forces"] for x in labels]) / mb.units.meV,
        "stress": np.std([x["stress"] for x in labels]) / mb.units.GPa,
    }
    for name, size in spread.items():
        assert table.rmse[name][0] < 0.2 * size


@pytest.mark.slow
def test_stress_labels_lower_the_stress_error(argon):
    """The paper's first claim on a toy: fitted with the virial, the stress error falls for every member."""
    EF, EFP = (argon_potential(members=3) for _ in range(2))
    fit(EF, argon, mb.Cost(1, 1, 0), epochs=25, learning_rate=2e-2)
    fit(EFP, argon, mb.Cost(1, 1, 1), epochs=25, learning_rate=2e-2)
    a, b = mb.errors(EF, argon[1]), mb.errors(EFP, argon[1])
    assert np.all(b.rmse["stress"] < 0.7 * a.rmse["stress"])


def test_history_tells_what_happened(argon):
    potential, cost = argon_potential(members=2), mb.Cost(3, 1, 2)
    history = fit(potential, argon, cost, epochs=5)
    assert [len(x) for x in (history.train_cost, history.valid_cost, history.valid_rmse)] == [5, 5, 5]
    assert history.valid_rmse[0].shape == (3, 2) and history.seconds > 0
    best = [history.valid_cost[epoch][m] for m, epoch in enumerate(history.best_epoch)]
    np.testing.assert_allclose(best, np.min(history.valid_cost, axis=0))
    found = stored(potential, argon[1], cost).detach()
    np.testing.assert_allclose(found, best, rtol=1e-12)  # every member kept its best epoch
    rmse = [history.valid_rmse[epoch][:, m] for m, epoch in enumerate(history.best_epoch)]
    table = mb.errors(potential, argon[1])
    np.testing.assert_allclose(np.transpose(rmse)[0] / mb.units.meV, table.rmse["energy"], rtol=1e-9)
    np.testing.assert_allclose(np.transpose(rmse)[1] / mb.units.meV, table.rmse["force"], rtol=1e-9)
    assert "train: 40 frames, 160 atoms; 40 with energy, 40 forces, 40 stress" in history.summary


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_same_seed_same_result(few, optimizer):
    def result(member_seed: int, seed: int) -> torch.Tensor:
        potential = argon_potential(members=2, seed=member_seed)
        fit(potential, few, optimizer=optimizer, seed=seed, epochs=2)
        return parameters(potential)

    assert torch.equal(result(0, 0), result(0, 0))
    assert not torch.equal(result(0, 0), result(9, 0))
    if optimizer == "adam":  # the order of the batches; L-BFGS sees them all at once
        assert not torch.equal(result(0, 0), result(0, 1))


@pytest.mark.parametrize("optimizer, epochs, rate", [("adam", 6, 1e-2), ("adam", 6, 3.0), ("lbfgs", 4, 1.0)])
def test_a_killed_fit_resumes_to_the_same_result(few, tmp_path, monkeypatch, optimizer, epochs, rate):
    """Killed by an interrupt after two epochs and started again: bitwise the same, also where the best epoch
    (the one that is kept) was before the kill, as with the absurd learning rate.
    """
    settings = {"optimizer": optimizer, "epochs": epochs, "learning_rate": rate}
    cost = mb.Cost(1, lambda x: 1 - 0.5 * x, 1)
    whole = argon_potential(members=2)
    uninterrupted = fit(whole, few, cost, **settings)
    assert (uninterrupted.best_epoch.max() < 2) == (rate == 3.0)
    saved, save = [], Checkpoint.save

    def save_and_die(*arguments):
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            fit(argon_potential(members=2), few, cost, checkpoint=tmp_path / "fit.pt", **settings)
    again = argon_potential(members=2)
    history = fit(again, few, cost, checkpoint=tmp_path / "fit.pt", **settings)
    assert torch.equal(parameters(again), parameters(whole))
    np.testing.assert_array_equal(history.valid_cost, uninterrupted.valid_cost)
    np.testing.assert_array_equal(history.train_cost, uninterrupted.train_cost)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]
    finished = argon_potential(members=2)  # a finished fit is read, not run
    fit(finished, few, cost, checkpoint=tmp_path / "fit.pt", **settings)
    assert torch.equal(parameters(finished), parameters(whole))


def test_members_of_lbfgs_are_independent(few):
    """A line search over a committee would couple its members: two members equal two single fits."""
    committee = argon_potential(members=2, seed=3)
    fit(committee, few, optimizer="lbfgs", epochs=2)
    for m in range(2):
        single = argon_potential(seed=3 + m)
        fit(single, few, optimizer="lbfgs", epochs=2)
        assert torch.equal(parameters(committee.member(m)), parameters(single))


def test_members_of_adam_are_independent(few):
    """Sums of another length round differently, hence not bitwise."""
    committee = argon_potential(members=2, seed=3)
    fit(committee, few, epochs=3)
    for m in range(2):
        single = argon_potential(seed=3 + m)
        fit(single, few, epochs=3)
        torch.testing.assert_close(parameters(committee.member(m)), parameters(single), rtol=1e-6, atol=1e-8)


def test_early_stopping(argon):
    """A learning rate that is far too high stops improving: the fit ends `patience` epochs after its best."""
    potential = argon_potential(members=2)
    history = fit(potential, argon, epochs=300, patience=3, learning_rate=0.3)
    assert len(history.valid_cost) == history.best_epoch.max() + 4 < 300


def test_a_second_fit_keeps_the_normalization(argon):
    potential = argon_potential()
    fit(potential, argon, epochs=8, learning_rate=2e-2)
    before = {name: value.clone() for name, value in potential.named_buffers()}
    references, cost = (
        dict(potential.reference_energies),
        float(stored(potential, argon[1], mb.Cost()).detach()),
    )
    other = lennard_jones(6, 5)
    fit(potential, (other, argon[1]), epochs=1, learning_rate=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in potential.named_buffers())
    assert potential.reference_energies == references
    assert float(stored(potential, argon[1], mb.Cost()).detach()) == pytest.approx(cost, rel=0.01)


def test_single_precision_fit(argon):
    """Float32 training follows float64 to a few per cent of the cost."""
    costs = []
    for dtype in (torch.float64, torch.float32):
        potential = argon_potential().to(dtype)
        history = fit(potential, argon, epochs=10, learning_rate=1e-2)
        assert next(potential.parameters()).dtype == dtype
        costs.append(np.min(history.valid_cost))
    assert costs[1] == pytest.approx(costs[0], rel=0.05)


# ---- repulsion under the network ---------------------------------------------------------------------


def test_repulsion_is_subtracted_from_labels_and_added_in_evaluate(argon):
    plain, lifted = argon_potential(), argon_potential(repulsion=4.5)
    a, b = (prepare_all(p, argon[0], "train") for p in (plain, lifted))
    for atoms, before, after in zip(argon[0], a, b, strict=True):
        below = lifted.repulsion.evaluate(mb.Structures.from_ase(atoms))
        assert float(below.energy) > 1e-4
        torch.testing.assert_close(after.U, before.U - below.energy[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(after.F, before.F - below.forces[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(after.W, before.W - below.virial[0][VOIGT], rtol=0, atol=1e-11)


def test_repulsion_does_not_spoil_a_fit(argon):
    """At the data the total is what the labels say; below them the nuclei repel."""
    potential = argon_potential(repulsion=4.0)
    fit(potential, argon, mb.Cost(10, 1, 1), epochs=40, learning_rate=3e-2)
    forces = np.std([f.get_forces() for f in argon[1]]) / mb.units.meV
    assert mb.errors(potential, argon[1]).rmse["force"][0] < 0.2 * forces
    dimer = mb.Structures.from_ase(Atoms("Ar2", [[0, 0, 0], [0.6, 0, 0]]))
    with pytest.warns(CloserThanTrained):
        assert potential.evaluate(dimer).forces[0, 1, 0] > 100


# ---- what is refused ---------------------------------------------------------------------------------


def test_missing_stress(argon):
    """Some frames without stress: said in the summary. None with stress: only the EF-fit goes on."""
    train = [with_labels(f, **f.calc.results) for f in argon[0]]
    for atoms in train[5:]:
        del atoms.calc.results["stress"]
    history = fit(argon_potential(), (train, argon[1]), epochs=1)
    assert "train frames without stress, counting in U and F only: 35" in history.summary
    for atoms in train[:5]:
        del atoms.calc.results["stress"]
    with pytest.raises(ValueError, match="stress by 1, but none of the 40 train frames has stress"):
        fit(argon_potential(), (train, argon[1]), epochs=1)
    with pytest.raises(ValueError, match="none of the 40 valid frames has stress labels"):
        fit(argon_potential(), (argon[0], train), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(argon_potential(), (train, train[:3]), mb.Cost(p_W=0), epochs=1)


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_labels_that_are_not_finite_are_refused(argon, label):
    train = [with_labels(f, **f.calc.results) for f in argon[0]]
    train[7].info["frame"] = "argon-7"
    train[7].calc.results[label] = train[7].calc.results[label] * np.nan
    name = "energy" if label == "energy" else label
    with pytest.raises(ValueError, match=rf"train frame 7 \(argon-7\): {name} holds NaN or infinity; remove"):
        fit(argon_potential(), (train, argon[1]))


@pytest.mark.parametrize("change", ["positions", "cell", "numbers", "pbc"])
def test_labels_of_another_structure_are_refused(argon, change):
    train = [with_labels(f, **f.calc.results) for f in argon[0]]
    stale = train[3]
    if change == "positions":
        stale.positions[2, 1] += 0.01
    elif change == "cell":
        stale.set_cell(stale.cell.array * 1.01)
    elif change == "numbers":
        stale.numbers[:2], stale.calc.atoms.numbers[:2] = 18, 10
    else:
        stale.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"train frame 3 .*the labels are of another structure"):
        fit(argon_potential(), (train, argon[1]), epochs=1)
    with pytest.raises(ValueError, match="the labels are of another structure"):
        mb.errors(argon_potential(), [stale])


def test_labels_of_a_structure_wrapped_into_its_cell_are_its_own(argon):
    train = [with_labels(f, **f.calc.results) for f in argon[0]]
    for atoms in train:
        atoms.positions[0] += atoms.cell[0] - 2 * atoms.cell[2]
    fit(argon_potential(), (train, argon[1]), epochs=1)


def test_wrong_frames_are_refused(argon):
    train, valid = argon
    with pytest.raises(ValueError, match=r"valid \[\]: give a list of ase.Atoms"):
        fit(argon_potential(), (train, []))
    wrong = with_labels(train[0], energy=1.0, forces=np.zeros((3, 3)))
    with pytest.raises(
        ValueError, match=r"valid frame 1 \(no name\): forces has shape \(3, 3\), expected \(4, 3\)"
    ):
        fit(argon_potential(), (train, [valid[0], wrong]))
    sodium = with_labels(Atoms("Ar3Na", train[0].positions, cell=train[0].cell, pbc=True), energy=1.0)
    with pytest.raises(
        ValueError, match=r"train frame 40 \(no name\): atom 3 is Na, but the descriptor knows only Ar"
    ):
        fit(argon_potential(), (train + [sodium], valid))
    with pytest.raises(ValueError, match="optimizer 'sgd': give one of adam, lbfgs"):
        fit(argon_potential(), argon, optimizer="sgd")


def test_damaged_and_foreign_checkpoints_are_refused(few, tmp_path):
    path = tmp_path / "fit.pt"
    fit(argon_potential(), few, checkpoint=path, epochs=2)
    for name, value in {
        "epochs": 3,
        "seed": 1,
        "learning_rate": 2e-2 * (1 + 2**-52),
        "optimizer": "lbfgs",
    }.items():
        with pytest.raises(
            ValueError, match=rf"fit\.pt: of something else, whose .*(cost|{name}) is .*, not .* \["
        ):
            fit(argon_potential(), few, checkpoint=path, **{"epochs": 2, name: value})
    with pytest.raises(ValueError, match=r"whose cost is \(1.0, 1.0, 1.0\) to .*, not \(1.0, 1.0, 0\) to"):
        fit(argon_potential(), few, mb.Cost(p_W=0), checkpoint=path, epochs=2)
    content = path.read_bytes()
    for wrong in (content[: len(content) // 2], b"", b"hello"):
        path.write_bytes(wrong)
        with pytest.raises(
            archive.Damaged, match=r"fit\.pt: not a file written by mlipbook, or damaged .*make it again"
        ):
            fit(argon_potential(), few, checkpoint=path, epochs=2)


def test_checkpoints_of_other_data_or_potentials_are_refused(few, tmp_path):
    path = tmp_path / "fit.pt"
    train, valid = few
    fit(argon_potential(), few, checkpoint=path, epochs=1)
    other, moved = ([with_labels(f, **f.calc.results) for f in train] for _ in range(2))
    other[3].calc.results["energy"] = np.nextafter(other[3].calc.results["energy"], 0)
    moved[0].positions[0, 0] = np.nextafter(moved[0].positions[0, 0], 9)
    one_more = [*train, valid[0]], valid[1:]
    attempts = [
        ("weights at the start", argon_potential(seed=1), few, {}),
        ("potential", argon_potential(activation="sigmoid"), few, {}),
        ("weights at the start", argon_potential().to(torch.float32), few, {}),
        ("training set", argon_potential(), (other, valid), {}),
        ("training set", argon_potential(), (moved, valid), {}),
        ("training set", argon_potential(), one_more, {}),
        ("reference_energies", argon_potential(), few, {"reference_energies": {"Ar": 1.0}}),
    ]
    for what, potential, data, settings in attempts:
        with pytest.raises(ValueError, match=rf"fit\.pt: of something else, whose {what} is"):
            fit(potential, data, checkpoint=path, epochs=1, **settings)


def test_a_checkpoint_of_another_warm_start_is_refused(few, tmp_path):
    """Weights alone do not tell: the energy scale is that of the potential that is given."""
    start = argon_potential()
    fit(start, few, epochs=1)
    other, again = deepcopy(start), deepcopy(start)
    other.energy_scale.mul_(1 + 2**-52)
    fit(start, few, checkpoint=tmp_path / "fit.pt", epochs=2)
    fit(again, few, checkpoint=tmp_path / "fit.pt", epochs=2)
    with pytest.raises(ValueError, match="whose scales at the start is"):
        fit(other, few, checkpoint=tmp_path / "fit.pt", epochs=2)


def bump(progress: float) -> float:
    """A weight that is there between the ninths of a fit only."""
    return float(0.3 < progress < 0.35)


class Doubled(mb.Cost):
    def __call__(self, *arguments):
        return 2 * super().__call__(*arguments)


def test_schedules_count_at_every_epoch(few, tmp_path):
    """A schedule that differs in one epoch is another fit; one that acts in one needs labels for it."""
    settings = {"epochs": 16, "checkpoint": tmp_path / "fit.pt"}
    fit(argon_potential(), few, mb.Cost(p_F=0.0), **settings)
    with pytest.raises(ValueError, match="whose cost is"):
        fit(argon_potential(), few, mb.Cost(p_F=bump), **settings)
    with pytest.raises(ValueError, match="whose cost is"):
        fit(argon_potential(), few, Doubled(p_F=0.0), **settings)
    without = [with_labels(f, energy=f.get_potential_energy()) for f in few[0]]
    with pytest.raises(ValueError, match="the cost weighs the force by 1, but none of the"):
        fit(argon_potential(), (without, few[1]), mb.Cost(p_F=bump, p_W=0.0), epochs=16)


def test_a_stopped_fit_stays_stopped(few, tmp_path):
    """Started again, a fit that early stopping ended gives its result, not one epoch more."""
    settings = {"epochs": 300, "patience": 3, "learning_rate": 0.3, "checkpoint": tmp_path / "fit.pt"}
    first, again = argon_potential(), argon_potential()
    epochs = [len(fit(potential, few, **settings).valid_cost) for potential in (first, again)]
    assert epochs[0] == epochs[1] < 300
    assert torch.equal(parameters(first), parameters(again))


def test_a_diverging_fit_is_reported(few):
    with pytest.raises(ValueError, match="not finite"):
        fit(argon_potential(), few, epochs=4, learning_rate=1e200)


def test_a_fit_goes_on_from_an_aenet_potential_instead_of_normalizing_it_anew(argon, few):
    """Weights mean something only with their own feature statistics and energy scale."""
    potential = argon_potential(members=1)
    fit(potential, few, epochs=1)
    before = potential.energy_scale.clone()
    potential.shortest = {}  # aenet's files store no distances
    fit(potential, (argon[0][:7], argon[1][:3]), epochs=1)
    assert torch.equal(potential.energy_scale, before) and potential.shortest


def test_an_interrupted_fit_goes_on_with_the_same_object(few, tmp_path, monkeypatch):
    """As in a notebook: interrupt, then the cell again, twice; the result is that of a fit left alone."""
    whole, potential = argon_potential(members=2), argon_potential(members=2)
    fit(whole, few, epochs=6)
    settings = {"epochs": 6, "checkpoint": tmp_path / "fit.pt"}
    with monkeypatch.context() as patch:

        def interrupt(progress: float) -> float:
            if progress > 0.5:
                raise KeyboardInterrupt
            return one_cycle(progress)

        patch.setattr("mlipbook.training.fitting.one_cycle", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(potential, few, **settings)
    for _ in range(2):
        assert len(fit(potential, few, **settings).valid_cost) == 6
        for a, b in zip(whole.parameters(), potential.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_checkpoint_that_another_process_writes_is_refused(few, tmp_path):
    with (
        archive.locked(tmp_path / "fit.pt.lock"),
        pytest.raises(archive.InUse, match="fit.pt.lock: in use by process"),
    ):
        fit(argon_potential(), few, epochs=1, checkpoint=tmp_path / "fit.pt")
    assert not (tmp_path / "fit.pt").exists()


def test_a_checkpoint_with_one_wrong_byte_is_refused(few, tmp_path):
    path = tmp_path / "fit.pt"
    potential = argon_potential(members=1)
    fit(potential, few, epochs=1, checkpoint=path)
    content = bytearray(path.read_bytes())
    content[content.index(next(potential.parameters()).detach().numpy().tobytes()) + 5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="fit.pt: .*damaged"):
        fit(argon_potential(members=1), few, epochs=1, checkpoint=path)
