"""Times of the library on one thread (or one GPU), each beside a plain triplet-sum version in the same run.

    python benchmarks/benchmark.py [--device cuda] [--out results/full/benchmark-<device>.json]

Plain means what one writes first: angular features as a sum over all pairs of neighbors, training that
differentiates forces and virials through descriptor and network. The first is checked to give the same
numbers here, the second in the tests. Times are of the processor on a CPU (other programs do not count), of
the clock on a GPU.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import primitive_neighbor_list
from torch import Tensor

import mlipbook as mb
from mlipbook.bookkit import save_result
from mlipbook.descriptors import chebyshev_series, cutoff_function, with_weights
from mlipbook.neighbors import Edges
from mlipbook.potentials import scatter
from mlipbook.training.cost import Cost
from mlipbook.training.derivatives import Batch, make_batches, normalize, prepare, prepare_all
from mlipbook.training.fitting import adam_epoch, make_learners

CUTOFF, HIDDEN, MEMBERS, SEED = 6.5, (20, 20), 5, 0
GOALS = {  # ms on one core
    "128 Na, 16/4": 4.0,
    "128 Na, 10/10": 11.0,
    "384 Ag/Se, 16/4": 16.0,
    "384 Ag/Se, 10/10": 45.0,
    "training, float64": 0.5,
    "training, float32": 0.5,
}


def sodium(seed: int = SEED) -> Atoms:
    """128 atoms of bcc sodium, rattled by 0.1 A: 26 neighbors within 6.5 A."""
    atoms = bulk("Na", "bcc", 4.2, cubic=True) * 4
    atoms.rattle(0.1, seed=seed)
    return atoms


def silver_selenide(seed: int = SEED) -> Atoms:
    """384 atoms of the ordered alpha-Ag2Se crystal, rattled by 0.12 A: 51 neighbors."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.25], [0.5, 0, 0.75], [0, 0.5, 0.25], [0, 0.5, 0.75]]
    atoms = Atoms("Se2Ag4", scaled_positions=sites, cell=4.993 * np.eye(3), pbc=True) * 4
    atoms.rattle(0.12, seed=seed)
    return atoms


def random_labels(atoms: Atoms, seed: int) -> Atoms:
    rng, N = np.random.default_rng(seed), len(atoms)
    labels = {"energy": rng.normal(), "forces": rng.normal(size=(N, 3)), "stress": 0.01 * rng.normal(size=6)}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


# ---- the plain version -------------------------------------------------------------------------------


class TripletSum(mb.Chebyshev):
    """The same features by their definition: a sum over all pairs of neighbors (cost: neighbors squared)."""

    triplets: tuple[Tensor, Tensor, Tensor]  # center, and the columns j < k of two neighbors

    def list_triplets(self, edges: Edges, structures: mb.Structures) -> None:
        inside = edges.vectors(structures).norm(dim=0) < self.angular_cutoff
        pairs = (inside[:, :, None] & inside[:, None, :]).triu(diagonal=1)
        center, j, k = pairs.nonzero(as_tuple=True)
        self.triplets = center, j, k

    def _angular(self, u: Tensor, r: Tensor, weights: Tensor | None) -> list[Tensor]:
        center, j, k = self.triplets
        cosine = (u[:, center, j] * u[:, center, k]).sum(0)
        features = []
        for f in with_weights(cutoff_function(r, self.angular_cutoff), weights):
            terms = chebyshev_series(cosine, self.angular_order, f[center, j] * f[center, k])
            features.append(terms.new_zeros(len(terms), len(r)).index_add(1, center, terms))
        return features


