"""The library on a pretended accelerator; test_accelerator.py runs this in a process of its own."""

import copy
import dataclasses

import numpy as np
import pretended
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from conftest import CASES, ann, batch, crystal

import mlipbook as mb
from mlipbook import free_energy, heat, neighbors, observables
from mlipbook.dynamics import NPT, NVE, NVT, Langevin, thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.fast.graphs import Recorded
from mlipbook.potentials import AgSe, Einstein, IdealGas, LennardJones, Mixture, Repulsion, SoftCore
from mlipbook.units import Ry, fs

neighbors.ALL_PAIRS_LIMIT[pretended.DEVICE.type] = neighbors.ALL_PAIRS_LIMIT["cuda"]
QUIET = {"progress": False}


def silver_selenide(device, replicas: int = 2) -> mb.Structures:
    frames = []
    for seed in range(replicas):
        frames.append(crystal() * 2)
        frames[-1].rattle(0.1, seed=seed)
    return mb.Structures.from_ase(frames, device)


def sodium(device, replicas: int = 2) -> mb.Structures:
    return repeated(mb.Structures.from_ase(bulk("Na", "bcc", 4.23, cubic=True) * 2, device), replicas)


def network(device, structures: mb.Structures = CASES["two species"], **settings) -> mb.ANNPotential:
    return ann(structures, **settings).to(device)


def argon(device, cells: int = 3) -> tuple:
    atoms = bulk("Ar", "fcc", 5.3, cubic=True) * cells
    structures = repeated(mb.Structures.from_ase(atoms, device), 2)
    return LennardJones(0.0104, 3.4, 6.0), thermalize(structures, 60.0, seed=1)


def labeled() -> list:
    frames = []
    for seed in range(4):
        frames.append(bulk("Na", "bcc", 4.23, cubic=True) * 2)
        frames[-1].rattle(0.1, seed=seed)
    pairs = SoftCore(cutoff=6.0)
    result = pairs.evaluate(batch(*frames))
    for b, atoms in enumerate(frames):
        stress = result.stress[b].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        energy = float(result.energy[b])
        labels = {"energy": energy, "free_energy": energy, "forces": result.forces[b].numpy()}
        atoms.calc = SinglePointCalculator(atoms, stress=stress, **labels)
    return frames


# ---- calls: of a device, giving numbers ------------------------------------------------------------------


def committee(device):
    return network(device, members=3).evaluate(silver_selenide(device))


def every_definition(device):
    return [
        network(device).evaluate(silver_selenide(device), definition) for definition in ("I", "II", "III")
    ]


def pairs(device):
    kinds = (LennardJones(0.01, 2.5, 4.5), SoftCore(cutoff=6.0), Repulsion(2.5))
    return [pair.evaluate(silver_selenide(device)) for pair in kinds]


def ionic(device):
    return AgSe().to(device).evaluate(silver_selenide(device))


def references(device):
    structures = sodium(device)
    springs = Einstein(structures.positions[:1] + 0.1, 0.2)
    lam = torch.tensor([0.2, 0.7], dtype=torch.float64, device=device)
    mixture = Mixture(SoftCore(cutoff=6.0), springs, lam)
    return [potential.evaluate(structures) for potential in (springs, IdealGas(), mixture)]


def fast_form(device):
    return mb.fast(network(device)).evaluate(silver_selenide(device))


def features(device):
    structures, descriptor = silver_selenide(device), mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3)
    edges = neighbors.build(structures, descriptor.cutoff)
    found = descriptor.to(device).features(edges.vectors(structures), *edges.species(structures))
    return found.sum(0)


def followed(simulation, state, steps: int = 20):
    trajectory = simulation.run(state, steps, {"density": observables.density}, every=5, **QUIET)
    return [trajectory.state.structures.positions, trajectory.state.momenta, trajectory.observed["density"]]


def nve(device):
    potential, state = argon(device)
    return followed(NVE(potential, 2 * fs), state)


def nvt(device):
    potential, state = argon(device)
    return followed(NVT(potential, 2 * fs, [60.0, 70.0]), state)


def langevin(device):
    potential, state = argon(device)
    return followed(Langevin(potential, 2 * fs, 60.0), state)


def npt(device):
    potential, state = argon(device)
    return followed(NPT(potential, 2 * fs, 60.0, 0.0), state)


def npt_of_a_network(device):
    state = thermalize(silver_selenide(device), 300.0, seed=2)
    return followed(NPT(network(device), 2 * fs, 300.0, 0.0), state, 5)


def flux(device):
    state = thermalize(silver_selenide(device), 300.0, seed=3)
    structures, v = state.structures, state.velocities
    shifted = heat.Shifted(network(device), heat.without_enthalpy(structures, "Ag", 0.3))
    parts = [heat.flux(p, structures, v) for p in (network(device), shifted)]
    return [*parts, heat.mass_current(v, structures, "Ag")]


