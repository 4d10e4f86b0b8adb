"""Every stored chapter: its stamp, its outputs, the frame, and its expected values."""

import pytest

from mlipbook.bookkit import PROFILES, expected, frame, notebooks

CHAPTERS = notebooks.paths()
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def test_the_book_has_chapters():
    assert CHAPTERS


@chapters
def test_outputs_are_those_of_the_code(path):
    assert notebooks.problems(path) == []


@chapters
def test_chapter_keeps_the_frame(path):
    assert frame.problems(path) == []


@chapters
def test_stored_results_are_as_expected(path):
    profile = notebooks.read(path)["metadata"]["mlipbook"]["profile"]
    assert profile == notebooks.own_profile(path)
    assert expected.compare(path, profile) == []


@chapters
def test_expected_values_would_refuse_known_mistakes(path):
    entries = expected.load(path)["records"]
    checked = [profile for profile in PROFILES if profile != "full"]
    assert entries
    assert [e for name in entries for p in checked for e in expected.powerless(name, entries[name], p)] == []


def test_names_of_figures_are_unique_in_the_book():
    names = [name for path in CHAPTERS for name in frame.figure_names(path)]
    assert sorted(names) == sorted(set(names))


def test_every_expected_file_belongs_to_a_chapter():
    files = (notebooks.BOOK / "expected").glob("*.toml")
    assert {file.stem for file in files} == {path.stem for path in CHAPTERS}
