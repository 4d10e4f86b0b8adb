"""Replayed CUDA graphs give what evaluate gives; what they rest on is tested without a GPU, too."""

from functools import partial

import pytest
import torch
from ase.build import bulk

import mlipbook as mb
from mlipbook import neighbors
from mlipbook.dynamics import NPT, Langevin, thermalize
from mlipbook.fast import graphs as recording
from mlipbook.potentials import Einstein, LennardJones, Mixture
from mlipbook.units import fs

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


def crystal(seed: int, replicas: int = 2) -> mb.Structures:
    frames = []
    for b in range(replicas):
        atoms = bulk("Ar", "fcc", 5.3, cubic=True) * 3
        atoms.rattle(0.1, seed=seed + b)
        frames.append(atoms)
    return mb.Structures.from_ase(frames)


def network() -> mb.ANNPotential:
    potential = mb.ANNPotential(mb.Chebyshev(("Ar",), 6.0, 4, 6.0, 2), hidden=(5,), seed=1)
    potential.reference_energies = {"Ar": -2.0}
    return potential


@pytest.mark.parametrize("potential", [LennardJones(0.0104, 3.4, 6.0), network()])
def test_padding_a_neighbor_table_changes_nothing(potential):
    structures = crystal(0)
    edges = neighbors.build(structures, 6.0, 0.5)
    wide = recording.padded(edges, edges.neighbor.shape[1] + 7)
    one, other = (potential.evaluate(structures, "I", e) for e in (edges, wide))
    torch.testing.assert_close(other.forces, one.forces, rtol=0, atol=1e-13)
    torch.testing.assert_close(other.virials, one.virials, rtol=0, atol=1e-13)
    torch.testing.assert_close(other.energy, one.energy, rtol=0, atol=1e-11)


def test_on_a_cpu_nothing_is_recorded_and_the_potential_answers():
    potential, structures = network(), crystal(0)
    recorded = recording.Recorded(potential)
    for _ in range(3):
        found = recorded.evaluate(structures, "II")
    assert recorded.graph is None
    assert torch.equal(found.forces, potential.evaluate(structures, "II").forces)


@pytest.mark.slow
@pytest.mark.parametrize("potential", [LennardJones(0.0104, 3.4, 6.0), network()])
def test_compiled_energies_are_those_of_the_potential_which_is_left_as_it_was(potential, monkeypatch):
    """What is traced and differentiated ahead of time; the kernels' code, minutes of compilation on a CPU, is
    left to GPUs.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    before = potential.atomic_energies
    compiled = recording.compiled(potential)
    assert potential.atomic_energies == before and compiled.atomic_energies != before
    for seed in range(2):
        structures = crystal(seed)
        one, other = (p.evaluate(structures, "I") for p in (potential, compiled))
        for name in ("energies", "forces", "virials"):
            torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=0, atol=1e-12)


@on_gpu
def test_compiled_kernels_give_the_energies_of_the_potential():
    potential, structures = network().cuda(), crystal(0).to("cuda")
    one, other = (p.evaluate(structures, "I") for p in (potential, recording.compiled(potential)))
    for name in ("energies", "forces", "virials"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=0, atol=1e-10)


@on_gpu
def test_a_replayed_call_equals_evaluate_for_moved_atoms_new_lists_and_volumes():
    start = crystal(0).to("cuda")
    sites = crystal(0).positions[:1].cuda()
    for potential in (network().cuda(), Mixture(network().cuda(), Einstein(sites, 0.2), 0.3).cuda()):
        recorded = recording.Recorded(potential)
        for seed in range(4):
            structures = crystal(seed).to("cuda")
            scaled = mb.Structures(structures.positions * (1 + 0.01 * seed), start.cells * (1 + 0.01 * seed),
                                   start.species)  # fmt: skip
            edges = neighbors.build(scaled, 6.0, 0.1 * seed)
            ours, exact = recorded.evaluate(scaled, "II", edges), potential.evaluate(scaled, "II", edges)
            torch.testing.assert_close(ours.forces, exact.forces, rtol=0, atol=1e-11)
            torch.testing.assert_close(ours.energy, exact.energy, rtol=0, atol=1e-9)
            torch.testing.assert_close(ours.stress, exact.stress, rtol=0, atol=1e-12)
        assert recorded.graph is not None


@on_gpu
@pytest.mark.parametrize("ensemble", [NPT, Langevin])
def test_dynamics_on_a_gpu_follows_that_on_a_cpu(ensemble):
    potential, structures = LennardJones(0.0104, 3.4, 6.0), crystal(0)
    ends = []
    for device in ("cpu", "cuda"):
        state = thermalize(structures.to(device), 40.0, seed=3)
        run = ensemble(potential, 2 * fs, 40.0).run(state, 100, progress=False)
        ends.append(run.state.structures.positions.cpu())
    assert float((ends[0] - ends[1]).abs().max()) < 1e-8
