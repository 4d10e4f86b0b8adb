"""mb.fast: every form gives the numbers of PyTorch, for whatever it takes; the rest is left to PyTorch."""

import copy
import logging
import pickle
import stat
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook.fast import choice, library
from mlipbook.fast.graphs import Recorded
from mlipbook.fast.networks import Native
from mlipbook.fast.pairs import NativePairs, table_of
from mlipbook.potentials import AgSe, LennardJones, Mixture, PairPotential, Repulsion, SoftCore
from mlipbook.potentials.ann import ACTIVATIONS, MemberPerReplica

ELEMENTS = ("H", "O", "Na", "Si", "Ag", "Se")


def random_structures(rng, elements, copies=1):
    """Atoms of these elements that do not touch, in a skewed cell, a slab, or none."""
    n = int(rng.integers(2, 40))
    skew = np.eye(3) + rng.uniform(-0.9, 0.9, (3, 3)) * (rng.random() < 0.7)
    while abs(np.linalg.det(skew)) < 0.3:
        skew = np.eye(3) + rng.uniform(-0.9, 0.9, (3, 3))
    edge = (n * rng.uniform(12, 40) / abs(np.linalg.det(skew))) ** (1 / 3)
    pbc = [True] * 3 if rng.random() < 0.7 else rng.random(3) < 0.5
    frames = []
    while len(frames) < copies:
        places: list[np.ndarray] = []
        while len(places) < n:
            x = rng.random(3)
            shifts = np.array([x - y - np.round(x - y) for y in places]).reshape(-1, 3)
            if not len(places) or np.linalg.norm(shifts @ (edge * skew), axis=1).min() > 1.3:
                places.append(x)
        atoms = Atoms(["H"] * n, cell=edge * skew, pbc=pbc, scaled_positions=places)
        atoms.symbols = [elements[i % len(elements)] for i in range(n)]
        frames.append(atoms)
    return mb.Structures.from_ase(frames)


def random_network(rng):
    elements = tuple(rng.permutation(ELEMENTS)[: rng.integers(1, 6)])
    members = int(rng.integers(1, 4))
    orders = [(0, 0), (1, 1), (5, 3), (11, 7)][rng.integers(4)]  # each compiles a library of its own
    potential = mb.ANNPotential(
        mb.Chebyshev(
            elements, rng.uniform(2.5, 6.0), orders[0], rng.uniform(2.0, 6.0), orders[1],
            environments={e: tuple(rng.permutation(elements)) for e in elements},
        ),
        {e: tuple(rng.integers(2, 8, rng.integers(1, 4))) for e in elements},
        str(rng.choice(list(ACTIVATIONS))),
        members=members,
        seed=int(rng.integers(100)),
        repulsion=2.0 if rng.random() < 0.5 else None,
    )  # fmt: skip
    for network in potential.networks.values():
        network.mean[:] = torch.as_tensor(rng.normal(size=len(network.mean)))
        network.mean_square[:] = network.mean**2 + 25.0
    potential.energy_scale.fill_(rng.uniform(0.5, 2.0))
    potential.reference_energies = {e: rng.normal() for e in elements}
    return (MemberPerReplica(potential) if rng.random() < 0.3 else potential), elements, members


def random_pairs(rng):
    elements = tuple(rng.permutation(ELEMENTS)[: rng.integers(1, 4)])
    kinds = [LennardJones(0.02, 2.2, rng.uniform(3, 7)), SoftCore(cutoff=5.0), Repulsion(rng.uniform(1.5, 4))]
    if rng.random() < 0.3:
        return AgSe(), ("Ag", "Se"), 1
    return kinds[rng.integers(3)], elements, 1


def difference(one, other):
    """Largest of all numbers, relative to the largest of its kind."""
    names = ("energies", "forces", "virials")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).abs().max() / (b.abs().max() + 1e-8)) for a, b in pairs)


