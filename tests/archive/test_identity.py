"""One bit elsewhere is another identity; where a thing lies, and what it is called on the way, is not."""

import sys
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

import mlipbook as mb
from mlipbook import archive
from mlipbook.archive import described, identity
from mlipbook.dynamics.methods import MartynaTobiasKlein, NoseHoover
from mlipbook.dynamics.respa import Respa
from mlipbook.fast.networks import Native
from mlipbook.fast.pairs import NativePairs
from mlipbook.heat.drive import Booked, HeatField
from mlipbook.heat.flux import Shifted
from mlipbook.potentials import Einstein, Ionic, Mixture, PairPotential, SoftCore, ionic
from mlipbook.potentials import LennardJones as LJ
from mlipbook.potentials.ann import MemberPerReplica

UP = np.nextafter(1.0, 2.0)  # one, and a bit


def ann(seed: int = 0, species: tuple = ("Al",), radial: float = 5.0, order: int = 2, **keywords):
    descriptor = mb.Chebyshev(species, radial, 3, 4.0, order)
    return mb.ANNPotential(descriptor, hidden=(3,), seed=seed, **keywords)


def altered(value, path: str, change):
    """A copy in which one tensor, of any depth, was changed in its last element; or one attribute."""
    new = deepcopy(value)
    *way, last = path.split(".")
    inner = new
    for name in way:
        inner = inner[name] if isinstance(inner, torch.nn.ModuleDict) else getattr(inner, name)
    found = getattr(inner, last) if not last.isdigit() else inner[int(last)]
    if isinstance(found, torch.Tensor):
        with torch.no_grad():
            found.view(-1)[-1] = change(found.view(-1)[-1])
    else:
        setattr(inner, last, change(found))
    return new


def bit(x):
    return torch.nextafter(x, x + 1) if isinstance(x, torch.Tensor) else np.nextafter(x, x + 1)


def atoms(**changes) -> Atoms:
    frame = bulk("Al", cubic=True)
    frame.info, frame.calc = {"charge": 1}, SinglePointCalculator(frame, energy=1.0)
    for name, value in changes.items():
        setattr(frame, name, value)
    return frame


