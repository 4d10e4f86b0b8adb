"""JSON files come back as they were, or not at all."""

import json
import math

import pytest

from mlipbook import archive

CONTENT = {"records": {"a": {"value": 1 / 3, "n": 3}}, "note": "\u00c5", "list": [1, 1.0, None, True]}


@pytest.fixture
def path(tmp_path):
    archive.write_json(tmp_path / "a.json", CONTENT)
    return tmp_path / "a.json"


def test_round_trip(path):
    assert archive.read_json(path) == CONTENT
    assert json.loads(path.read_text())["records"] == CONTENT["records"]  # readable by anyone


def test_a_file_without_checksum_is_read(path):
    path.write_text(json.dumps(CONTENT))
    assert archive.read_json(path) == CONTENT
    path.write_text("{}")
    assert archive.read_json(path) == {}


def test_the_order_and_layout_of_a_file_do_not_matter(path):
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert archive.read_json(path) == CONTENT


@pytest.mark.parametrize("wrong", [b"[]", b"null", b"1", b"", b"{", b'{"a": \xff}', b"[" * 100_000])
def test_what_is_no_object_is_damaged(path, wrong):
    path.write_bytes(wrong)
    with pytest.raises(archive.Damaged, match=r"a\.json: not a file written by mlipbook, or damaged"):
        archive.read_json(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.333", "0.334"), ('"sha256"', '"sha257"'), ('"n"', '"m"'), ("null", "1"), ("1.0", "1")],
)
def test_another_value_under_the_same_checksum_is_damaged(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(archive.Damaged, match="checksum"):
        archive.read_json(path)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="'sha256' is the checksum's"):
        archive.write_json(tmp_path / "a.json", {"sha256": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        archive.write_json(tmp_path / "a.json", {"a": math.nan}, allow_nan=False)
    with pytest.raises(TypeError):
        archive.write_json(tmp_path / "a.json", {"a": object()})
    with pytest.raises(FileNotFoundError):
        archive.read_json(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
