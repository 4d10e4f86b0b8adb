"""Flipped bits and cuts in every kind of file: refused in words, or without effect, never something else.

Files of ours have checksums: what loads must be what was written. Files of others (aenet, pseudopotentials)
have none, so that a flipped digit is another number; they must be refused or be whole and finite.
"""

import os
import random
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

import mlipbook as mb
from mlipbook import aenet, archive, campaign, dynamics, labels
from mlipbook.bookkit import save_result
from mlipbook.dft.pseudopotential import read_upf
from mlipbook.potentials import LennardJones
from mlipbook.training.checkpoint import Checkpoint, History
from mlipbook.training.fitting import make_learners
from mlipbook.units import fs

DAMAGES = int(os.environ.get("MLIPBOOK_DAMAGES", 300))  # of each kind of file
DATA = Path(__file__).parents[1] / "data"
CRYSTAL = bulk("Ar", "fcc", a=5.5, cubic=True)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few flipped bits or other bytes; the end cut off, a piece cut out, or zeros in its place."""
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice([1, 8, 100, 5000]))
    kind = rng.randrange(8)
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content[:start] + content[end:]
    if kind == 2:
        return content[:start] + bytes(end - start) + content[end:]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 3])):
        changed[rng.randrange(len(content))] ^= rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])
    return bytes(changed)


def plain(value):
    """Something that `==` compares with all bits."""
    if isinstance(value, torch.Tensor | np.ndarray):
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        return str(array.dtype), array.shape, array.tobytes()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


# Each kind: a function of a folder, which writes the file and gives its path and a function that reads it.


def potential(folder):
    path = folder / "p.npz"
    descriptor = mb.Chebyshev(("Na",), 4.5, 6, 4.1, 3)
    mb.ANNPotential(descriptor, hidden=(30, 20), members=2, seed=1).save(path)
    return path, lambda: mb.load(path)._state()


def part_of_a_trajectory(folder):
    structures = mb.Structures.from_ase(CRYSTAL)
    start = dynamics.thermalize(structures, [60.0, 90.0], seed=21)
    simulation = dynamics.NPT(LennardJones(0.0104, 3.4, 2.7), 5 * fs, 60.0, 0.0)

    def read():
        run = simulation.run(start, 20, every=2, frames=4, store=folder, chunk=20, progress=False)
        state = run.state
        return [
            state.structures.positions,
            state.structures.cells,
            state.momenta,
            dict(state.extended),
            dict(run.observed),
            [run.time, run.frame_time, run.positions, run.cells, state.seeds, state.step],
        ]

    read()
    return folder / "part-00000.npz", read


def checkpoint(folder):
    def checkpointed(save: bool):
        network = mb.ANNPotential(mb.Chebyshev(("Na",), 4.5, 6, 4.1, 3), hidden=(5,), members=2)
        learners, history = make_learners(network, "adam"), History("")
        kept = Checkpoint(folder / "fit", {"fit": "this [1]"}, ("a [1]", "b [2]"), learners)
        if save:
            sum(p.square().sum() for p in network.parameters()).backward()
            learners[0].optimizer.step()
            for name in ("train_cost", "valid_cost", "valid_rmse"):
                getattr(history, name).append(np.ones(2) / 3)
            kept.save(learners, history)
        else:
            kept.load(learners, history)
        found = learners[0]
        return [list(network.parameters()), found.best, found.optimizer.state_dict(), vars(history)]

    checkpointed(save=True)
    return folder / "fit", partial(checkpointed, save=False)


def thirds(job):
    return {"array": np.arange(job) / 3, "list": [1, 2.5, None], "name": "x"}


def job_of_a_campaign(folder):
    def read():
        return campaign.run(thirds, [40], store=folder)

    read()
    return next(folder.glob("*.json")), read


class Spring(Calculator):
    """Some numbers, the same each time."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = atoms.positions
        self.results = {"energy": float((x**2).sum()) / 3, "forces": -2 * x / 3, "stress": np.arange(6) / 7}


def label(folder):
    def read():
        [frame] = labels.label([CRYSTAL], Spring(), folder)
        return [frame.get_potential_energy(), frame.get_forces(), frame.get_stress(), frame.positions]

    read()
    return next(folder.glob("*.json")), read