def state(n: int = 40, **changes):
    """More than a thousand elements: what prints of them leaves the middle out."""
    start = mb.dynamics.thermalize(bulk("Al", cubic=True) * 3, np.full(n, 300.0), seed=0)
    momenta = start.momenta.clone()
    momenta[n // 2, 50, 1] = bit(momenta[n // 2, 50, 1])
    return replace(start, **({"momenta": momenta} if changes.pop("moved", False) else changes))


def squared(x):
    """The square."""
    return x**2


def times(function, factor):
    def product(x):
        return factor * function(x)

    return product


def cubed(x):
    return x**3


def closure(power):
    def to_a_power(x):
        return x**power

    return to_a_power


SCALE = [2.0]


def scaled(x):
    return SCALE[0] * x


@dataclass(frozen=True)
class Settings:
    cutoff: float
    names: tuple[str, ...] = ("Al",)


class Plain:
    def __init__(self, strength):
        self._strength = strength


class OfModel(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, model, _hidden=None, **keywords):
        super().__init__(**keywords)
        self.model, self._hidden = model, _hidden


field = torch.full((16, 3), 1.00001e-3, dtype=torch.float64)
many = torch.zeros(400, 3, dtype=torch.float64)  # five times harder in the middle
harder = many.clone()
harder[200, 0] = 5e-324
big = np.arange(3000.0)
parameters = ionic.read("agi.toml")
MOVED = torch.zeros(1, 4, 3, dtype=torch.float64)
VALUES = {
    "none": (None, 0),
    "boolean": (True, 1),
    "integer": (2**70, 2**70 + 1),
    "float": (1.0, UP),
    "sign of zero": (0.0, -0.0),
    "complex": (1j, UP * 1j),
    "string": ("a", "b"),
    "bytes": (b"a", "a"),
    "float in a list": ([1.0, [2.0]], [1.0, [2.0 * UP]]),
    "order of a list": ([1, 2], [2, 1]),
    "depth of a list": ([[1], 2], [[1, 2]]),
    "key": ({"a": 1}, {"b": 1}),
    "value of a dictionary": ({"a": {"b": 1.0}}, {"a": {"b": UP}}),
    "keys that are one as text": ({1: 0}, {"1": 0}),
    "set": ({1, 2}, {1, 3}),
    "array": (np.ones(3), np.array([1, 1, UP])),
    "dtype of an array": (np.zeros(2), np.zeros(4, np.float32)),
    "shape of an array": (np.zeros((2, 3)), np.zeros((3, 2))),
    "middle of an array": (big, np.where(big == 1500, 1500 * UP, big)),
    "array of strings": (np.array(["Al", "Cu"]), np.array(["Al", "Ag"])),
    "array of objects": (np.array([1, None]), np.array([2, None])),
    "single precision": (np.float32(1), np.nextafter(np.float32(1), np.float32(2))),
    "tensor at the last digit": (field, field * UP),
    "fields that print the same": (torch.tensor([1.00001e-3]), torch.tensor([1.00002e-3])),
    "middle of a tensor": (many, harder),
    "dtype of a tensor": (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    "shape of a tensor": (torch.zeros(6), torch.zeros(2, 3)),
    "half precision": (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
    "dataclass": (Settings(5.0), Settings(5.0 * UP)),
    "class": (Settings, Plain),
    "attribute of an object": (Plain(1.0), Plain(UP)),
    "function": (squared, cubed),
    "bound argument": (partial(squared, x=1.0), partial(squared, x=UP)),
    "lambda": (lambda x: x + 1, lambda x: x - 1),
    "constant in a lambda": (lambda x: x + 1.0, lambda x: x + 1.0000000000000002),
    "what is closed over": (closure(2), closure(2.0)),
    "a closure of ours": (times(squared, 10), times(squared, 20)),
    "method": (Plain(1.0).__init__, Plain(2.0).__init__),
    "positions": (atoms(), atoms(positions=np.nextafter(atoms().positions, 9))),
    "cell": (atoms(), atoms(cell=atoms().cell * UP)),
    "pbc": (atoms(), atoms(pbc=(True, True, False))),
    "info": (atoms(), atoms(info={"charge": 2})),
    "constraints": (atoms(), atoms(constraints=[FixAtoms([0])])),
    "labels": (atoms(), atoms(calc=SinglePointCalculator(atoms(), energy=UP))),
    "momenta of many replicas": (state(), state(moved=True)),
    "seed": (state(), state(seeds=(*range(39), 40))),
    "step": (state(), state(step=1)),
    "time of a thermostat": (NoseHoover(100.0, 3), NoseHoover(100.0 * UP, 3)),
    "time of a barostat": (MartynaTobiasKlein(1.0, 2.0, 3), MartynaTobiasKlein(1.0, 2.0 * UP, 3)),
    "field": (HeatField(field), HeatField(field * UP)),
    "definition of a field": (HeatField(field, "I"), HeatField(field, "II")),
    "inner potential": (Respa(NoseHoover(1.0, 3), ann(0), 2), Respa(NoseHoover(1.0, 3), ann(1), 2)),
}
POTENTIALS = {
    "weights": (ann(), altered(ann(), "networks.Al.weights.0", bit)),
    "weights of a member": (ann(members=3), altered(ann(members=3), "networks.Al.weights.1", bit)),
    "normalization": (ann(), altered(ann(), "networks.Al.mean", bit)),
    "energy scale": (ann(), altered(ann(), "energy_scale", bit)),
    "reference energies": (ann(), altered(ann(), "reference_energies", lambda _: {"Al": 5e-324})),
    "trained distances": (ann(), altered(ann(), "shortest", lambda _: {("Al", "Al"): 2.0})),
    "activation": (ann(), ann(activation="mtanh")),
    "repulsion": (ann(repulsion=2.0), ann(repulsion=2.0 * UP)),
    "repulsion or none": (ann(), ann(repulsion=2.0)),
    "radial cutoff": (ann(), ann(radial=5.0 * UP)),
    "angular order": (ann(), ann(order=3)),
    "order of species": (ann(species=("Ag", "Se")), ann(species=("Se", "Ag"))),
    "precision": (ann(), ann().float()),
    "epsilon": (LJ(0.1, 2.6, 6.0), LJ(0.1 + 1e-7, 2.6, 6.0)),
    "sigma": (LJ(0.1, 2.6, 6.0), LJ(0.1, 2.6 * UP, 6.0)),
    "cutoff": (LJ(0.1, 2.6, 6.0), LJ(0.1, 2.6, 6.0 * UP)),
    "mu": (SoftCore(mu=0.02), SoftCore(mu=0.02 * UP)),
    "function of a pair": (PairPotential(squared, 5.0), PairPotential(cubed, 5.0)),
    "ionic": (Ionic(parameters), Ionic({**parameters, "damping": parameters["damping"] * UP})),
    "spring": (Einstein(MOVED, 1.0), Einstein(MOVED, UP)),
    "sites": (Einstein(MOVED, 1.0), Einstein(MOVED + 5e-324, 1.0)),
    "lambda of a mixture": (Mixture(ann(), LJ(1, 2, 3), 0.5), Mixture(ann(), LJ(1, 2, 3), 0.5 * UP)),
    "part of a mixture": (Mixture(ann(), LJ(1, 2, 3), 0.5), Mixture(ann(1), LJ(1, 2, 3), 0.5)),
    "member for each replica": (MemberPerReplica(ann(0)), MemberPerReplica(ann(1))),
    "offsets": (Shifted(ann(), {"Al": 0.0}), Shifted(ann(), {"Al": 5e-324})),
    "what is shifted": (Shifted(ann(0), {"Al": 0.0}), Shifted(ann(1), {"Al": 0.0})),
    "booked definition": (Booked(ann(), "I"), Booked(ann(), "II")),
    "what a fast form wraps": (Native(ann(0)), Native(ann(1))),
    "what a fast pair wraps": (NativePairs(LJ(0.1, 2, 5)), NativePairs(LJ(0.1 * UP, 2, 5))),
    "our calculator": (mb.Calculator(LJ(0.1, 2.6, 6.0)), mb.Calculator(LJ(0.1 * UP, 2.6, 6.0))),
}
CALCULATORS = {
    "class": (EMT(), LennardJones()),
    "parameter": (LennardJones(sigma=2.3), LennardJones(sigma=2.3 * UP)),
    "model": (OfModel("a.model"), OfModel("b.model")),
    "module": (OfModel(torch.nn.Linear(2, 1)), OfModel(torch.nn.Linear(2, 1))),
    "hidden attribute": (OfModel("a", _hidden=1.0), OfModel("a", _hidden=UP)),
    "mesh": (mb.dft.PlaneWaveDFT(kpts=(2, 2, 2)), mb.dft.PlaneWaveDFT(kpts=(2, 2, 3))),
}
ALL = {**VALUES, **POTENTIALS, **{f"calculator: {name}": pair for name, pair in CALCULATORS.items()}}


@pytest.mark.parametrize("name", ALL)
def test_one_bit_elsewhere_is_another_identity(name):
    one, other = ALL[name]
    assert identity(one) == identity(one) != identity(other) == identity(other)
    assert described(one)[-17:-1] == identity(one)[:16]


@pytest.mark.parametrize("name", [*POTENTIALS, "float in a list", "dataclass", "positions", "field"])
def test_a_copy_is_the_same(name):
    one, _ = ALL[name]
    assert identity(deepcopy(one)) == identity(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], (1, 2)),  # JSON knows no tuples
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.arange(6.0).reshape(2, 3).T, np.array([[0.0, 3], [1, 4], [2, 5]])),
        (np.arange(3, dtype=">i4"), np.arange(3, dtype="<i4")),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
        (torch.device("cpu"), torch.device("cuda")),
        (torch.ones(3).expand(2, 3), torch.ones(2, 3)),
        (Native(ann()), ann()),  # the same numbers
        (NativePairs(LJ(0.1, 2, 5)), LJ(0.1, 2, 5)),
        (Mixture(Native(ann()), LJ(1, 2, 3), 0.5), Mixture(ann(), LJ(1, 2, 3), 0.5)),
        (Shifted(Native(ann()), {"Al": 1.0}), Shifted(ann(), {"Al": 1.0})),
        (mb.Calculator(ann(), skin=0.3), mb.Calculator(ann(), skin=0.8)),
        (ann().eval(), ann()),
        (ann().float().double(), ann().float().double()),
        (Plain(1.0), Plain(1.0)),
        (closure(2), closure(2)),
    ],
)
def test_what_gives_the_same_results_is_the_same(one, other):
    assert identity(one) == identity(other)


