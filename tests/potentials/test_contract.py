"""Whatever fulfills the contract has errors, drives dynamics, labels, carries heat, has a free energy."""

from functools import partial

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mlipbook as mb
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.fast.graphs import Recorded
from mlipbook.fast.networks import Native
from mlipbook.fast.pairs import NativePairs
from mlipbook.heat import Booked, Shifted
from mlipbook.potentials import Base, LennardJones, Mixture, Potential, Wrapper
from mlipbook.potentials.ann import MemberPerReplica
from mlipbook.units import fs

LJ = LennardJones(0.0104, 3.4, 5.0)
CONTRACT = [name for name in vars(Potential) if not name.startswith("_")]


def argon(seed=0):
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * 3
    atoms.rattle(0.05, seed=seed)
    return atoms


def network(members=1):
    potential = mb.ANNPotential(mb.Chebyshev(("Ar",), 5.0, 3, 4.0, 2), (4,), members=members, seed=3)
    for net in potential.networks.values():
        net.mean_square[:] = 100.0
    potential.energy_scale.fill_(20.0)
    return potential


class Springs(Base):
    """One of a user's own, which writes what is needed and no more."""

    cutoff = 1.0
    sites = torch.as_tensor(bulk("Ar", "fcc", a=5.4, cubic=True).repeat(3).positions)

    def evaluate(self, structures, definition="I", edges=None):
        u = structures.positions - self.sites
        virials = -0.5 * u[..., :, None] * u[..., None, :]
        return mb.Evaluation(u.square().sum(-1) / 4, -0.5 * u, virials, structures.volumes)


class Halved(Wrapper):
    """One of a user's own around another."""

    def evaluate(self, structures, definition="I", edges=None):
        r = self.potential.evaluate(structures, definition, edges)
        return mb.Evaluation(r.energies / 2, r.forces / 2, r.virials / 2, r.volumes)


class Foreign:
    """Fulfills the contract and inherits from nothing of ours."""

    cutoff, members, shortest, species, device, dtype = 5.0, 1, {}, None, None, torch.float64

    def evaluate(self, structures, definition="I", edges=None):
        return LJ.evaluate(structures, definition, edges)


POTENTIALS = {
    "pairs": LJ,
    "network": network(),
    "a committee": network(3),
    "a member for each replica": MemberPerReplica(network()),
    "native": Native(network()),
    "a native committee": Native(network(3)),
    "native pairs": NativePairs(LJ),
    "fast": mb.fast(network()),
    "recorded": Recorded(LJ),
    "mixture": Mixture(network(), LJ, 0.3),
    "fast mixture": mb.fast(Mixture(Native(network()), Springs(), 0.3)),
    "shifted": Shifted(network(3), {"Ar": 1.0}),
    "booked": Booked(Native(network()), "II"),
    "mean": CommitteeMean(network(3)),
    "own": Springs(),
    "own wrapper": Halved(network(2)),
    "foreign": Foreign(),
}


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return POTENTIALS[request.param]


def test_it_tells_what_the_contract_has(potential):
    told = {name: getattr(potential, name) for name in CONTRACT if name != "evaluate"}
    assert set(told) == {"cutoff", "members", "shortest", "species", "device", "dtype"}
    assert told["cutoff"] > 0 and told["members"] >= 1 and told["dtype"] == torch.float64
    assert told["device"] in (None, torch.device("cpu")) and told["species"] in (None, ("Ar",))
    assert dict(told["shortest"]) == {}
    result = potential.evaluate(mb.Structures.from_ase(argon()), "I")
    assert result.energies.shape == ((told["members"],) * (told["members"] > 1)) + (1, 108)


def test_calculator_errors_and_labels_are_those_of_evaluate(potential):
    atoms = argon()
    result = potential.evaluate(mb.Structures.from_ase(atoms))
    U = float(result.energy.mean())
    atoms.calc = mb.Calculator(potential)
    assert atoms.get_potential_energy() == pytest.approx(U, abs=1e-10)
    forces = result.forces.reshape(-1, 108, 3).mean(0).numpy()
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-10)
    again = SinglePointCalculator(atoms, **atoms.calc.results)  # as ASE's writers keep them
    assert again.results["energy"] == pytest.approx(U, abs=1e-10)
    [labeled] = mb.labels.label([argon()], mb.Calculator(potential))
    assert labeled.get_potential_energy() == pytest.approx(U, abs=1e-10)
    table = mb.errors(potential, [labeled])
    assert table.rmse["energy"].shape == (potential.members,)
    assert float(table.bias["energy"].mean()) == pytest.approx(0, abs=1e-6)


