"""Arguments that cannot be meant are refused, with their name and what was given."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from math import inf, nan

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook import checks, free_energy, heat, neighbors, observables
from mlipbook.dynamics import NPT, NVE, NVT, Langevin, Limits, Ramp, thermalize
from mlipbook.potentials import AgSe, Einstein, LennardJones, SoftCore
from mlipbook.potentials.ionic import read
from mlipbook.units import fs

LJ = LennardJones(0.0104, 3.4, 4.6)
ARGON = bulk("Ar", a=5.4, cubic=True) * (2, 2, 2)
CLUSTER = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]])
CHEBYSHEV = {"radial_cutoff": 5.0, "radial_order": 4, "angular_cutoff": 4.0, "angular_order": 2}
NOISE = torch.randn(400, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

# Kinds of values that a number, a positive number, a whole number cannot be.
NOT_NUMBERS = ("2", None, [1.0], True)
NOT_FINITE = (nan, inf, -inf)
NOT_POSITIVE = (*NOT_NUMBERS, *NOT_FINITE, 0.0, -1.0)
NOT_WHOLE = (*NOT_POSITIVE, 2.7)


def state(atoms=ARGON):
    return thermalize(atoms, 30.0, seed=1)


def run(**options):
    return NVE(LJ, fs).run(state(), **{"steps": 2, "progress": False, **options})


def chebyshev(**options):
    return mb.Chebyshev(("Ar",), **{**CHEBYSHEV, **options})


def network(**options):
    return mb.ANNPotential(chebyshev(), hidden=(3,), **options)


def fit(**options):
    given = {"train": [ARGON], "valid": [ARGON], "progress": False, **options}
    return mb.fit(network(), given.pop("train"), given.pop("valid"), **given)


def hnemd(**options):
    given = {"state": state(), "field": 1e-3, "temperature": 30.0, "steps": 100, "timestep": fs, **options}
    return heat.hnemd(LJ, progress=False, **{"settle": 0.0, **given})


def green_kubo(**options):
    given = {"fluxes": NOISE, "interval": 1.0, "volume": 1.0, "temperature": 30.0, "until": 4.0, **options}
    return heat.green_kubo(**given)


def cepstral(**options):
    given = {"fluxes": NOISE, "interval": 1.0, "volume": 1.0, "temperature": 30.0, "cutoff": 0.4, **options}
    return heat.cepstral(**given)


def liquid(**options):
    return free_energy.liquid(
        LJ, ARGON, **{"temperature": 30.0, "timestep": fs, "progress": False, **options}
    )


def ionic(**charge):
    parameters = read("ag2se-project-B.toml")
    return type(AgSe())({**parameters, "charge": {**parameters["charge"], **charge}})


def dft(**options):
    return mb.dft.PlaneWaveDFT(**options)


def structures(**changes):
    return replace(mb.Structures.from_ase(ARGON), **changes)


# name of the argument, what takes it, values that cannot be meant
TABLE = [
    ("timestep", partial(NVE, LJ), NOT_POSITIVE),
    ("thermostat_time", lambda x: NVT(LJ, fs, 30.0, thermostat_time=x), NOT_POSITIVE),
    ("friction_time", lambda x: Langevin(LJ, fs, 30.0, friction_time=x), NOT_POSITIVE),
    ("barostat_time", lambda x: NPT(LJ, fs, 30.0, barostat_time=x), NOT_POSITIVE),
    ("chain", lambda x: NVT(LJ, fs, 30.0, chain=x), NOT_WHOLE),
    ("steps", lambda x: run(steps=x), NOT_WHOLE),
    ("every", lambda x: run(every=x), NOT_WHOLE),
    ("chunk", lambda x: run(chunk=x), NOT_WHOLE),
    ("frames", lambda x: run(frames=x), (0, -1, 2.5, nan)),
    ("steps", lambda x: Ramp(1.0, 2.0, x), NOT_WHOLE),
    ("stop", lambda x: Ramp(1.0, x, 10), NOT_FINITE),
    ("seed", lambda x: thermalize(ARGON, 30.0, seed=x), (-1, 2.7, nan, "2")),
    ("temperature", lambda x: thermalize(ARGON, x), (-1.0, nan)),
    ("spread", lambda x: Limits(spread=x), (nan, -1.0)),
    ("closest", lambda x: Limits(closest=x), (nan, -1.0)),
    ("cutoff", partial(neighbors.build, structures()), NOT_POSITIVE),
    ("skin", partial(neighbors.build, structures(), 4.0), (-0.5, nan, "2")),
    ("skin", partial(mb.Calculator, LJ), (-0.5, nan, "2")),
    ("cutoff", partial(LennardJones, 0.01, 3.4), NOT_POSITIVE),
    ("sigma", lambda x: LennardJones(0.01, x, 8.0), NOT_POSITIVE),
    ("epsilon", lambda x: LennardJones(x, 3.4, 8.0), (*NOT_NUMBERS, *NOT_FINITE)),
    ("mu", lambda x: SoftCore(mu=x), (*NOT_NUMBERS, *NOT_FINITE, -1.0)),
    ("n", lambda x: SoftCore(n=x), (2, 12.5, nan)),
    ("spring", partial(Einstein, structures().positions), NOT_POSITIVE),
    ("qq of Ag-Ag", lambda x: ionic(Ag=x), NOT_FINITE),
    ("radial_cutoff", lambda x: chebyshev(radial_cutoff=x), NOT_POSITIVE),
    ("angular_cutoff", lambda x: chebyshev(angular_cutoff=x), NOT_POSITIVE),
    ("radial_order", lambda x: chebyshev(radial_order=x), (-1, 4.9, 200, nan)),
    ("angular_order", lambda x: chebyshev(angular_order=x), (-1, 4.9, 200, nan)),
    ("species", lambda x: mb.Chebyshev(x, **CHEBYSHEV), (("Xx",), ("X",), (11,))),
    ("members", lambda x: network(members=x), NOT_WHOLE),
    ("seed", lambda x: network(seed=x), (-1, 2.7)),
    ("repulsion", lambda x: network(repulsion=x), (0.0, -1.0, nan, 7.0)),
    ("hidden", lambda x: mb.ANNPotential(chebyshev(), hidden=(x,)), NOT_WHOLE),
    ("epochs", lambda x: fit(epochs=x), NOT_WHOLE),
    ("batch_size", lambda x: fit(batch_size=x), NOT_WHOLE),
    ("learning_rate", lambda x: fit(learning_rate=x), NOT_POSITIVE),
    ("patience", lambda x: fit(patience=x), (0, -1, 2.5)),
    ("optimizer", lambda x: fit(optimizer=x), ("sgd", 1)),
    ("train", lambda x: fit(train=x), ("train.xyz", None, ARGON, [], ["train.xyz"], 3)),
    ("valid", lambda x: fit(valid=x), ("valid.xyz", None, ARGON, [], [None])),
    ("frames", partial(mb.errors, network()), ("test.xyz", None, [], 3)),
    ("frames", mb.Structures.from_ase, ("test.xyz", None, [], [None])),
    ("every", lambda x: hnemd(every=x), NOT_WHOLE),
    ("steps", lambda x: hnemd(steps=x), NOT_WHOLE),
    ("settle", lambda x: hnemd(settle=x), (-1.0, nan, "2")),
    ("timestep", lambda x: hnemd(timestep=x), NOT_POSITIVE),
    ("temperature", lambda x: hnemd(temperature=x), NOT_POSITIVE),
    ("thermostat_time", lambda x: hnemd(thermostat_time=x), NOT_POSITIVE),
    ("definition", lambda x: hnemd(definition=x), ("IV", 1)),
    ("color", lambda x: hnemd(color=x), ("Cu", "Xx", "", 29)),
    ("field", lambda x: hnemd(field=x), (0.0, nan, inf, [1.0, 2.0])),
    ("volume", lambda x: heat.predicted_error(1e-3, 1.0, x, 1.0), NOT_POSITIVE),
    ("interval", lambda x: green_kubo(interval=x), NOT_POSITIVE),
    ("until", lambda x: green_kubo(until=x), NOT_POSITIVE),
    ("temperature", lambda x: cepstral(temperature=x), NOT_POSITIVE),
    ("cutoff", lambda x: cepstral(cutoff=x), NOT_POSITIVE),
    ("symbol", lambda x: heat.mass_current(state().velocities, structures(), x), ("Cu", "Xx", 29)),
    ("mu", lambda x: liquid(mu=x), NOT_POSITIVE),
    ("sigma", lambda x: liquid(sigma=x), NOT_POSITIVE),
    ("temperature", lambda x: liquid(temperature=x), NOT_POSITIVE),
    ("timestep", lambda x: liquid(timestep=x), NOT_POSITIVE),
    ("n_atoms", lambda x: free_energy.ideal_gas(x, 1.0, 1.0, 1.0), (-4, 0, 2.5, nan)),
    ("volume", lambda x: free_energy.ideal_gas(4, x, 1.0, 1.0), NOT_POSITIVE),
    ("spring", lambda x: free_energy.einstein_crystal(4, 1.0, 1.0, x, 1.0), NOT_POSITIVE),
    ("number", partial(observables.blocks, NOISE), (0, -1, 2.5, 1000)),
    ("degree", partial(observables.steinhardt, structures()), (0, 2.5, 1000)),
    ("neighbors", lambda x: observables.steinhardt(structures(), neighbors=x), (0, 2.5, 32)),
    ("window", lambda x: observables.lindemann(NOISE[:, None], torch.ones(2), 1.0, x), (1, 2.5, 1000)),
    ("bands", lambda x: dft(bands=x), (-3, 0, 2.5)),
    ("ecut", lambda x: dft(ecut=x), (*NOT_POSITIVE, 1e7)),
    ("ecut_density", lambda x: dft(ecut_density=x), (-1.0, nan, 1e9)),
    ("kpts", lambda x: dft(kpts=x), (3, (1, 1), (0, 1, 1), (1.5, 1, 1), "111", (10**6, 1, 1))),
    ("shift", lambda x: dft(shift=x), (1, (2, 0, 0), (0.5, 0, 0))),
    ("smearing", lambda x: dft(smearing=x), NOT_POSITIVE),
    ("iterations", lambda x: dft(iterations=x), (0, 2.5)),
    ("xc", lambda x: dft(xc=x), ("B3LYP", 1)),
]
CALLS = [
    pytest.param(name, take, value, id=f"{k}-{name}-{value!r:.20}")
    for k, (name, take, values) in enumerate(TABLE)
    for value in values
]


@pytest.mark.parametrize(("name", "take", "value"), CALLS)
def test_an_argument_that_cannot_be_meant_is_refused(name, take, value):
    with pytest.raises((ValueError, TypeError)) as refused:
        take(value)
    assert name in str(refused.value)
    assert type(refused.value) in (ValueError, TypeError)


def test_numbers_of_all_kinds_are_numbers():
    for two in (2, 2.0, np.int64(2), np.float32(2), np.array(2), torch.tensor(2.0)):
        assert checks.whole(two, "n") == checks.positive(two, "n") == 2
        assert isinstance(checks.whole(two, "n"), int) and isinstance(checks.positive(two, "n"), float)
    assert checks.whole(10**18 + 1, "seed") == 10**18 + 1
    assert checks.frames((ARGON for _ in range(2)), "frames") == [ARGON, ARGON]


# ---- structures and lists ----------------------------------------------------------------------------


def test_species_that_are_no_elements_are_refused():
    for z in (-3, 0, 500):
        with pytest.raises(ValueError, match=f"atom 1: species {z}"):
            species = structures().species.clone()
            species[1] = z
            structures(species=species)


def test_cells_of_clusters_are_finite():
    cells = torch.full((1, 3, 3), nan, dtype=torch.float64)
    with pytest.raises(ValueError, match="cell .*nan.* not finite"):
        structures(cells=cells, pbc=(False, False, False))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
@pytest.mark.parametrize("second", [[4.0, 0.0, 0.0], [4.0, 1e-9, 0.0], [4.0, 1e-3, 0.0]])
def test_flat_cells_are_refused(pbc, second):
    """Their search for neighbors would divide by zero, or not end."""
    with pytest.raises(ValueError, match="structure 0: cell .* flat"):
        mb.Structures.from_ase(Atoms("Ar", cell=[[4.0, 0, 0], second, [0, 0, 4.0]], pbc=pbc))


def test_a_list_of_other_atoms_or_of_former_positions_is_refused():
    here = structures()
    moved = structures(positions=here.positions + torch.linspace(0, 0.3, 32, dtype=torch.float64)[:, None])
    other = mb.Structures.from_ase(ARGON[:31])
    kept = neighbors.build(here, LJ.cutoff, skin=0.2)
    for edges in (kept, neighbors.build(here, LJ.cutoff), neighbors.build(other, LJ.cutoff)):
        with pytest.raises(
            ValueError, match="neighbor list is of (other atoms, or .* moved too far|1 structures of 31)"
        ):
            LJ.evaluate(moved, edges=edges)
    near = structures(positions=here.positions + 0.01)
    torch.testing.assert_close(LJ.evaluate(near, edges=kept).energy, LJ.evaluate(near).energy)
    LJ.evaluate(structures(), edges=neighbors.build(here, LJ.cutoff))  # the same atoms in another object


def test_more_pairs_than_a_machine_holds_are_refused_at_once():
    began = time.perf_counter()
    for atoms in (ARGON, Atoms(ARGON, pbc=(True, True, False))):
        with pytest.raises(ValueError, match="pairs .* shorten the cutoff"):
            LennardJones(0.01, 3.4, 5000.0).evaluate(mb.Structures.from_ase(atoms))
    far = Atoms("Ar2", [[0, 0, 0], [0, 0, 900.0]])  # two atoms are one pair, whatever the cutoff
    assert float(LennardJones(0.01, 3.4, 5000.0).evaluate(mb.Structures.from_ase(far)).energy) < 0
    assert time.perf_counter() - began < 2.0


# ---- heat --------------------------------------------------------------------------------------------


def test_a_cluster_has_no_conductivity():
    with pytest.raises(ValueError, match="conductivit.* periodic"):
        hnemd(state=thermalize(CLUSTER, 30.0))


@pytest.mark.parametrize("kind", ["constant", "multiples"])
def test_series_without_noise_are_refused(kind):
    fluxes = torch.ones_like(NOISE) if kind == "constant" else NOISE
    with pytest.raises(ValueError, match="no noise to be analyzed"):
        cepstral(fluxes=fluxes, currents=None if kind == "constant" else 2 * NOISE)


# ---- what would not end ------------------------------------------------------------------------------

ENDLESS = {
    "bands": "mb.dft.PlaneWaveDFT(bands=-3)",
    "ecut": "mb.dft.PlaneWaveDFT(ecut=1e7)",
    "flat": "mb.Structures.from_ase(Atoms('Na', cell=[[4, 0, 0], [4, 1e-3, 0], [0, 0, 4]], pbc=(1, 1, 0)))",
    "pairs": "mb.potentials.LennardJones(1, 3, 500).evaluate(mb.Structures.from_ase(bulk('Na') * 5))",
    "angular_order": "mb.Chebyshev(('Na',), 6.0, 16, 6.0, 200)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_what_would_not_end_ends_with_words(name):
    program = f"import mlipbook as mb\nfrom ase import Atoms\nfrom ase.build import bulk\n{ENDLESS[name]}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert re.search(f"ValueError: .*{name}", ended.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize("value", ["sodium.npz", LennardJones, None, ARGON])
def test_what_is_no_potential_is_refused_wherever_one_is_asked_for(value):
    for ask in (
        mb.Calculator,
        mb.fast,
        lambda x: mb.errors(x, [ARGON]),
        lambda x: NVE(x, fs).run(state(), 2, progress=False),
        lambda x: heat.flux(x, mb.Structures.from_ase(ARGON), state().velocities),
    ):
        with pytest.raises(TypeError, match="give a potential, such as mb.load"):
            ask(value)


def test_a_run_of_atoms_instead_of_a_state_is_refused():
    with pytest.raises(TypeError, match="state .*: give a State, as thermalize or State.from_ase make it"):
        NVE(LJ, fs).run(ARGON, 2)
