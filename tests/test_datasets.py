"""The bundled data: what their documentation says of them is true, and damage is noticed."""

import hashlib
import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import datasets
from mlipbook.studies.k_points import strained_cells
from mlipbook.units import GPa, Ry, bohr

ROOT = Path(__file__).parents[1]
PRINTED_FORCE = 1e-8 * Ry / bohr  # last digit that pw.x prints, eV/A
NAMES = list(datasets.available())
WITH_K_POINTS = ["na-4k", "na-8k", "na-32k"]


@pytest.fixture(scope="module")
def gamma() -> list[Atoms]:
    return datasets.load("na-gamma")


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_datasets():
    return script("make_datasets")


def pressure(atoms: Atoms) -> float:
    """GPa."""
    return -atoms.get_stress()[:3].mean() / GPa


@pytest.mark.slow
def test_what_is_there(make_datasets):
    assert list(make_datasets.SETS) == NAMES
    for name, line in datasets.available().items():
        entry, frames = datasets.describe(name), datasets.load(name)
        assert len(frames) == entry["frames"] == sum(entry["kinds"].values())
        assert str(entry["frames"]) in line and entry["license"] == "CC0-1.0" and "CC0" in line
        for part, count in entry["split"].items():
            assert len(datasets.load(name, part)) == count
        assert (datasets.FOLDER / entry["file"]).stat().st_size < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_says_where_its_numbers_come_from(name):
    frames = datasets.load(name)
    assert len({atoms.info["frame"] for atoms in frames}) == len(frames)
    for atoms in frames:
        assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)
        assert atoms.info["minus_TS_eV"] < 0 and atoms.info["kpoints"] == datasets.describe(name)["kpoints"]
        assert atoms.info["source"] and np.isfinite(atoms.info["md_temperature_K"])
        assert np.abs(atoms.get_forces().sum(axis=0)).max() < len(atoms) * PRINTED_FORCE
        assert atoms.info["provenance"].keys() >= {"calculator", "parameters", "versions", "date"}
    calculators = {atoms.info["provenance"]["calculator"] for atoms in frames}
    assert sorted(calculators) == datasets.describe(name)["calculators"]


def test_frames_that_chapters_rely_on_never_change(gamma):
    """Structures, labels and parts of the first 145 frames."""
    digest = hashlib.sha256()
    for atoms in gamma:
        energy = float(atoms.get_potential_energy())
        digest.update(f"{atoms.info['frame']} {atoms.info['split']} {energy!r}".encode())
        for array in (atoms.positions, atoms.cell.array, atoms.get_forces(), atoms.get_stress()):
            digest.update(np.ascontiguousarray(array).tobytes())
    assert digest.hexdigest() == "8e1457f262495c27433b2469955bc900f041556c8d325b05ca76fc03a8f4f11f"


def test_labels(gamma):
    first = gamma[0]
    assert first.info["frame"] == "md_0000" and first.info["kpoints"] == "Gamma"
    assert first.get_potential_energy() == -3357.74712374964
    assert first.get_potential_energy(force_consistent=True) == -3357.74712374964
    assert first.positions[0].tolist() == [15.92808048, 15.10240059, 15.60280279]
    assert first.get_forces()[0].tolist() == [0.08318265, 0.11710245, 0.02087890]
    volumes = [atoms.get_volume() / len(atoms) for atoms in gamma]
    assert 35.2 < min(volumes) < 35.3 and 44.4 < max(volumes) < 44.6
    thermal = [pressure(a) for a in gamma if a.info["frame"].startswith("md")]
    assert min(thermal) == pytest.approx(-0.36, abs=0.005) and max(thermal) == pytest.approx(0.63, abs=0.005)
    for atoms in gamma:
        assert len(atoms) == 128 and atoms.pbc.all()
        assert np.abs(atoms.get_forces().sum(axis=0)).max() < 128 * PRINTED_FORCE / 2


def test_split(gamma):
    parts = {part: datasets.load("na-gamma", part) for part in ("train", "valid", "test")}
    names = [atoms.info["frame"] for frames in parts.values() for atoms in frames]
    assert sorted(names) == sorted(atoms.info["frame"] for atoms in gamma) and len(set(names)) == 145
    for part, share in (("train", 0.70), ("valid", 0.15), ("test", 0.15)):
        frames = parts[part]
        assert len(frames) / 145 == pytest.approx(share, abs=0.02)
        solid = np.mean([atoms.info["phase"] == "solid" for atoms in frames])
        assert solid == pytest.approx(74 / 145, abs=0.04)
        assert any(atoms.info["frame"].startswith("hot") for atoms in frames)
        volumes = [atoms.get_volume() / 128 for atoms in frames]
        assert min(volumes) < 36.5 and max(volumes) > 43.5
    extreme = sorted(gamma, key=lambda atoms: atoms.get_volume())
    assert {extreme[0].info["split"], extreme[-1].info["split"]} == {"train"}