@pytest.mark.parametrize("make, seeds", [(random_network, range(24)), (random_pairs, range(24))])
def test_every_form_gives_the_numbers_of_pytorch(make, seeds):
    """Random elements, orders, cutoffs, cells, pbc, members, activations; all three definitions."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        potential, elements, members = make(rng)
        structures = random_structures(rng, elements, members * int(rng.integers(1, 3)))
        form = choice.in_c(potential)
        assert isinstance(form, (Native, NativePairs))
        definition = ("I", "II", "III")[seed % 3]
        edges = mb.neighbors.build(structures, potential.cutoff, 0.5) if rng.random() < 0.5 else None
        one, other = (p.evaluate(structures, definition, edges) for p in (form, potential))
        assert difference(one, other) < 1e-12, (seed, potential, structures.n_atoms)
        torch.testing.assert_close(one.volumes, other.volumes)


@pytest.mark.parametrize("shear", [0.0, 0.6, 1.4, -1.8])
def test_pairs_of_three_kinds_are_computed_in_c_under_strong_skew(shear):
    """In cells as wide as twice the cutoff, sheared until the nearest image is seldom that of a cube."""
    potential, rng = Repulsion(4.0), np.random.default_rng(0)
    atoms = bulk("Ag", "fcc", a=4.6, cubic=True).repeat(4 if abs(shear) < 1 else 6)
    atoms.symbols = ["Ag", "O", "Ag", "Se"] * (len(atoms) // 4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + [[0, shear, 0], [0, 0, -shear / 2], [0, 0, 0]]))
    atoms.positions += rng.uniform(-20, 20, 3) + rng.normal(0, 0.1, (len(atoms), 3))
    structures, form = mb.Structures.from_ase(atoms), NativePairs(potential)
    kinds, kind = torch.unique(structures.species, return_inverse=True)
    assert mb.neighbors.one_image(structures, potential.cutoff)
    table = table_of(potential, tuple(kinds.tolist()))
    energies, forces, virials = form.summed(structures, kind, table)
    one = mb.Evaluation(energies, forces, virials, structures.volumes)
    assert difference(one, potential.evaluate(structures)) < 1e-12


def network(**settings):
    return mb.ANNPotential(mb.Chebyshev(("Ag", "Se"), 5.0, 4, 4.0, 2), hidden=(4,), **settings)


def silver_selenide(seed=0):
    atoms = bulk("AgSe", "zincblende", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return mb.Structures.from_ase(atoms)


def test_a_form_follows_its_potential():
    """Weights, dtype, known distances, repulsion, zero of energy: all as the potential has them now."""
    potential, structures = network(), silver_selenide()
    form = choice.in_c(potential)

    def train():
        potential.networks["Ag"].weights[0].data *= 1.1

    def shift():
        potential.reference_energies = {"Ag": 1.0, "Se": -2.0}

    def wall():
        potential.repulsion = Repulsion(3.0)

    before = form.evaluate(structures).energy
    for change in (train, shift, wall):
        change()
        found = form.evaluate(structures)
        assert difference(found, potential.evaluate(structures)) < 1e-12 and found.energy != before
        before = found.energy
    potential.shortest = {("Ag", "Se"): 4.0}
    with pytest.warns(mb.potentials.CloserThanTrained):
        form.evaluate(structures)
    potential.shortest = {}
    potential.float()
    assert form.dtype == torch.float32
    assert difference(form.evaluate(structures), potential.evaluate(structures)) < 1e-4


@pytest.mark.parametrize(
    "make", [network, AgSe, lambda: Mixture(network(), AgSe(), 0.3), lambda: MemberPerReplica(network())]
)
def test_errors_and_warnings_are_those_of_the_potential(make):
    good, sodium = silver_selenide(), mb.Structures.from_ase(bulk("Na", cubic=True))
    one, far = mb.neighbors.build(silver_selenide(), 2.0), mb.neighbors.build(sodium, 12.0)
    close = mb.Structures.from_ase(Atoms("AgSe", [[0, 0, 0], [0.001, 0, 0]]))
    calls = [(sodium,), (good, "IV"), (good, "I", one), (good, "I", far), (close,)]
    for call in calls:
        said = []
        for potential in (make(), mb.fast(make())):
            with pytest.raises(ValueError) as error:
                potential.evaluate(*call)
            said.append(str(error.value))
        assert said[0] == said[1]


def test_known_distances_are_reported_alike():
    said = []
    for form in (lambda p: p, mb.fast):
        potential = network()
        potential.shortest = {("Ag", "Se"): 3.0, ("Ag", "Ag"): 3.0}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            form(potential).evaluate(silver_selenide())
        said.append(sorted(str(w.message) for w in caught))
    assert said[0] == said[1] and len(said[0]) == 2


class Doubled(mb.ANNPotential):
    def atomic_energies(self, *arguments):
        return 2 * super().atomic_energies(*arguments)


def test_what_c_does_not_compute_is_left_to_pytorch():
    doubled = Doubled(mb.Chebyshev(("Ag", "Se"), 5.0, 4, 4.0, 2), hidden=(4,))
    other = network()
    other.atomic_energies = lambda *arguments: 3 * type(other).atomic_energies(other, *arguments)
    half = network().half()
    high = mb.ANNPotential(mb.Chebyshev(("Ag", "Se"), 5.0, 64, 4.0, 2), hidden=(4,))
    mine = PairPotential(lambda r, *z: (r < 3.0) * 1.0 + 0.01 * (4.0 - r) ** 2, 4.0)
    for potential in (doubled, other, half, high, mb.potentials.IdealGas()):
        assert choice.in_c(potential) is potential
    structures = silver_selenide()
    for potential in (doubled, other, mine):
        assert difference(mb.fast(potential).evaluate(structures), potential.evaluate(structures)) < 1e-12


@pytest.mark.parametrize("off", ["argument", "environment"])
def test_fast_can_be_turned_off(off, monkeypatch):
    potential = network()
    assert isinstance(mb.fast(potential), Native | Recorded)
    if off == "environment":
        monkeypatch.setenv("MLIPBOOK_FAST", "off")
    assert mb.fast(potential, off=off == "argument") is potential
    assert mb.fast(mb.fast(potential)) is not None


def test_forms_are_what_the_potential_is():
    """The contract is forwarded, to stores it is the same potential, and it goes into other processes."""
    potential = network(members=3)
    potential.shortest = dict.fromkeys([("Ag", "Ag"), ("Ag", "Se"), ("Se", "Se")], 1.0)
    form, structures = mb.fast(potential), silver_selenide()
    for name in ("cutoff", "members", "shortest", "species", "device", "dtype"):
        assert getattr(form, name) == getattr(potential, name)
    assert mb.archive.identity(form) == mb.archive.identity(potential)
    expected = form.evaluate(structures).forces
    for again in (pickle.loads(pickle.dumps(form)), copy.deepcopy(form)):
        assert torch.equal(again.evaluate(structures).forces, expected)


def test_without_a_compiler_pytorch_computes_and_one_line_says_why(monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-compiler")
    choice.tell.cache_clear()
    potential, structures = network(), silver_selenide()
    with caplog.at_level(logging.WARNING, "mlipbook"):
        forms = [mb.fast(potential) for _ in range(3)]
    assert all(difference(f.evaluate(structures), potential.evaluate(structures)) == 0 for f in forms)
    [said] = [record.getMessage() for record in caplog.records]
    assert "no-such-compiler could not compile networks.c" in said and "install a C compiler" in said
    with pytest.raises(RuntimeError, match="install a C compiler"):
        Native(potential)


def compiles(monkeypatch):
    counted, run = [], subprocess.run
    monkeypatch.setattr(library.subprocess, "run", lambda *a, **k: counted.append(1) or run(*a, **k))
    return counted


@pytest.mark.slow
def test_a_library_is_compiled_once_for_all_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counted = compiles(monkeypatch)
    library.library("pairs.c", "TRIED=1")
    [kept] = (tmp_path / "mlipbook").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    program = """
from mlipbook.fast import library
library._compiled = None  # not to be called
print("loaded", library.library("pairs.c", "TRIED=1").pairs)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "loaded" in done.stdout, done.stderr
    assert len(counted) == 2  # the compiler, and this program


def test_a_kept_library_that_others_can_write_or_that_is_damaged_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counted, folder = compiles(monkeypatch), tmp_path / "mlipbook"

    def load(name):
        library._loaded.cache_clear()
        counted.clear()
        library.library("pairs.c", f"{name}=1").pairs  # noqa: B018
        return len(counted)

    assert [load("A"), load("A")] == [1, 0]
    [kept] = folder.iterdir()
    kept.chmod(0o777)
    assert [load("A"), load("A")] == [1, 0]
    monkeypatch.setattr(library, "fingerprint", lambda command, source: "B")
    (folder / "pairs-B.so").write_bytes(b"\x7fELF, cut short")
    (folder / "pairs-B.so").chmod(0o700)
    assert [load("B"), load("B")] == [1, 0]
    folder.chmod(0o777)
    assert [load("A"), load("A")] == [1, 1]  # for this process alone
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    assert load("A") == 1