def test_it_drives_dynamics_and_carries_heat(potential):
    state = mb.dynamics.thermalize(argon(), 30.0, seed=1)
    limits = mb.dynamics.Limits(closest=0.0)
    run = mb.dynamics.NVE(potential, 2 * fs).run(state, 10, limits=limits, progress=False)
    invariant = run.observed["invariant"]
    assert float((invariant - invariant[0]).abs().max()) < 1e-3
    J = mb.heat.flux(potential, state.structures, state.velocities)
    assert J.shape[-2:] == (1, 3) and bool(torch.isfinite(J).all())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the series at lambda")
@pytest.mark.parametrize("name", ["native pairs", "native", "fast", "foreign"])
def test_it_has_a_free_energy(name, monkeypatch):
    """That of the potential in PyTorch, from the same noise. Springs hold crystals of untrained networks."""
    held = partial(Mixture, b=Springs(), lam=0.1)
    potential, plain = held(POTENTIALS[name]), held(LJ if name in ("native pairs", "foreign") else network())
    sampling = mb.free_energy.Sampling(error=1.0, max_steps=400, equilibration=400, replicas=3)
    settings = {"timestep": 4 * fs, "progress": False, "points": 2, "spring": 0.5, "sampling": sampling}
    lattice = bulk("Ar", "fcc", a=5.4, cubic=True) * 3
    found = mb.free_energy.solid(potential, lattice, 20.0, **settings).F
    monkeypatch.setenv("MLIPBOOK_FAST", "off")
    assert found == pytest.approx(mb.free_energy.solid(plain, lattice, 20.0, **settings).F, abs=1e-9)


def test_a_committee_has_no_free_energy():
    with pytest.raises(ValueError, match=r"give potential.member\(m\)"):
        mb.free_energy.solid(POTENTIALS["a native committee"], argon(), 20.0, timestep=4 * fs, spring=0.5)


def test_a_potential_labels_without_a_calculator():
    [one], [other] = (mb.labels.label([argon()], x) for x in (LJ, mb.Calculator(LJ)))
    assert one.get_potential_energy() == other.get_potential_energy()


def test_a_committee_tells_its_spread_beside_the_results():
    atoms = argon()
    atoms.calc = mb.Calculator(network(3))
    U = network(3).evaluate(mb.Structures.from_ase(atoms)).energy.std()
    assert atoms.calc.get_property("energy_spread", atoms) == pytest.approx(float(U), rel=1e-9)
    assert atoms.calc.get_property("forces_spread").shape == (108, 3)
    assert not any("spread" in name for name in atoms.calc.results)


def test_a_wrapper_around_another_form_leaves_the_first_as_it_was():
    inner = network()
    one = Mixture(inner, LJ, 0.3)
    other = one.around(lambda p: Halved(p))
    assert one.potential is inner and one.reference is LJ
    assert isinstance(other.potential, Halved) and isinstance(other.reference, Halved)
    assert other.lam is one.lam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_is_loaded_in_the_dtype_in_which_it_was_saved(dtype, tmp_path):
    potential = network(2).to(dtype)
    potential.save(tmp_path / "p.npz")
    again, structures = mb.load(tmp_path / "p.npz"), mb.Structures.from_ase(argon())
    assert again.dtype == dtype
    assert torch.equal(again.evaluate(structures).energies, potential.evaluate(structures).energies)
    assert again.member(1).dtype == dtype
    arrays, metadata = mb.archive.load(tmp_path / "p.npz")
    del metadata["dtype"]  # a file of before
    mb.archive.save(tmp_path / "old.npz", arrays, metadata)
    assert mb.load(tmp_path / "old.npz").dtype == torch.float64
