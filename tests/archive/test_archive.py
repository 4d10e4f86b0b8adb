"""Files of arrays and metadata come back as they were, or not at all."""

import pickle

import numpy as np
import pytest
import torch

from mlipbook import archive

ARRAYS = {"W": torch.arange(6, dtype=torch.float64).reshape(2, 3) / 7, "n": np.arange(3)}
METADATA = {"kind": "potential", "version": 1, "hidden": [20, 20], "note": None}


@pytest.fixture
def path(tmp_path):
    archive.save(tmp_path / "a.npz", ARRAYS, METADATA)
    return tmp_path / "a.npz"


def test_round_trip(path):
    arrays, metadata = archive.load(path, kind="potential", version=1)
    assert metadata == METADATA and list(arrays) == ["W", "n"]
    assert arrays["W"].dtype == np.float64 and np.array_equal(arrays["W"], ARRAYS["W"].numpy())
    assert arrays["n"].dtype == ARRAYS["n"].dtype and np.array_equal(arrays["n"], ARRAYS["n"])


def test_other_kind_or_version(path):
    with pytest.raises(ValueError, match=r"a\.npz: holds a 'potential', expected a 'checkpoint'"):
        archive.load(path, kind="checkpoint")
    with pytest.raises(ValueError, match="update mlipbook"):
        archive.load(path, kind="potential", version=0)


def test_damage(path):
    content = path.read_bytes()
    truncated = [content[:n] for n in (0, 1, 50, len(content) // 2, len(content) - 1)]
    flipped = bytearray(content)
    flipped[content.index(ARRAYS["W"].numpy().tobytes()) + 9] ^= 1
    foreign = [b"hello\n" * 100, pickle.dumps([1, 2])]
    for wrong in (*truncated, bytes(flipped), *foreign):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"a\.npz: not a file written by mlipbook, or damaged"):
            archive.load(path)
    with open(path, "wb") as file:
        np.savez(file, W=np.ones(2))
    with pytest.raises(ValueError, match="not a file written by mlipbook"):
        archive.load(path)
    with pytest.raises(FileNotFoundError):
        archive.load(path.with_name("none.npz"))


def test_nothing_is_replaced_by_half_a_file(path):
    content = path.read_bytes()
    with pytest.raises(RuntimeError), archive.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("killed")
    assert path.read_bytes() == content and [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="'kind'"):
        archive.save(tmp_path / "b.npz", ARRAYS, {"version": 1})
    with pytest.raises(ValueError, match="'names' holds Python objects"):
        archive.save(tmp_path / "b.npz", {"names": np.array([None, "x"])}, METADATA)
    with pytest.raises(TypeError):
        archive.save(tmp_path / "b.npz", ARRAYS, {**METADATA, "x": object()})
    assert not list(tmp_path.iterdir())