def test_calculators_that_have_computed_are_what_they_were():
    for calculator in (EMT(), LennardJones(sigma=2.3, epsilon=0.1), mb.Calculator(LJ(0.1, 2.6, 6.0))):
        before = identity(calculator)
        calculator.get_potential_energy(bulk("Al"))
        assert identity(calculator) == before


def test_a_potential_from_a_file_is_the_one_that_was_written(tmp_path):
    potential = ann(members=2, repulsion=2.0)
    potential.save(tmp_path / "p.npz")
    assert identity(mb.load(tmp_path / "p.npz")) == identity(potential)


def test_globals_that_a_function_reads_belong_to_it(monkeypatch):
    before = identity(scaled)
    monkeypatch.setitem(globals(), "SCALE", [UP])
    assert identity(scaled) != before
    monkeypatch.undo()
    assert identity(scaled) == before


def module(name: str, code: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(code, made.__dict__)
    return made


CODE = """
def work(x):
    return 2 * x

class Worker:
    size = 1
    def work(self, x):
        return 2 * x
"""


@pytest.mark.parametrize("name", ["work", "Worker"])
def test_one_keeps_its_identity_in_another_module_but_not_with_another_code(name):
    one, moved = module("its_first_place", CODE), module("another.place", "\n# elsewhere\n" + CODE)
    told, changed = (
        module("c", CODE.replace("return", "'Twice.'; return")),
        module("d", CODE.replace("2", "3")),
    )
    same = identity(getattr(one, name))
    assert identity(getattr(moved, name)) == same == identity(getattr(told, name))
    assert identity(getattr(changed, name)) != same
    if name == "Worker":
        assert identity(module("e", CODE.replace("size = 1", "size = 2")).Worker) != same


class Clashing(Settings):
    """All have one hash, so that a set lists them as they came."""

    def __hash__(self):
        return 0


def test_the_order_of_a_set_does_not_matter():
    objects = [Clashing(float(i)) for i in range(5)]
    assert [x.cutoff for x in set(objects)] != [x.cutoff for x in set(objects[::-1])]
    assert identity(set(objects)) == identity(set(objects[::-1])) != identity(set(objects[1:]))


def test_functions_that_call_each_other_are_read_once():
    """Forty in a row, each calling all others: as many ways lead through them as there are orders."""
    code = "".join(
        f"def f{i}(x):\n    return {' + '.join(f'f{j}(x)' for j in range(40))}\n" for i in range(40)
    )
    one, same, other = (
        module(x, c) for x, c in (("f", code), ("g", code), ("h", code.replace("f7(x)", "x", 1)))
    )
    assert identity(one.f0) == identity(same.f0) != identity(other.f0)


def test_what_is_nested_without_end_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(archive.Unidentified, match="nested too deeply"):
        identity(deep)


def test_ours_are_known_by_name_wherever_they_lie(monkeypatch):
    function, kind = mb.observables.density, NoseHoover
    before = identity([function, kind])
    monkeypatch.setattr(function, "__module__", "mlipbook.elsewhere")
    monkeypatch.setattr(kind, "__module__", "mlipbook.elsewhere")
    assert identity([function, kind]) == before


def test_what_contains_itself_has_an_identity():
    one, other, third = [1], [1], [2]
    for each in (one, other, third):
        each.append(each)
    assert identity(one) == identity(other) != identity(third)


def compiled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(torch.nn.Linear(2, 1))


@pytest.mark.parametrize(
    "value",
    [
        OfModel(open(__file__)),  # noqa: SIM115
        compiled(),
        (i for i in range(3)),
        {"a": [sys._getframe()]},
    ],
)
def test_what_cannot_be_known_is_refused_by_its_name(value):
    with pytest.raises(archive.Unidentified, match="cannot be known what it consists of"):
        identity(value)


def test_the_part_that_cannot_be_known_is_named():
    with pytest.raises(archive.Unidentified, match=r"list\[1\]\.a: of a generator"):
        identity([0, {"a": (i for i in "abc")}])


def test_another_description_is_refused_with_both():
    found, wanted = {"field": described(field), "T": described(300)}, {"field": described(field * UP)}
    archive.refuse_other("run", found, {"T": described(300)}, "give another folder")
    with pytest.raises(
        ValueError, match=r"^run: of something else, whose field is 0\.00100001, .* \(16, 3\)"
    ) as told:
        archive.refuse_other("run", found, wanted, "give another folder")
    assert found["field"] in str(told.value) and wanted["field"] in str(told.value)
    assert str(told.value).endswith("give another folder")
    with pytest.raises(ValueError, match="older version, which does not tell its pressure; go"):
        archive.refuse_other("run", found, {"pressure": described(0.0)}, "go on with that")