def green_kubo(device):
    noise = torch.randn(300, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return heat.green_kubo(noise.to(device), 1.0, 1000.0, 300.0, 10.0, noise.flip(0).to(device))


def hnemd(device):
    state = thermalize(silver_selenide(device), 500.0, seed=4)
    potential = network(device)
    response = heat.hnemd(potential, state, 1e-3, 500.0, 40, 1 * fs, settle=4 * fs, every=1, **QUIET)
    return [response.flux, response.current["Ag"], response.temperature]


def windows(device):
    structures = sodium(device, 1)
    stiff, soft = (Einstein(structures.positions, k) for k in (0.2, 0.1))
    path = free_energy.Path(np.array([0.3, 0.7]), np.array([0.5, 0.5]))
    few = free_energy.Sampling(error=0.0, max_steps=40, replicas=2, equilibration=20)
    found = free_energy.windows(stiff, soft, structures, path, 300.0, timestep=5 * fs, sampling=few, **QUIET)
    return [window.difference for window in found]


def fitted(device):
    frames = labeled()
    potential = network(device, batch(*frames), members=2)
    mb.fit(potential, frames[:3], frames[3:], mb.Cost(1.0, 1.0, 1.0), epochs=3, **QUIET)
    table = mb.errors(potential, frames)
    predicted = mb.predict(potential, frames)
    return [list(table.rmse.values()), [list(p.values()) for p in predicted]]


def plane_waves(device):
    atoms = bulk("Na", "bcc", 4.2, cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = mb.dft.PlaneWaveDFT(ecut=4 * Ry, kpts=(1, 1, 1), tolerance=1e-8 * Ry, device=device)
    return [atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()]


def observed(device):
    potential, state = argon(device)
    state = dataclasses.replace(state, result=potential.evaluate(state.structures))
    names = ("temperature", "potential_energy", "kinetic_energy", "enthalpy", "volume", "density", "pressure")
    names += ("pressure_tensor", "q6", "shortest_distance")
    edges = torch.linspace(2.0, 6.0, 9, dtype=torch.float64)
    histogram = observables.pair_distribution(state.structures, edges.to(device))
    return [*(getattr(observables, name)(state) for name in names), histogram]


CALLS = [committee, every_definition, pairs, ionic, references, fast_form, features, nve, nvt, langevin, npt]
CALLS += [npt_of_a_network, flux, green_kubo, hnemd, windows, fitted, observed, plane_waves]


def numbers(result) -> list[np.ndarray]:
    """All that is in a result, on the host."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in numbers(part)]
    return [result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)]


@pytest.mark.filterwarnings("ignore:the series at lambda:RuntimeWarning")  # so short are the windows
@pytest.mark.parametrize("call", CALLS)
def test_the_accelerator_gives_the_numbers_of_the_cpu(call):
    on_cpu, there = numbers(call("cpu")), numbers(call(pretended.DEVICE))
    assert len(on_cpu) == len(there)
    for mine, theirs in zip(on_cpu, there, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(mine).max()))


def test_results_stay_on_the_accelerator():
    result = committee(pretended.DEVICE)
    assert {x.device for x in (result.energies, result.forces, result.virials)} == {pretended.DEVICE}


def test_the_fast_form_falls_back_to_the_definition():
    """C computes on the CPU alone, and a graph is recorded on CUDA alone."""
    structures, potential = silver_selenide(pretended.DEVICE), network(pretended.DEVICE)
    form = mb.fast(potential)
    assert not isinstance(form, Recorded)
    one, other = form.evaluate(structures), potential.evaluate(structures)
    assert torch.equal(one.forces, other.forces) and one.forces.device == pretended.DEVICE


# ---- the pretended device itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x, y: x + y,
        lambda x, y: y[x.long()],
        lambda x, y: x.index_add(0, y.long(), x),
        lambda x, y: x.__setitem__(y.long(), y),
    ],
)
def test_mixing_is_refused(mixed):
    y = torch.zeros(3)
    with pytest.raises(RuntimeError, match="of the host are mixed"):
        mixed(y.to(pretended.DEVICE), y)


def test_arrays_of_numpy_are_refused():
    with pytest.raises(TypeError, match="to numpy"):
        np.asarray(torch.zeros(3, device=pretended.DEVICE))


def test_reads_are_counted():
    x, before = torch.ones(3, device=pretended.DEVICE), copy.copy(pretended.reads)
    for read in (lambda: float(x[0]), lambda: x.tolist(), lambda: x.cpu(), lambda: x[x > 0], x.nonzero):
        read()
    assert (pretended.reads - before).total() == 5 and (x + 1).device == pretended.DEVICE


# ---- what the host reads -----------------------------------------------------------------------------------


# Of 40 steps, as measured. In each: one, of NPT two, by which the list is seen to hold (neighbors._longest);
# NVT sum p^2/m; NPT that, the virial and the volume (dynamics.host.on_host). Few where a list is built.
MOST_READS = {"NVE": 44, "NVT": 84, "NPT": 210}


@pytest.mark.parametrize("name", MOST_READS)
def test_the_host_reads_little_in_a_step(name):
    """Between 20 and 60 steps of two replicas, nothing observed; where they are is printed."""
    potential, state = argon(pretended.DEVICE)
    methods = {"NVE": NVE(potential, 2 * fs), "NVT": NVT(potential, 2 * fs, 60.0)}
    simulation = (methods | {"NPT": NPT(potential, 2 * fs, 60.0, 0.0)})[name]
    counts = []
    for steps in (20, 60):
        pretended.reads.clear()
        simulation.run(state, steps, every=steps, **QUIET)
        counts.append(copy.copy(pretended.reads))
    more = counts[1] - counts[0]
    assert 0 < more.total() <= MOST_READS[name], more.most_common()