def result(folder):
    path = folder / "result.json"
    records = {f"\u0394{i}": {"value": i / 3, "sem": 0.1, "n": i, "unit": "eV"} for i in range(9)}
    save_result(
        path, records, seconds=1.0, seed=2, curve=[x / 7 for x in range(50)], list=[True, None, 1, 1.0]
    )
    return path, lambda: archive.read_json(path)


def copied(file, read, told, folder):
    path = folder / file.name
    path.write_bytes(file.read_bytes())
    return path, lambda: told(read(path))


def shape_of(atoms: Atoms):
    assert np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all() and len(atoms)
    return atoms.calc is None or all(np.isfinite(x).all() for x in atoms.calc.results.values())


def shape_of_network(network):
    assert all(np.isfinite(matrix).all() for matrix in network.matrices)
    return network.setup.n_features == network.n_features


def shape_of_pseudopotential(found):
    tables = [found.local, found.density, *(beta for _, beta in found.projectors)]
    assert all(bool(torch.isfinite(table.coefficients).all()) for table in tables)
    return found.valence > 0


OURS = [potential, part_of_a_trajectory, checkpoint, job_of_a_campaign, label, result]
AENET = DATA / "aenet"
OTHERS = {
    "network": (AENET / "na_16_4" / "Na.nn", aenet.read_network, shape_of_network),
    "setup": (AENET / "na_16_4" / "Na.stp", aenet.read_setup, lambda setup: setup.n_features > 0),
    "crystal": (AENET / "small" / "na2_conv_outside.xsf", aenet.read_xsf, shape_of),
    "cluster": (AENET / "small" / "agse_cluster.xsf", aenet.read_xsf, shape_of),
    "pseudopotential": (
        Path(mb.__file__).parent / "data" / "Na.UPF",
        partial(read_upf, q_max=0.05),
        shape_of_pseudopotential,
    ),
}


def outcomes(path, read, seed):
    """What became of each damage: the exception, or what was read."""
    sound, rng = path.read_bytes(), random.Random(seed)
    for _ in range(DAMAGES):
        wrong = damaged(sound, rng)
        path.write_bytes(wrong)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = plain(read())
        except Exception as error:
            found = error
        yield wrong, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_a_damaged_file_of_ours_is_refused_or_gives_what_was_written(tmp_path, kind):
    path, read = kind(tmp_path)
    written = plain(read())
    refused = 0
    for wrong, found in outcomes(path, read, kind.__name__):
        if isinstance(found, Exception):
            assert isinstance(found, archive.Damaged) and path.name in str(found), (repr(found), wrong)
            refused += 1
        else:
            assert found == written, wrong
    print(f"{kind.__name__}: {refused} of {DAMAGES} refused, {DAMAGES - refused} without effect")


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_a_damaged_file_of_others_is_refused_in_words_or_whole(tmp_path, kind):
    path, read = copied(*OTHERS[kind], tmp_path)
    assert read()
    refused = 0
    for wrong, found in outcomes(path, read, kind):
        if isinstance(found, Exception):
            assert type(found) in (ValueError, archive.Damaged) and path.name in str(found), (found, wrong)
            refused += 1
        else:
            assert found, wrong
    print(f"{kind}: {refused} of {DAMAGES} refused")


@pytest.mark.parametrize("kind", ["network", "pseudopotential"])
def test_a_file_of_others_that_was_cut_is_refused(tmp_path, kind):
    path, read = copied(*OTHERS[kind], tmp_path)
    content = path.read_bytes().rstrip()
    for end in random.Random(0).sample(range(len(content)), 100):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=path.name):
            read()


def test_every_flip_in_the_checksum_of_a_result_is_seen(tmp_path):
    path, read = result(tmp_path)
    content = path.read_bytes()
    for place in range(content.index(b"sha256") - 1, len(content) - 1):
        for bit in range(8):
            wrong = bytearray(content)
            wrong[place] ^= 1 << bit
            path.write_bytes(wrong)
            with pytest.raises(archive.Damaged):
                read()
