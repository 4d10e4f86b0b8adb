"""ANN potentials: aenet's normalization, the committee axis, files."""

import json
import zipfile

import numpy as np
import pytest
import torch
from conftest import CASES, ann, features

import mlipbook as mb
from mlipbook import archive
from mlipbook.fast.networks import Native
from mlipbook.potentials import LennardJones
from mlipbook.potentials.ann import ACTIVATIONS, Network


def layers(network: Network, member: int, x: np.ndarray) -> np.ndarray:
    """The printed formula, one atom: act(W [x; 1]) layer by layer, the last one linear."""
    functions = {
        "linear": lambda y: y,
        "tanh": np.tanh,
        "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
        "mtanh": lambda y: 1.7159 * np.tanh(0.666666666666667 * y),
        "twist": lambda y: 1.7159 * np.tanh(0.666666666666667 * y) + 0.1 * y,
    }
    for W, name in zip(network.weights, (*network.activations, "linear"), strict=True):
        x = functions[name](W[member].detach().numpy() @ np.append(x, 1))
    return x[0]


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_energy_is_the_printed_formula(activation):
    """eps = y/scale + shift + E_atom with x = (G - mean)/sqrt(<G^2> - mean^2), two members and species."""
    structures = CASES["two species"]
    potential = ann(structures, members=2, activation=activation)
    G = features(potential.descriptor, structures).numpy()
    energies = potential.evaluate(structures).energies[:, 0]
    for i, symbol in enumerate(structures.symbols):
        network = potential.networks[symbol]
        mean, mean_square = network.mean.numpy(), network.mean_square.numpy()
        x = (G[i] - mean) / np.sqrt(mean_square - mean**2)
        for m in range(2):
            expected = layers(network, m, x) / 0.7 - 0.3 + potential.reference_energies[symbol]
            assert float(energies[m, i]) == pytest.approx(expected, rel=1e-13)


def test_features_without_spread_are_ignored():
    """The input is 0 where sqrt(<G^2> - mean^2) <= 1e-10, also where round-off makes it negative."""
    network = Network((3, 4, 1), ("tanh",), 1)
    network.initialize(0, torch.Generator().manual_seed(0))
    network.mean.copy_(torch.tensor([2.0, 0.1, 3.0]))
    network.mean_square.copy_(torch.tensor([5.0, 0.01 - 1e-17, 9.0 + 1e-21]))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    other = x.clone()
    other[:, 1:] += 100
    assert torch.isfinite(network(x)).all()
    assert torch.equal(network(x), network(other))
    assert not torch.allclose(network(x), network(x + torch.tensor([0.1, 0.0, 0.0])))


def test_initial_weights():
    """Uniform with standard deviation 1/sqrt(n_in + 1): bounds exactly, variance to its standard error."""
    network = Network((63, 400, 1), ("tanh",), 1)
    network.initialize(0, torch.Generator().manual_seed(0))
    W = network.weights[0].detach() * 8  # sqrt(63 + 1)
    assert float(W.abs().max()) <= 3**0.5
    standard_error = (4 / 5 / W.numel()) ** 0.5  # of the variance of a uniform distribution
    assert abs(float(W.var()) - 1) < 4 * standard_error


def test_members_are_single_potentials():
    """Member m of seed s is the single potential of seed s + m, and potential.member(m)."""
    structures = CASES["mixed batch"]
    committee = ann(structures, members=3, seed=5)
    together = committee.evaluate(structures)
    for m in range(3):
        for alone in (committee.member(m), ann(structures, seed=5 + m)):
            assert alone.members == 1
            result = alone.evaluate(structures)
            torch.testing.assert_close(result.energies, together.energies[m], rtol=1e-14, atol=1e-14)
            torch.testing.assert_close(result.forces, together.forces[m], rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(result.virials, together.virials[m], rtol=1e-13, atol=1e-13)
    assert float(together.energy.std(0).min()) > 1e-3  # three different networks


def test_a_member_is_a_copy():
    structures = CASES["two species"]
    committee = ann(structures, members=2)
    before = committee.evaluate(structures).energies.clone()
    for p in committee.member(1).parameters():
        p.data.zero_()
    assert torch.equal(committee.evaluate(structures).energies, before)


def test_identical_members_have_no_spread():
    structures = CASES["triclinic"]
    committee = ann(structures, members=3)
    for network in committee.networks.values():
        for W in network.weights:
            W.data[:] = W.data[:1].clone()
    result = committee.evaluate(structures)
    assert not (result.energies - result.energies[0]).any()
    assert not (result.forces - result.forces[0]).any()


@pytest.mark.parametrize("members, repulsion", [(1, None), (3, 2.4)])
def test_a_saved_potential_comes_back_exactly(tmp_path, members, repulsion):
    structures = CASES["two species"]
    potential = ann(
        structures,
        members=members,
        repulsion=repulsion,
        activation={"Ag": ["mtanh", "twist"], "Se": ["tanh", "sigmoid"]},
    )
    potential.shortest = {("Ag", "Ag"): 1.1, ("Ag", "Se"): 1.2, ("Se", "Se"): 1.3}
    potential.save(tmp_path / "p.npz")
    again = mb.load(tmp_path / "p.npz")
    a, b = potential.evaluate(structures), again.evaluate(structures)
    assert (
        torch.equal(a.energies, b.energies)
        and torch.equal(a.forces, b.forces)
        and torch.equal(a.virials, b.virials)
    )
    assert again.shortest == potential.shortest
    assert again.reference_energies == potential.reference_energies
    assert again.descriptor.settings == potential.descriptor.settings


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "p.npz"
    ann(CASES["one species"]).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"p\.npz: not a file written by mlipbook, or damaged"):
        mb.load(path)


