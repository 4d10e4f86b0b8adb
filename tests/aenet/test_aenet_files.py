"""Files of aenet: what is read is written again as it was; everything damaged is refused, and says where."""

import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import aenet, archive
from mlipbook.aenet.network import RECORDS
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials.ann import ANNPotential
from mlipbook.structures import Structures

FOLDER = Path(__file__).parents[1] / "data" / "aenet"
NETWORK = FOLDER / "na_16_4" / "Na.nn"
SETUP = FOLDER / "na_16_4" / "Na.stp"


def records(content: bytes) -> list[tuple[int, int]]:
    """Start and end of each record's content."""
    spans, offset = [], 0
    while offset < len(content):
        (length,) = struct.unpack_from("<i", content, offset)
        spans.append((offset + 4, offset + 4 + length))
        offset += length + 8
    return spans


def number(name: str) -> int:
    return [record[0] for record in RECORDS].index(name) + 1


def changed(name: str, raw: bytes, at: int = 0) -> bytes:
    """The reference network with other content at the start of one record (or `at` bytes into it)."""
    content = bytearray(NETWORK.read_bytes())
    start = records(content)[number(name) - 1][0] + at
    content[start : start + len(raw)] = raw
    return bytes(content)


def i4(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def f8(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def refuse(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "X.nn"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"X\.nn: {match}"):
        aenet.read_network(path)


def test_layout():
    network = aenet.read_network(NETWORK)
    assert network.n_nodes.tolist() == [22, 20, 20, 1]
    assert network.weight_offsets.tolist() == [0, 460, 880, 901]
    assert [matrix.shape for matrix in network.matrices] == [(20, 23), (20, 21), (1, 21)]
    assert network.matrices[0][3, 2] == network.weights[20 * 2 + 3]  # column by column
    assert network.matrices[1][4, 5] == network.weights[460 + 20 * 5 + 4]
    assert network.types == ("Na",) and network.atomic_energies.tolist() == [-1.3]
    assert network.n_structures == 20 and network.n_atoms == 2560
    assert network.training_set == "train.bin.scaled"
    assert replace(network.setup, description="") == replace(aenet.read_setup(SETUP), description="")


def test_network_round_trip(tmp_path):
    aenet.write_network(tmp_path / "Na.nn", aenet.read_network(NETWORK))
    assert (tmp_path / "Na.nn").read_bytes() == NETWORK.read_bytes()


def test_truncated_anywhere(tmp_path):
    content = NETWORK.read_bytes()
    for n, (start, end) in enumerate(records(content), 1):
        where = rf"record {n} \({RECORDS[n - 1][0]}\): .* truncated"
        for stop in (start - 4, start - 1, start, (start + end) // 2, end, end + 3):
            refuse(tmp_path, content[:stop], where)
    refuse(tmp_path, content[: len(content) - 8], r"record 36 .* truncated")


def test_wrong_lengths(tmp_path):
    content = NETWORK.read_bytes()
    for n, (start, end) in enumerate(records(content), 1):
        for place in (start - 4, end):
            wrong = bytearray(content)
            wrong[place + 1] ^= 0x10
            why = "the file begins with" if place == 0 else f"expected {end - start} bytes, but the length"
            refuse(tmp_path, bytes(wrong), rf"record {n} \({RECORDS[n - 1][0]}\): {why}")
    refuse(tmp_path, content + b"\0\0\0\0", "4 bytes follow record 36")


def test_other_formats(tmp_path):
    refuse(tmp_path, b"           4\n          22\n", r"record 1 \(n_layers\): .* text; .*\.nn\.ascii")
    refuse(tmp_path, b"\0\0\0\x04\0\0\0\x04\0\0\0\x04", r"record 1 .* big-endian")
    refuse(tmp_path, b"\x89PNG\r\n\x1a\n" * 30, r"record 1 ")


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("n_layers", i4(-1), "2 to 100"),
        ("n_nodes_max", i4(21), "sizes"),
        ("n_weights", i4(-7), "a positive number of weights"),
        ("n_weights", i4(902), "sizes"),
        ("n_values", i4(67), "sizes"),
        ("n_nodes", i4(22, 20, 21), "sizes"),
        ("activations", i4(1, 5), "codes 0 to 4"),
        ("activations", i4(1, 1, 1), "0 for the output"),
        ("weight_offsets", i4(0, 461), "sums"),
        ("value_offsets", i4(0, 24), "sums"),
        ("weights", f8(float("nan")), "NaN"),
        ("element", b"Qq", "chemical symbol"),
        ("n_environment", i4(0), "1 to 118"),
        ("environment", b"??", "chemical symbols"),
        ("descriptor", b"Behler2011", "'Chebyshev'"),
        ("n_features", i4(24), "as many features as input nodes"),
        ("n_parameters", i4(5), "4"),
        ("feature_parameters", f8(6.5, 15.0), "orders"),
        ("feature_parameters", f8(-6.5), "cutoffs"),
        ("feature_mean", f8(float("inf")), "infinite"),
        ("normalized", i4(0), "normalized"),
        ("energy_scale", f8(0.0), "scale"),
        ("types", b"Ag", "the element's"),
    ],
)
def test_inconsistent_records(tmp_path, name, raw, expected):
    content = changed(name, raw)
    late = {"n_nodes_max": "n_nodes", "n_values": "n_nodes"}.get(name, name)
    if (name, expected) == ("n_weights", "sizes"):
        late = "n_nodes"
    refuse(tmp_path, content, rf"record {number(late)} \({late}\): .*{expected}")


def test_potential_round_trip(tmp_path):
    potential = aenet.read({"Na": NETWORK})
    (path,) = aenet.write(potential, tmp_path)
    assert path.name == "Na.nn" and path.read_bytes() == NETWORK.read_bytes()
    potential.networks["Na"].weights[1].data[0, 2, 20] += 1.0
    (path,) = aenet.write(potential, tmp_path)
    old, new = NETWORK.read_bytes(), path.read_bytes()
    different = {i for i in range(len(old)) if old[i] != new[i]}
    place = records(old)[number("weights") - 1][0] + 8 * (460 + 20 * 20 + 2)  # its bias column is the last
    assert len(old) == len(new) and different and different <= set(range(place, place + 8))


@pytest.fixture
def trained() -> ANNPotential:
    """A committee on two species with different orders of neighbors and different networks."""
    descriptor = Chebyshev(("Ag", "Se"), 6.0, 4, 5.0, 3, environments={"Se": ("Se", "Ag")})
    potential = ANNPotential(
        descriptor,
        hidden={"Ag": (6, 5), "Se": (7,)},
        activation={"Ag": ("twist", "mtanh"), "Se": ("sigmoid",)},
        members=2,
        seed=3,
    )
    for network in potential.networks.values():
        network.mean += 0.5
        network.mean_square += 1.7
    potential.energy_scale.fill_(3.0)
    potential.energy_shift.fill_(-0.2)
    potential.reference_energies = {"Ag": -1.5, "Se": -2.5}
    return potential


def cluster() -> Atoms:
    return Atoms("AgSeAg2Se", np.random.default_rng(5).uniform(0, 5, (5, 3)))


def test_potential_trained_here(tmp_path, trained):
    paths = aenet.write(trained, tmp_path, member=1)
    assert [path.name for path in paths] == ["Ag.nn", "Se.nn"]
    assert aenet.read_network(paths[1]).environment == ("Se", "Ag")
    read = aenet.read({"Ag": paths[0], "Se": paths[1]})
    structures = Structures.from_ase(cluster())
    expected = trained.evaluate(structures)
    found = read.evaluate(structures)
    assert np.array_equal(found.energies, expected.energies[1])
    np.testing.assert_allclose(found.forces, expected.forces[1], rtol=0, atol=1e-14)
    assert not np.allclose(found.energies, expected.energies[0])
    for path in aenet.write(read, tmp_path / "again"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_what_a_network_file_cannot_hold(tmp_path, trained):
    descriptor = Chebyshev(("Na",), 6.0, 4, 5.0, 3)
    with pytest.raises(ValueError, match="short-range repulsion"):
        aenet.write(ANNPotential(descriptor, repulsion=2.5), tmp_path)
    with pytest.raises(ValueError, match="member 2: the potential has members 0 to 1"):
        aenet.write(trained, tmp_path, member=2)
    short = ANNPotential(Chebyshev(("Ag", "Se"), 4.0, 4, 5.0, 3))
    with pytest.raises(ValueError, match="radial cutoff 4.0 A < angular cutoff 5.0 A"):
        aenet.write(short, tmp_path)
    assert not list(tmp_path.iterdir())


def test_networks_that_do_not_go_together(tmp_path, trained):
    silver, selenium = aenet.write(trained, tmp_path)
    with pytest.raises(ValueError, match=r"Se\.nn: the network is that of Se, not of Ag"):
        aenet.read({"Ag": selenium})
    with pytest.raises(ValueError, match=r"setup of Ag: its environment lists Se; give the file of Se"):
        aenet.read({"Ag": silver})
    with pytest.raises(ValueError, match="setup of Ag: Na is missing from its ENV"):
        aenet.read({"Ag": silver, "Se": selenium, "Na": NETWORK} | _same_scale(tmp_path, silver))
    with pytest.raises(ValueError, match="no files"):
        aenet.read({})
    trained.energy_scale.fill_(4.0)
    (_, other) = aenet.write(trained, tmp_path / "other")
    with pytest.raises(ValueError, match=r"Se\.nn: energy_scale 4\.0 differs from 3\.0 of .*Ag\.nn"):
        aenet.read({"Ag": silver, "Se": other})


def _same_scale(folder: Path, like: Path) -> dict[str, Path]:
    """A sodium network with the energy scale of another file."""
    network, other = aenet.read_network(NETWORK), aenet.read_network(like)
    changes = {"energy_scale": other.energy_scale, "energy_shift": other.energy_shift}
    aenet.write_network(folder / "Na.nn", replace(network, **changes))
    return {"Na": folder / "Na.nn"}


def test_setups_that_do_not_go_together():
    silver = aenet.Setup("Ag", ("Ag", "Se"), "", 1.0, 6.5, 12, 6.0, 5)
    selenium = replace(silver, element="Se", environment=("Se", "Ag"))
    assert aenet.descriptor([silver, selenium]).environments == {"Ag": ("Ag", "Se"), "Se": ("Se", "Ag")}
    with pytest.raises(ValueError, match=r"setup of Se: .* differ from Ag's \(6\.5, 12, 6\.0, 5\)"):
        aenet.descriptor([silver, replace(selenium, radial_order=11)])
    with pytest.raises(ValueError, match="Ag is missing from its ENV"):
        aenet.descriptor([silver, replace(selenium, environment=("Se",))])
    with pytest.raises(ValueError, match="retrain with radial_Rc >= angular_Rc"):
        aenet.descriptor([replace(s, radial_cutoff=4.0) for s in (silver, selenium)])
    assert aenet.descriptor([aenet.Setup("Na", ("Na",), "", 1.0, 4.0, 12, 6.0, 5)]).angular_cutoff == 6.0


def test_setup(tmp_path):
    setup = aenet.read_setup(SETUP)
    description = "  mlipbook reference setup Na (16,4)"
    assert setup == aenet.Setup("Na", ("Na",), description, 1.5, 6.5, 16, 6.5, 4)
    setup = aenet.Setup("Se", ("Se", "Ag"), "two\nlines", 0.75, 8.0, 16, 6.5, 4)
    aenet.write_setup(tmp_path / "Se.stp", setup)
    assert aenet.read_setup(tmp_path / "Se.stp") == setup


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ATOM Na", "", "no line such as 'ATOM Na'"),
        ("ATOM Na", "ATOM Qq", "unknown element 'Qq'"),
        ("ENV 1", "ENV 2", "unknown element 'RMIN'"),
        ("1.50d0", "short", "'short' where 'RMIN 1.5' has a number"),
        ("type=Chebyshev", "type=Behler", "basis 'Behler'; only Chebyshev"),
        ("radial_N = 16", "", "no line such as 'radial_N = 16'"),
        ("angular_N = 4", "angular_N = 4.5", "'4.5' where 'angular_N = 4' has a number"),
        ("angular_Rc = 6.5", "angular_Rc = -1", "cutoffs and r_min must be positive"),
    ],
)
def test_wrong_setup(tmp_path, old, new, expected):
    path = tmp_path / "X.stp"
    assert old in SETUP.read_text()
    path.write_text(SETUP.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"X\.stp: {expected}"):
        aenet.read_setup(path)