def test_phases_and_split_follow_their_rules(gamma, make_datasets):
    crystal = bulk("Na", "bcc", a=4.2, cubic=True) * 4
    assert make_datasets.steinhardt_q6(crystal) == pytest.approx(0.5107, abs=1e-4)
    q6 = [make_datasets.steinhardt_q6(atoms) for atoms in gamma]
    assert q6 == pytest.approx([atoms.info["q6"] for atoms in gamma], abs=0.6e-4)
    assert [make_datasets.phase(q) for q in q6] == [atoms.info["phase"] for atoms in gamma]
    assert make_datasets.split(gamma, q6) == {atoms.info["frame"]: atoms.info["split"] for atoms in gamma}
    assert all(a.info["phase"] == "liquid" for a in gamma if a.info["md_temperature_K"] >= 500)
    assert all(a.info["phase"] == "solid" for a in gamma if a.info["md_temperature_K"] in (200, 450))
    assert make_datasets.largest_force_correlation(gamma) < 0.22


@pytest.mark.parametrize("name", WITH_K_POINTS)
def test_namesakes_with_k_points(gamma, name):
    by_name = {atoms.info["frame"]: atoms for atoms in [*gamma, *datasets.load("na-gamma-active")]}
    frames = datasets.load(name)
    for atoms in frames:
        same = by_name[atoms.info["frame"]]
        np.testing.assert_allclose(atoms.positions, same.positions, rtol=0, atol=1e-8)
        np.testing.assert_allclose(atoms.cell, same.cell, rtol=0, atol=1e-8)
        for key in ("split", "phase", "q6", "source", "md_temperature_K", "kind", "forces_spread_meV_A"):
            assert atoms.info.get(key) == same.info.get(key)
        energy = (same.get_potential_energy() - atoms.get_potential_energy()) / 128
        forces = same.get_forces() - atoms.get_forces()
        assert 0.0045 < np.sqrt(np.mean(forces**2)) < 0.0135
        if same.get_volume() < 45 * 128:  # two liquids of lower density are no longer like free electrons
            assert 0.0025 < energy < 0.0110
            assert 0.033 < pressure(same) - pressure(atoms) < 0.075
    assert "test" in {atoms.info["split"] for atoms in frames}


def test_one_k_point_softens_strained_cells():
    by_name = {atoms.info["frame"]: atoms for atoms in datasets.load("na-gamma-active")}
    strained = [a for a in datasets.load("na-4k") if a.info.get("kind", "").startswith("strained")]
    softer, shears = [], []
    for atoms in strained:
        same = by_name[atoms.info["frame"]]
        np.testing.assert_allclose(atoms.positions, same.positions, rtol=0, atol=1e-8)
        assert (atoms.info["split"], atoms.info["kind"]) == (same.info["split"], same.info["kind"])
        softer.append((same.get_stress() - atoms.get_stress())[3:] / GPa)
        shears.append(strained_cells.shear(atoms))
    value, sem = strained_cells.slope(np.array(shears), np.array(softer))
    assert -4.5 < value < -1.5 and sem < 0.5


def test_large_cells_of_both_phases_are_in_each_part(make_datasets):
    frames = datasets.load("na-1024-gamma")
    assert {len(atoms) for atoms in frames} == {1024}
    for part in datasets.SPLITS:
        assert {a.info["phase"] for a in frames if a.info["split"] == part} == {"solid", "liquid"}
    q6 = [make_datasets.steinhardt_q6(atoms) for atoms in frames]
    assert make_datasets.split(frames, q6) == {atoms.info["frame"]: atoms.info["split"] for atoms in frames}
    assert {atoms.info["provenance"]["device"] for atoms in frames} == {"NVIDIA H100 80GB HBM3"}
    assert make_datasets.largest_force_correlation(frames) < 0.1  # though 0.44 ps apart


def test_active_learning_covers_what_was_missing():
    frames = datasets.load("na-gamma-active")
    kinds = Counter(atoms.info["kind"] for atoms in frames)
    assert kinds == datasets.describe("na-gamma-active")["kinds"]
    assert kinds.keys() == {"solid", "liquid", "supercooled", "strained solid", "strained liquid"}
    strained = [atoms for atoms in frames if atoms.info["kind"].startswith("strained")]
    shears = np.array([strained_cells.shear(atoms) for atoms in strained])
    assert np.sqrt((shears**2).mean(0)) == pytest.approx(np.full(3, 0.03 / 3**0.5), rel=0.3)
    assert abs(shears).max() < 0.035
    pairs = [atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)].min() for atoms in frames]
    assert min(pairs) > 2.3
    parts = datasets.describe("na-gamma-active")["split"]
    assert 0.1 < (parts["valid"] + parts["test"]) / len(frames) < 0.2


@pytest.mark.slow
def test_data_cards_are_of_these_data():
    assert script("make_data_cards").page() == (ROOT / "book" / "data_sets.md").read_text(), (
        "run: python scripts/make_data_cards.py"
    )


