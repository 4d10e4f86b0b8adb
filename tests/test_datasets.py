"""The bundled data: what their documentation says of them is true, and damage is noticed."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlipbook import datasets
from mlipbook.units import GPa, Ry, bohr

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_datasets.py"
PRINTED_FORCE = 1e-8 * Ry / bohr  # last digit that pw.x prints, eV/A


@pytest.fixture(scope="module")
def gamma() -> list[Atoms]:
    return datasets.load("na-gamma")


@pytest.fixture(scope="module")
def make_datasets():
    spec = importlib.util.spec_from_file_location("make_datasets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pressure(atoms: Atoms) -> float:
    """GPa."""
    return -atoms.get_stress()[:3].mean() / GPa


def test_what_is_there():
    assert list(datasets.available()) == ["na-gamma", "na-4k"]
    for name, line in datasets.available().items():
        entry = datasets.describe(name)
        assert len(datasets.load(name)) == entry["frames"]
        assert str(entry["frames"]) in line and entry["license"] == "CC0-1.0" and "CC0" in line
        assert "pw.x 6.7" in entry["labels"]["code"] and "non-cubic" in entry["gaps"]
        for part, count in entry["split"].items():
            assert len(datasets.load(name, part)) == count


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


def test_namesakes_with_k_points(gamma):
    by_name = {atoms.info["frame"]: atoms for atoms in gamma}
    for atoms in datasets.load("na-4k"):
        same = by_name[atoms.info["frame"]]
        assert np.array_equal(atoms.positions, same.positions) and np.array_equal(atoms.cell, same.cell)
        for key in ("split", "phase", "q6"):
            assert atoms.info[key] == same.info[key]
        energy = (same.get_potential_energy() - atoms.get_potential_energy()) / 128
        forces = same.get_forces() - atoms.get_forces()
        assert 0.0042 < energy < 0.0098
        assert 0.045 < pressure(same) - pressure(atoms) < 0.065
        assert 0.0051 < np.sqrt(np.mean(forces**2)) < 0.0100
    assert {atoms.info["split"] for atoms in datasets.load("na-4k")} == {"train", "valid", "test"}


def test_unknown_names():
    with pytest.raises(ValueError, match=r"unknown data set 'na'; there are na-gamma, na-4k"):
        datasets.load("na")
    with pytest.raises(ValueError, match=r"na-4k: unknown split 'training'; there are train, valid, test"):
        datasets.load("na-4k", "training")


def test_damaged_file(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(datasets._folder(), folder)
    path = folder / "na-4k.xyz.xz"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(datasets, "_folder", lambda: folder)
    with pytest.raises(ValueError, match=r"'na-4k'.*na-4k\.xyz\.xz is damaged.*--force-reinstall"):
        datasets.load("na-4k")
    assert len(datasets.load("na-gamma")) == 145