@pytest.mark.parametrize("read", [aenet.read_setup, aenet.read_xsf])
def test_a_binary_file_is_damaged(tmp_path, read):
    (tmp_path / "X").write_bytes(bytes(range(256)))
    with pytest.raises(archive.Damaged, match="X: not a text file of aenet, or damaged"):
        read(tmp_path / "X")


def test_a_setup_that_is_not_finite_is_refused(tmp_path):
    for old in ("1.50d0", "6.5"):
        (tmp_path / "X.stp").write_text(SETUP.read_text().replace(old, "nan"))
        with pytest.raises(ValueError, match="cutoffs and r_min must be positive"):
            aenet.read_setup(tmp_path / "X.stp")


def test_xsf():
    atoms = aenet.read_xsf(FOLDER / "structures" / "na128.xsf")
    reference = np.load(FOLDER / "na_16_4" / "reference.npz")
    assert atoms.pbc.all() and np.array_equal(atoms.positions, reference["positions"])
    assert np.array_equal(atoms.cell, reference["cell"])
    assert atoms.get_potential_energy() == -183.82060357674757
    isolated = aenet.read_xsf(FOLDER / "small" / "agse_cluster.xsf")
    assert not isolated.pbc.any() and set(isolated.symbols) == {"Ag", "Se"}


