"""Files of arrays and metadata come back as they were, or not at all."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

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


def rewritten(path, metadata, **options):
    """The file with other metadata, and members as writestr takes them."""
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, array in {**ARRAYS, "__metadata__": np.array(json.dumps(metadata))}.items():
            content = io.BytesIO()
            np.save(content, np.asarray(array))
            file.writestr(f"{name}.npy", content.getvalue())


@pytest.mark.parametrize("metadata", [[], None, 1, {}, {"kind": "potential"}, {"kind": 1, "version": "1"}])
def test_odd_metadata_are_damage(path, metadata):
    rewritten(path, metadata)
    with pytest.raises(archive.Damaged, match=r"a\.npz: not a file written by mlipbook"):
        archive.load(path, kind="potential", version=1)


def test_a_flipped_bit_in_the_header_of_a_large_array_is_damage(path):
    archive.save(path, {"W": np.arange(30_000.0)}, METADATA)
    content = bytearray(path.read_bytes())
    content[content.index(b"'fortran_order': False, 'shape': (30000,)") + 34] ^= 2  # (10000,)
    path.write_bytes(content)
    with np.load(path) as members:  # numpy does not look at the checksum
        assert len(members["W"]) == 10_000
    with pytest.raises(archive.Damaged, match="Bad CRC-32"):
        archive.load(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,",
        b"{",
        b"\xff" * 20,
    ],
)
def test_headers_that_do_not_fit_are_damage(path, header):
    with zipfile.ZipFile(path, "w") as file:
        size = struct.pack("<H", len(header) + 1)
        file.writestr("W.npy", b"\x93NUMPY\x01\x00" + size + header + b"\n" + bytes(24))
    with pytest.raises(archive.Damaged, match=r"a\.npz"):
        archive.load_arrays(path)


def test_a_file_that_would_unpack_to_a_hundred_times_its_size_is_not_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("W.npy", "w") as member:
        for _ in range(100):
            member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(archive.Damaged, match="would unpack to 104857600"):
        archive.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_compressed_files_are_read(path):
    rewritten(path, METADATA, compression=zipfile.ZIP_DEFLATED)
    assert np.array_equal(archive.load(path)[0]["W"], ARRAYS["W"].numpy())


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="'kind'"):
        archive.save(tmp_path / "b.npz", ARRAYS, {"version": 1})
    with pytest.raises(ValueError, match="'names' holds Python objects"):
        archive.save(tmp_path / "b.npz", {"names": np.array([None, "x"])}, METADATA)
    with pytest.raises(TypeError):
        archive.save(tmp_path / "b.npz", ARRAYS, {**METADATA, "x": object()})
    assert not list(tmp_path.iterdir())