def test_files_hold_no_code(tmp_path):
    """Plain arrays and JSON: nothing in the file is unpickled."""
    path = tmp_path / "p.npz"
    ann(CASES["one species"]).save(path)
    with zipfile.ZipFile(path) as file, np.load(path, allow_pickle=False) as arrays:
        assert file.testzip() is None
        assert all(arrays[name].dtype.kind in "fiU" for name in arrays.files)
        assert json.loads(str(arrays["__metadata__"]))["kind"] == "ANNPotential"


def test_networks_of_different_sizes():
    structures = CASES["two species"]
    descriptor = mb.Chebyshev(("Ag", "Se"), 4.5, 6, 4.1, 3)
    potential = mb.ANNPotential(descriptor, {"Ag": (7,), "Se": (3, 4, 5)}, members=2)
    assert potential.networks["Ag"].sizes == (22, 7, 1) and potential.networks["Se"].sizes == (22, 3, 4, 5, 1)
    assert potential.evaluate(structures).energies.shape == (2, 1, 15)


def test_repulsion_under_the_network_adds():
    structures = CASES["small cell"]
    plain, lifted = ann(structures), ann(structures, repulsion=4.2)
    a, b, below = (
        plain.evaluate(structures),
        lifted.evaluate(structures),
        lifted.repulsion.evaluate(structures),
    )
    assert float(below.forces.abs().max()) > 1e-3
    torch.testing.assert_close(b.energies, a.energies + below.energies, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(b.forces, a.forces + below.forces, rtol=1e-13, atol=1e-13)


def test_wrong_settings_are_refused():
    descriptor = mb.Chebyshev(("Na",), 4.5, 6, 4.1, 3)
    with pytest.raises(
        ValueError, match="activation 'relu': choose from linear, tanh, sigmoid, mtanh, twist"
    ):
        mb.ANNPotential(descriptor, activation="relu")
    with pytest.raises(ValueError, match=r"repulsion 5.0: give a positive number, at most 4.5"):
        mb.ANNPotential(descriptor, repulsion=5.0)


def test_only_ann_potentials_have_files(tmp_path):
    Native(ann(CASES["two species"])).save(tmp_path / "a.npz")
    assert mb.load(tmp_path / "a.npz").members == 1
    with pytest.raises(TypeError, match="a PairPotential has no file"):
        LennardJones(0.01, 3.4, 8.0).save(tmp_path / "b.npz")
    with pytest.raises(TypeError, match="hidden 5: give a size for each hidden layer"):
        mb.ANNPotential(mb.Chebyshev("Na", 5.0, 2, 5.0, 2), hidden=5)


def test_files_of_another_kind_are_refused(tmp_path):
    archive.save(tmp_path / "x.npz", {"a": np.ones(2)}, {"kind": "Something", "version": 1})
    with pytest.raises(ValueError, match=r"x\.npz: holds a 'Something', expected a 'ANNPotential'"):
        mb.load(tmp_path / "x.npz")


def test_files_without_all_arrays_are_refused(tmp_path):
    potential = ann(CASES["one species"])
    arrays, metadata = potential._state()
    del arrays["networks.Na.weights.1"]
    archive.save(tmp_path / "x.npz", arrays, metadata)
    with pytest.raises(ValueError, match=r"(?s)x\.npz: .*all its parts.*networks.Na.weights.1"):
        mb.load(tmp_path / "x.npz")


ODD = {
    "descriptor": [None, {}, {"species": ["Na"]}, {"angular_order": 10**9}, {"radial_order": -1}, {"x": 1}],
    "hidden": [None, {}, {"Na": 5}, {"Na": [10**9, 10**9]}, {"Na": ["5"]}],
    "activation": [None, {"Na": ["relu", "relu"]}, {"Na": [[], {}]}, {"Na": ["tanh"]}],
    "members": [None, 10**9, -1, "2", 2.5],
    "repulsion": ["2.0", [], -1.0, 99.0],
    "reference_energies": [None, {"Na": "x"}, {}, {"Na": []}],
    "shortest": [None, [["Na", "Na"]], [["Na", "Na", "x"]], [1]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ODD for value in ODD[name]])
def test_odd_metadata_are_damage(tmp_path, name, value):
    arrays, metadata = ann(CASES["one species"])._state()
    if name == "descriptor" and value:
        value = metadata[name] | value if "species" not in value else value
    archive.save(tmp_path / "x.npz", arrays, {**metadata, name: value})
    with pytest.raises(archive.Damaged, match=r"x\.npz: not a potential with all its parts, or damaged"):
        mb.load(tmp_path / "x.npz")