def test_mistakes_in_labels_are_refused(tmp_path, make_datasets, gamma):
    def labeled(atoms: Atoms, **info) -> list:
        copy = atoms.copy()
        copy.info = {**atoms.info, **info}
        copy.calc = atoms.calc
        return [make_datasets.Labeled(copy, (), tmp_path / "x.xyz")]

    first, second = gamma[:2]
    with pytest.raises(ValueError, match=r"na-4k: frames md_0000 are there more than once"):
        make_datasets.parts_of("na-4k", labeled(first) + labeled(first), {})
    with pytest.raises(ValueError, match=r"na-8k: md_0001 in .*x\.xyz is another structure than at Gamma"):
        make_datasets.check_namesakes("na-8k", labeled(first, frame="md_0001"), {"md_0001": second})
    stray = labeled(first, frame="new")
    del stray[0].atoms.info["split"]
    with pytest.raises(ValueError, match=r"na-4k: frames new have no namesake at Gamma and no split"):
        make_datasets.parts_of("na-4k", stray, {})
    assert make_datasets.parts_of("na-4k", labeled(first), {"md_0000": "test"}) == {"md_0000": "test"}
    assert make_datasets.parts_of("na-1024-gamma", stray, {}) == {"new": make_datasets.PATTERN[0]}


def test_a_namesake_says_where_a_structure_comes_from(tmp_path, make_datasets, gamma):
    bare = gamma[0].copy()
    bare.info = {"frame": "md_0000", "md_temperature_K": 1.0}
    frame = make_datasets.Labeled(bare, (), tmp_path / "x.xyz")
    make_datasets.add_origins([frame], {"md_0000": gamma[0]})
    assert bare.info["source"] == gamma[0].info["source"] and bare.info["md_temperature_K"] == 1.0
    assert "provenance" not in bare.info and "split" not in bare.info


def test_frames_are_written_with_the_digits_they_came_with(tmp_path, make_datasets, gamma):
    lines = "Na 15.92808048 15.10240059 15.60280279 0.08318265 0.11710245 0.02087890"
    path = tmp_path / "x.xyz"
    text = make_datasets.formatted(make_datasets.Labeled(gamma[0], (lines,), path), "Gamma", "test")
    count, header, *atoms = text.splitlines()
    assert count == "128" and atoms == [lines] and "split=test" in header
    assert " energy=-3357.74712374964 free_energy=-3357.74712374964 " in header
    damaged = gamma[0].copy()
    damaged.info = gamma[0].info
    results = {**gamma[0].calc.results, "forces": gamma[0].get_forces() + 1e-4}
    damaged.calc = SinglePointCalculator(damaged, **results)
    with pytest.raises(ValueError, match=r"x\.xyz, frame md_0000: forces sum to"):
        make_datasets.formatted(make_datasets.Labeled(damaged, (), path), "Gamma", "test")


def test_labels_are_compared_with_another_code_or_device(gamma):
    compared = script("compare_codes").compared
    bundled = datasets.load("na-1024-gamma")[0]
    again = bundled.copy()
    again.info = {"frame": bundled.info["frame"], "code": "mlipbook.dft x", "device": "cpu"}
    forces = bundled.get_forces() + [0.003, 0, 0]
    energy = bundled.get_potential_energy() + 1.024
    again.calc = SinglePointCalculator(again, energy=energy, forces=forces, stress=bundled.get_stress())
    target, row = compared("na-1024-gamma", again, bundled)
    assert target == "dft-devices" and row["bundled device"].startswith("NVIDIA") and row["device"] == "cpu"
    assert row["energy"] == pytest.approx(1) and row["force largest"] == pytest.approx(3)
    assert row["force rms"] == pytest.approx(3 / 3**0.5) and row["stress largest"] == 0
    again.info["device"] = row["bundled device"]
    with pytest.raises(ValueError, match=r"na-1024-gamma: both labels of frame big_.* are of this package"):
        compared("na-1024-gamma", again, bundled)
    named = gamma[1].copy()
    named.info, named.calc = gamma[1].info | {"code": "mlipbook.dft x"}, gamma[1].calc
    with pytest.raises(ValueError, match="another structure than in the data set"):
        compared("na-gamma", named, gamma[0])
    same = gamma[0].copy()
    same.info, same.calc = gamma[0].info | {"code": "mlipbook.dft x"}, gamma[0].calc
    assert compared("na-gamma", same, gamma[0])[0] == "dft-against-pwx"


def test_unknown_names():
    with pytest.raises(ValueError, match=r"unknown data set 'na'; there are na-gamma, na-"):
        datasets.load("na")
    with pytest.raises(ValueError, match=r"na-4k: unknown split 'training'; there are train, valid, test"):
        datasets.load("na-4k", "training")


def test_damaged_file(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(datasets.FOLDER, folder)
    path = folder / "na-4k.xyz.xz"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(datasets, "FOLDER", folder)
    with pytest.raises(ValueError, match=r"'na-4k'.*na-4k\.xyz\.xz is damaged.*--force-reinstall"):
        datasets.load("na-4k")
    assert len(datasets.load("na-gamma")) == 145
