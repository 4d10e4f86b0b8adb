"""Studies are run by name: options from signatures, results with their provenance, errors in a line."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from mlipbook.__main__ import main
from mlipbook.studies import command
from mlipbook.studies.command import Result

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"python -m mlipbook study ((?:\\\n|[^\n`#])+)")


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "mlipbook" / "__main__.py"), *words])
    return main()


@pytest.mark.parametrize("name", command.names())
def test_the_help_of_a_study_has_an_example_of_each_command_that_parses(name):
    parser = command.parser_of(name)
    examples = [shlex.split(text.replace("\\\n", " ")) for text in NAMED.findall(parser.description)]
    found = {parser.parse_args(words[1:]).function.__name__ for words in examples if words[0] == name}
    assert found == {function.__name__ for function in command.commands(name)}


def test_every_command_that_a_text_names_exists():
    texts = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("book/*.ipynb")]
    texts += [ROOT / "mlipbook" / "bookkit" / "profiles.toml", ROOT / "scripts" / "make_data_cards.py"]
    found = [re.findall(r"mlipbook study ([a-z]\w*\.[^`,:\n]*)", path.read_text()) for path in texts]
    named = [words.split() for lines in found for words in lines]
    assert len(named) > 15
    for name, *rest in (words for words in named if words):
        functions = command.commands(name)
        assert len(functions) == 1 or rest[0] in {f.__name__.replace("_", "-") for f in functions}, name


def test_options_are_the_arguments_of_the_function_with_their_defaults():
    words = ["volume", "short", "--folder", "F", "--seeds", "1", "2", "--error", "1e-3"]
    found = command.parser_of("table1.runs").parse_args(words)
    assert found.quantities == ["volume", "short"] and found.folder == Path("F") and found.seeds == [1, 2]
    assert found.error == 1e-3 and found.max_steps == 12_000 and found.phases == ("solid", "liquid")
    assert command.parser_of("conductivity.runs").parse_args(["--folder", "F"]).replicas is None


def test_all_studies_are_listed_without_being_imported(monkeypatch, capsys):
    monkeypatch.setattr(command, "import_module", None)
    assert run(monkeypatch, "study") == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith("usage: ") and [line.split()[0] for line in lines] == command.names()


def test_a_result_is_kept_with_the_command_that_made_it(monkeypatch, tmp_path, capsys):
    out = tmp_path / "gas.json"
    assert run(monkeypatch, "study", "barostats.ideal_gas", "--profile", "smoke", "--out", str(out)) == 0
    kept = json.loads(out.read_text())
    assert kept["provenance"]["command"] == (
        "python -m mlipbook study barostats.ideal_gas --profile smoke --out gas.json"
    )
    assert kept["provenance"]["device"] == "cpu" and kept["provenance"]["seconds"] > 0
    assert set(kept["records"]) == {
        line.rsplit("±", 1)[0].rsplit(maxsplit=1)[0] for line in capsys.readouterr().out.splitlines()
    }


def test_what_a_study_knows_of_its_runs_goes_before_the_command_s_own(monkeypatch, tmp_path):
    def study(seed: int = 3) -> Result:
        return Result({}, {"table": [1]}, seconds=7.0, device="cpu, 8 cores")

    command._run(command.command(saves="x")(study), threads=1, result=tmp_path / "x.json", seed=5)
    kept = json.loads((tmp_path / "x.json").read_text())
    assert kept["table"] == [1]
    assert [kept["provenance"][key] for key in ("seconds", "device", "seed")] == [7.0, "cpu, 8 cores", 5]


@pytest.mark.parametrize(
    "words, says",
    [
        (["no.study"], "there is no study 'no.study'; there are barostats.ideal_gas"),
        (["barostats"], "there is no study 'barostats'; there are barostats.ideal_gas"),
        (["conductivity.runs", "--folder", "F", "--names", "heat"], "no run heat; there are equilibrium-"),
        (["table1.coexistence_report", "--folder", "nowhere"], "No such file"),
    ],
)
def test_bad_input_is_told_in_a_line_and_fails(monkeypatch, capsys, words, says):
    assert run(monkeypatch, "study", *words) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and says in text and len(text.splitlines()) == 1


def test_a_study_that_needs_stored_results_says_where_they_are(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "study", "free_energies.finite_size") == 1
    text = capsys.readouterr().err
    assert "128-4k.npz" in text and "results/full is not here: run studies from the root" in text


@pytest.mark.parametrize(
    "words, says",
    [
        (["table1.runs", "volumes", "--folder", "F"], "invalid choice: 'volumes'"),
        (["table1.runs", "volume"], "required: --folder"),
        (["melting.runs"], "required: COMMAND"),
        (["barostats.ideal_gas", "--profile", "huge"], "invalid choice: 'huge'"),
    ],
)
def test_words_that_no_option_has_are_refused_with_those_there_are(monkeypatch, capsys, words, says):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "study", *words)
    assert stop.value.code == 2 and says in capsys.readouterr().err