@pytest.mark.parametrize("pbc", [True, False])
def test_xsf_round_trip(tmp_path, pbc):
    positions, cell, forces = np.random.default_rng(0).normal(size=(3, 3, 3))
    atoms = Atoms("NaCl2", positions, cell=cell if pbc else None, pbc=pbc)
    atoms.calc = SinglePointCalculator(atoms, energy=np.pi, forces=1e-9 * forces)
    aenet.write_xsf(tmp_path / "a.xsf", atoms)
    again = aenet.read_xsf(tmp_path / "a.xsf")
    assert again == atoms and again.get_potential_energy() == atoms.get_potential_energy()
    assert np.array_equal(again.get_forces(), atoms.get_forces())


def test_wrong_xsf(tmp_path):
    path = tmp_path / "X.xsf"
    text = (FOLDER / "small" / "na2_conv_outside.xsf").read_text()
    for old, new, expected in (
        ("PRIMVEC", "", "no PRIMVEC"),
        ("2 1\n", "3 1\n", "line 12: expected El x y z"),
        ("Na  ", "Qq  ", "unknown element 'Qq'"),
        ("4.50000000000000", "4.5x", "line 10: expected El x y z"),
        ("0.0 0.0 0.0\n", "0.0 0.0\n", "line 10: expected El x y z"),
        ("4.50000000000000", "nan", "line 10: expected El x y z"),
        ("0.0 0.0 0.0\n", "0.0 -inf 0.0\n", "line 10: expected El x y z"),
        ("2 1\n", "1.9 1\n", "line 9: 1.9 atoms told"),
        ("2 1\n", "1 1\n", "line 9: 1 atoms told, others are there"),
        ("2 1\n", "inf 1\n", "line 9: expected the number of atoms"),
        ("2 1\n", "-2 1\n", "no atoms"),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=rf"X\.xsf: {expected}"):
            aenet.read_xsf(path)
    energy = re.search(r"total energy\s*=\s*(\S+)", text)[1]
    for wrong in ("nan", "inf", "-", "1.0.0"):
        path.write_text(text.replace(energy, wrong, 1))
        with pytest.raises(ValueError, match=rf"X\.xsf: total energy '{wrong}'; expected a number"):
            aenet.read_xsf(path)
    path.write_text(text.replace(energy, "-1.5D0", 1))
    assert aenet.read_xsf(path).get_potential_energy() == -1.5
    water = molecule("H2O")
    water.calc = SinglePointCalculator(water, energy=np.nan, forces=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="not finite"):
        aenet.write_xsf(path, water)
    water.calc = None
    with pytest.raises(ValueError, match="aenet wants an energy and forces"):
        aenet.write_xsf(path, water)
    water.calc = SinglePointCalculator(water, energy=1.0)
    with pytest.raises(ValueError, match="aenet wants an energy and forces"):
        aenet.write_xsf(path, water)
    water.pbc = (True, False, False)
    with pytest.raises(ValueError, match="periodic and isolated"):
        aenet.write_xsf(path, water)
