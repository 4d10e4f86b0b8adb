"""`python -m mlipbook`: what goes wrong is one line and an exit status; nothing is lost or half written."""

import json
from types import SimpleNamespace

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import mlipbook as mb
from mlipbook.__main__ import main
from mlipbook.bookkit import notebooks


class Counting(EMT):
    """EMT that counts."""

    calls = 0

    def calculate(self, *arguments, **keywords):
        Counting.calls += 1
        super().calculate(*arguments, **keywords)


def needs_an_argument(size):
    return EMT()


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder; gives exit status and what stands in stderr."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("some.xyz", [bulk("Al", a=3.9), bulk("Xe", "fcc", a=6.0), bulk("Al", a=4.0)])
    ase.io.write("aliens.xyz", [bulk("Xe", "fcc", a=6.0)])

    def run(*words):
        monkeypatch.setattr("sys.argv", ["mlipbook", *map(str, words)])
        return main(), capsys.readouterr().err

    return run


def test_label_writes_what_it_can_and_fails_if_anything_failed(shell, tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 structures have no label"):
        assert shell("label", "some.xyz", "ase.calculators.emt:EMT", "out.xyz")[0] == 1
    assert len(ase.io.read("out.xyz", ":")) == 2
    ase.io.write("good.xyz", bulk("Al", a=3.9))
    assert shell("label", "good.xyz", "ase.calculators.emt:EMT", "good-out.xyz")[0] == 0


def test_label_writes_no_empty_file_over_another(shell, tmp_path):
    (tmp_path / "out.xyz").write_text("what was there")
    with pytest.warns(UserWarning, match="1 of 1 structures have no label"):
        status, told = shell("label", "aliens.xyz", "ase.calculators.emt:EMT", "out.xyz")
    assert status == 1 and told.endswith("\nerror: none of 1 structures was labeled, nothing is written\n")
    assert (tmp_path / "out.xyz").read_text() == "what was there"
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("output", ["file/out.xyz", "folder"])
def test_label_notices_a_place_that_cannot_be_written_before_it_computes(shell, tmp_path, output):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    Counting.calls = 0
    status, told = shell("label", "some.xyz", "test_shell:Counting", output)
    assert status == 1 and f"{output} cannot be written" in told and Counting.calls == 0


def test_fit_writes_its_potential_and_notices_a_place_that_cannot_be_written_before_it_trains(
    shell, tmp_path, monkeypatch
):
    trained = []
    monkeypatch.setattr(
        mb, "fit", lambda *data, **options: trained.append(data) or SimpleNamespace(summary="")
    )
    (tmp_path / "file").write_text("not a folder")
    status, told = shell("fit", "--output", "file/out.npz")
    assert status == 1 and "file/out.npz cannot be written" in told and not trained
    assert shell("fit", "--output", "out.npz", "--members", 1)[0] == 0 and len(trained) == 1
    assert mb.load("out.npz").members == 1 and not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("structures", "calculator", "told"),
    [
        ("nofile.xyz", "ase.calculators.emt:EMT", "No such file or directory: 'nofile.xyz'"),
        ("notes.txt", "ase.calculators.emt:EMT", "notes.txt: not a file of structures that ASE reads"),
        ("binary.xyz", "ase.calculators.emt:EMT", "binary.xyz: not a file of structures that ASE reads"),
        ("empty.xyz", "ase.calculators.emt:EMT", "empty.xyz: not a file of structures that ASE reads"),
        (".", "ase.calculators.emt:EMT", "not a file of structures that ASE reads"),
        ("some.xyz", "nosuch:EMT", "nosuch:EMT: gives no calculator (ModuleNotFoundError: No module"),
        ("some.xyz", "ase.calculators.emt:Nope", "Nope: gives no calculator (AttributeError: module"),
        ("some.xyz", "ase.calculators.emt", "as module:name, such as ase.calculators.emt:EMT"),
        ("some.xyz", ":EMT", ":EMT: gives no calculator"),
        ("some.xyz", "test_shell:needs_an_argument", "gives no calculator (TypeError: needs_an_argument()"),
        ("some.xyz", "builtins:dict", "builtins:dict: makes a dict, which is no calculator of ASE"),
    ],
)
def test_label_says_in_one_line_what_was_wrong_with_the_call(shell, tmp_path, structures, calculator, told):
    (tmp_path / "notes.txt").write_text("some notes\n")
    (tmp_path / "binary.xyz").write_bytes(bytes(range(256)))
    (tmp_path / "empty.xyz").touch()
    status, error = shell("label", structures, calculator, "out.xyz")
    assert status == 1 and error.startswith("error: ") and told in error
    assert not (tmp_path / "out.xyz").exists()


def test_new_chapter_never_overwrites_an_executed_one(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    path = tmp_path / "ch99_x.ipynb"
    assert shell("new-chapter", "ch99_x")[0] == shell("new-chapter", "ch99_x")[0] == 0  # still a draft
    chapter = json.loads(path.read_text())
    code = next(cell for cell in chapter["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    path.write_text(json.dumps(chapter))
    before = path.read_bytes()
    status, told = shell("new-chapter", "ch99_x")
    assert status == 1 and "ch99_x.ipynb holds an executed chapter" in told
    assert path.read_bytes() == before
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    assert shell("new-chapter", "own/ch98_y.ipynb")[0] == 0  # a path is where it goes
    assert (tmp_path / "own" / "ch98_y.ipynb").exists()