def double_backward(
    potential: mb.ANNPotential,
    data: list[tuple[mb.Structures, Edges, Batch]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """One epoch of Eq. 3 by differentiating through the descriptor, one structure a step."""
    for structures, edges, labels in data:
        assert isinstance(potential.descriptor, TripletSum)
        potential.descriptor.list_triplets(edges, structures)
        vectors = edges.vectors(structures).requires_grad_()
        features = potential.descriptor.features(vectors, *edges.species(structures))
        energies = potential.network_energies(features, structures.species)[0]
        g = torch.autograd.grad(energies.sum(), vectors, create_graph=True)[0]
        forces, virials = scatter(g, vectors, edges, "II")
        N = structures.n_atoms
        W = virials.sum(0)[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        cost = ((energies.sum() - labels.U[0]) / N).square() + (forces - labels.F).square().mean()
        cost = 0.5 * (cost + ((W - labels.W[0]) / N).square().mean())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()


# ---- measuring ---------------------------------------------------------------------------------------


def measure(function: Callable[[], object], device: str, repeats: int) -> tuple[float, float]:
    """Median time in ms after two calls to warm up, and its standard error (from the median deviation)."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    times = []
    for k in range(repeats + 2):
        began = clock()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if k >= 2:
            times.append(1e3 * (clock() - began))
    median = float(np.median(times))
    scatter_of_times = 1.4826 * float(np.median(np.abs(np.array(times) - median)))
    return median, 1.2533 * scatter_of_times / repeats**0.5


class Table:
    """Prints a row for each measurement and keeps it for the file."""

    def __init__(self) -> None:
        self.records: dict[str, dict] = {}
        print(f"{'':34} {'time':>17} {'':4} {'plain':>9} {'ratio':>6}  goal")

    def add(
        self,
        name: str,
        found: tuple[float, float],
        plain: float,
        n: int,
        unit: str,
        goal: float | None = None,
    ) -> None:
        value, sem = found
        self.records[name] = {"value": value, "sem": sem, "n": n, "unit": unit}
        self.records[f"{name}, plain"] = {"value": plain, "sem": 0.0, "n": 1, "unit": unit}
        met = "" if goal is None else f"{goal:g}, {'met' if value <= goal else 'missed'}"
        print(
            f"{name:34} {value:8.3f} ± {sem:6.3f} {unit:4} {plain:9.2f} {plain / value:6.1f}  {met}",
            flush=True,
        )

    def note(self, name: str, value: float, unit: str) -> None:
        self.records[name] = {"value": value, "sem": 0.0, "n": 1, "unit": unit}
        print(f"{name:34} {value:8.3f} {'':8} {unit}", flush=True)


def potentials(atoms: Atoms, orders: tuple[int, int], device: str, members: int = 1) -> list[mb.ANNPotential]:
    """The library's and the plain potential with the same weights."""
    species = tuple(sorted(set(atoms.symbols)))
    settings = (species, CUTOFF, orders[0], CUTOFF, orders[1])
    found = [mb.ANNPotential(kind(*settings), HIDDEN, members=members) for kind in (mb.Chebyshev, TripletSum)]
    return [potential.to(device) for potential in found]


def evaluation(table: Table, name: str, atoms: Atoms, device: str) -> None:
    """Energy, forces and virials with a neighbor list given, and the list."""
    structures = mb.Structures.from_ase(atoms).to(device)
    edges = mb.neighbors.build(structures, CUTOFF)
    table.note(f"{name}, neighbors", float(edges.real.sum() / len(atoms)), "")
    built = measure(lambda: mb.neighbors.build(structures, CUTOFF), device, 21)
    search = ("ijS", atoms.pbc, atoms.cell.array, atoms.positions, CUTOFF)
    plain = measure(lambda: primitive_neighbor_list(*search), "cpu", 5)[0]
    table.add(f"{name}, neighbor list (plain: ASE)", built, plain, 21, "ms")
    for orders in ((16, 4), (10, 10)):
        ours, triplets = potentials(atoms, orders, device)
        assert isinstance(triplets.descriptor, TripletSum)
        triplets.descriptor.list_triplets(edges, structures)
        a, b = (p.evaluate(structures, edges=edges) for p in (ours, triplets))
        torch.testing.assert_close(a.forces, b.forces, rtol=0, atol=1e-10)
        torch.testing.assert_close(a.virial, b.virial, rtol=0, atol=1e-8)
        plain = measure(lambda p=triplets: p.evaluate(structures, edges=edges), device, 5)[0]
        found = measure(lambda p=ours: p.evaluate(structures, edges=edges), device, 31)
        key = f"{name}, {orders[0]}/{orders[1]}"
        table.add(key, found, plain, 31, "ms", GOALS[key])


def cache(table: Table, name: str, atoms: Atoms) -> None:
    """Seconds and memory of a structure's stored descriptor derivatives (16/4); always on the CPU."""
    ours, triplets = potentials(atoms, (16, 4), "cpu")
    random_labels(atoms, SEED)
    structures = mb.Structures.from_ase(atoms)
    edges = mb.neighbors.build(structures, CUTOFF)
    vectors = edges.vectors(structures).requires_grad_()
    assert isinstance(triplets.descriptor, TripletSum)
    triplets.descriptor.list_triplets(edges, structures)
    began = time.process_time()
    G = triplets.descriptor.features(vectors, *edges.species(structures))
    for n in range(G.shape[1]):
        torch.autograd.grad(G[:, n].sum(), vectors, retain_graph=True)
    plain = time.process_time() - began
    found = measure(lambda: prepare(ours, atoms, name), "cpu", 5)
    table.add(f"{name}, derivative cache", (found[0] / 1e3, found[1] / 1e3), plain, 5, "s")
    [batch] = make_batches(ours, [prepare(ours, atoms, name)], 1)
    bytes_used = sum(x.element_size() * x.numel() for x in vars(batch).values())
    table.note(f"{name}, memory of the cache", bytes_used / 1e6, "MB")


def training(table: Table, device: str, n: int = 16) -> None:
    """ms per structure, epoch and member of E + F + W training on sodium, 16/4, five members at once."""
    frames = [random_labels(sodium(seed), seed) for seed in range(n)]
    _, plain = potentials(frames[0], (16, 4), device)
    prepared = prepare_all(plain, frames, "train")
    normalize(plain, prepared, None)
    data = []
    for atoms, p in zip(frames[:4], prepared, strict=False):
        structures = mb.Structures.from_ase(atoms).to(device)
        data.append((structures, mb.neighbors.build(structures, CUTOFF), make_batches(plain, [p], 1)[0]))
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    doubled = measure(lambda: double_backward(plain, data, optimizer), device, 5)[0] / len(data)
    for dtype in (torch.float64, torch.float32):
        ours, _ = potentials(frames[0], (16, 4), device, MEMBERS)
        normalize(ours, prepared, None)
        ours = ours.to(dtype)
        [learner] = make_learners(ours, "adam")
        batches = make_batches(ours, prepared, 4)
        share = n * MEMBERS
        found = measure(lambda a=learner, b=batches: adam_epoch(a, b, Cost(), 0.5, 1e-3), device, 11)
        key = f"training, {str(dtype).removeprefix('torch.')}"
        table.add(key, (found[0] / share, found[1] / share), doubled, 11, "ms", GOALS[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="save the table with its provenance as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, device = time.perf_counter(), arguments.device
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, 1 of {os.cpu_count()} cores"
    print(f"{name}; torch {torch.__version__}; training: ms per structure, epoch and member")
    table = Table()
    for title, atoms in (("128 Na", sodium()), ("384 Ag/Se", silver_selenide())):
        evaluation(table, title, atoms, device)
        cache(table, title, atoms)
    training(table, device)
    if arguments.out:
        save_result(arguments.out, table.records, time.perf_counter() - began, SEED, name)


if __name__ == "__main__":
    main()
