"""The book's harness: profiles, records, claims, sliders, stamps, the frame's lint, expected values."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch

from mlipbook import archive, bookkit
from mlipbook.__main__ import main
from mlipbook.bookkit import expected, frame, notebooks, pages, profiles, records, results, sliders, stamps

matplotlib.use("Agg")
TEMPLATE = Path(frame.__file__).parent / "chapter.txt"


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """The template chapter, executed at the colab profile."""
    folder = tmp_path_factory.mktemp("book")
    path = folder / "ch99_template.ipynb"
    path.write_text(json.dumps(frame.from_text(TEMPLATE.read_text())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "EXECUTED", folder / "executed")
        executed, _ = notebooks.run(path, "colab")
    return executed


@pytest.fixture
def changed(chapter, tmp_path):
    """A function that changes the notebook's dictionary and returns the path of the changed copy."""

    def change(edit):
        notebook = json.loads(chapter.read_text())
        edit(notebook)
        path = tmp_path / chapter.name
        path.write_text(json.dumps(notebook))
        return path

    return change


@pytest.fixture
def shown(monkeypatch):
    """What cells display, as (plain, html, data)."""
    found = []
    for module in (records, sliders, results):
        monkeypatch.setattr(
            module,
            "show",
            lambda plain, html, mime=None, data=None: found.append((plain, html, data)),
        )
    monkeypatch.setattr(records, "_records", {})
    return found


def code(notebook, word):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return next(cell for cell in cells if word in "".join(cell["source"]))


# ---- profiles


@pytest.mark.parametrize("chapter_name", profiles.chapters())
def test_profiles_of_a_chapter_have_the_same_keys(chapter_name):
    keys = [set(vars(bookkit.profile(chapter_name, name))) for name in bookkit.PROFILES]
    assert keys[0] and keys[0] == keys[1] == keys[2]
    assert set(profiles._tables()[chapter_name]) == set(bookkit.PROFILES)


def test_unknown_profile_and_chapter_are_named_with_what_there_is():
    with pytest.raises(ValueError, match=r"unknown profile 'huge'.*smoke, colab, full"):
        bookkit.profile("template", "huge")
    with pytest.raises(ValueError, match=r"no chapter 'cooking'.*template"):
        bookkit.profile("cooking", "smoke")


# ---- records and claims


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), torch.tensor(1.5), torch.ones(1)[0] * 1.5])
def test_record_takes_any_scalar(shown, value):
    bookkit.record("x", value, sem=np.float64(0.1), n=torch.tensor(4), unit="eV")
    assert shown[0][2] == {"name": "x", "value": 1.5, "sem": 0.1, "n": 4, "unit": "eV"}


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.ones(3), "many", None])
def test_record_refuses_what_is_not_one_finite_number(shown, value):
    with pytest.raises(ValueError, match="record 'x'"):
        bookkit.record("x", value)


def test_record_again_replaces_and_summary_shows_all(shown):
    bookkit.record("x", 1.0)
    bookkit.record("x", 2.0)
    bookkit.record("<y>", 3.0, unit="GPa")
    bookkit.summary()
    assert records.recorded()["x"]["value"] == 2.0
    assert shown[-1][0].splitlines() == ["x  2", "<y>  3  GPa"]
    assert "&lt;y&gt;" in shown[-1][1]


@pytest.mark.parametrize(
    "value, sem, text",
    [
        (-0.06123, 0.00081, "-0.06123 ± 0.00081"),
        (12.3456, 0.21, "12.35 ± 0.21"),
        (12345.6, 120.0, "1.235e+04 ± 1.2e+02"),
        (0.123456789, None, "0.12346"),
        (3.0, 0.0, "3"),
    ],
)
def test_values_are_printed_to_two_digits_of_their_error(value, sem, text):
    assert records.format_value(value, sem) == text


def test_claims_need_a_known_id_a_known_status_and_recorded_numbers(shown):
    bookkit.record("bias", -0.06, sem=0.001)
    bookkit.claim("pressure-fit", "partly", "It is 0.06 GPa.", records=["bias"])
    assert shown[-1][2]["records"][0]["value"] == -0.06
    with pytest.raises(ValueError, match="no claim 'ghost'.*pressure-fit"):
        bookkit.claim("ghost", "partly", "", records=["bias"])
    with pytest.raises(ValueError, match="'yes' is none of reproduced"):
        bookkit.claim("pressure-fit", "yes", "", records=["bias"])
    for names in (["other"], []):
        with pytest.raises(ValueError, match="rests on numbers not recorded yet"):
            bookkit.claim("pressure-fit", "partly", "", records=names)


def test_every_claim_of_the_paper_is_complete():
    for id, entry in records.claims().items():
        assert set(entry) == {"statement", "where", "chapter"}, id
        assert 1 <= entry["chapter"] <= 12 and entry["statement"].endswith(".")


def test_check_says_what_to_try(shown):
    bookkit.check("energy", torch.tensor(False), "mind the sign")
    bookkit.check("energy", np.bool_(True), "mind the sign")
    bookkit.check("energy", None, "mind the sign")
    assert [plain for plain, _, _ in shown] == [
        "✗ energy: mind the sign",
        "✓ energy",
        "○ energy: not answered yet",
    ]
    assert [data["passed"] for _, _, data in shown] == [False, True, None]


# ---- slider


def test_slider_is_one_accessible_offline_output(shown):
    import matplotlib.pyplot as plt

    figures = [plt.figure(figsize=(2, 1)) for _ in range(3)]
    bookkit.slider(figures, ["1 K", "2 K", "<3 K"], title="T", alt="A curve", caption="Drag.", start=1)
    html = shown[0][1]
    assert len(shown) == 1 and html.count('type="range"') == 1 and 'value="1"' in html
    assert re.findall(r'alt="([^"]*)"', html) == ["A curve, 1 K", "A curve, 2 K", "A curve, &lt;3 K"]
    assert [style for style in re.findall(r"display:(none|inline)\"", html)] == ["none", "inline", "none"]
    assert "http" not in html and not plt.get_fignums()


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"]])
def test_slider_needs_a_label_per_frame(shown, labels):
    with pytest.raises(ValueError, match="label for each"):
        bookkit.slider([b"<svg/>", b"<svg/>"][: len(labels)], labels, title="", alt="", caption="")


# ---- paper-scale results


@pytest.mark.parametrize("name", ["demo.npz", "folder/demo.npz"])
def test_full_files_are_the_repository_s_or_the_installed_package_s(tmp_path, monkeypatch, name):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "mlipbook")
    with pytest.raises(FileNotFoundError, match=f"no stored result {name}: an installed package has those"):
        results.full_file(name)
    for folder in (tmp_path / "mlipbook" / "results", tmp_path / "results" / "full"):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.touch()
        assert results.full_file(name) == path


@pytest.mark.parametrize("gpu", [False, True])
def test_a_chapter_takes_a_gpu_only_where_it_has_run_on_one(gpu, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(profiles, "devices", lambda: {"ch05_ef_efp": {"date": "2030-01-01"}})
    assert bookkit.device("ch05_ef_efp") == ("cuda" if gpu else "cpu") and not capsys.readouterr().out
    assert bookkit.device("ch00_teaser") == "cpu"
    assert ("has not run on a GPU since its code changed" in capsys.readouterr().out) == gpu


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_what_is_told_of_a_chapter_on_a_gpu_is_of_the_code_that_it_has(path):
    ran = profiles.devices().get(path.stem)
    now = stamps.digest(json.dumps(notebooks.depends(notebooks.read(path))))
    assert ran is None or ran["depends"] == now, (
        f"take {path.stem} out of devices.toml, or run it there: {now}"
    )


def test_sizes_of_a_chapter_may_be_changed_where_they_are_known():
    own = bookkit.profile("teaser", "smoke")
    assert vars(bookkit.profile("teaser", "smoke", p_W=[0.0, 3.0])) == {**vars(own), "p_W": [0.0, 3.0]}
    with pytest.raises(ValueError, match="chapter 'teaser' has no p_w; it has .*p_W"):
        bookkit.profile("teaser", "smoke", p_w=[0.0, 3.0])


def test_paper_scale_results_travel_with_their_provenance(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    path = tmp_path / "results" / "full" / "demo.json"
    bookkit.record("bias", 1.0, sem=0.1)
    full = {"bias": {"value": 1.2, "sem": 0.01, "n": 5, "unit": "GPa"}}
    bookkit.save_result(path, full, seconds=12.3, seed=4, device="H100", curve=[1, 2])
    content = bookkit.paper_scale("demo")
    assert content["curve"] == [1, 2] and content["provenance"]["seed"] == 4
    assert set(content["provenance"]) == set(results.PROVENANCE)
    assert "bias  1.00 ± 0.10  1.200 ± 0.010  GPa" in shown[-1][0]
    assert [file.name for file in path.parent.iterdir()] == ["demo.json"]
    assert bookkit.paper_scale("absent") is None and "no stored result absent.json" in shown[-1][0]
    path.write_text('{"records": {}, "provenance": {"seed": 1}}')
    with pytest.raises(archive.Damaged, match=r"demo.json: not a result of .*no commit"):
        bookkit.paper_scale("demo")


def test_a_result_whose_number_was_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    path = tmp_path / "results" / "full" / "demo.json"
    bookkit.save_result(path, {"bias": {"value": 1.2, "sem": 0.01, "n": 5, "unit": "GPa"}}, 1.0, seed=4)
    path.write_text(path.read_text().replace("1.2", "1.3"))
    with pytest.raises(archive.Damaged, match="demo.json: .*checksum"):
        bookkit.paper_scale("demo")


def test_a_result_shows_no_markup_of_others(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    record = {"<script>": {"value": 1.0, "sem": None, "n": None, "unit": "<b>"}}
    path = tmp_path / "results" / "full" / "demo.json"
    bookkit.save_result(path, record, seconds=1.0, seed=4, device="<img src=x>")
    bookkit.paper_scale("demo")
    assert "&lt;img src=x&gt;" in shown[-1][1] and not re.search("<(script|b|img)", shown[-1][1])
    bookkit.paper_scale("<script>")
    assert "<script>" not in shown[-1][1]


@pytest.mark.parametrize("name", ["theirs", "mlipbook"])
@pytest.mark.parametrize("folder", [".", "lib/site-packages"])
def test_provenance_names_a_commit_of_our_own_repository_only(tmp_path, monkeypatch, name, folder):
    """Installed into the repository of others, the commit there says nothing of us."""
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    author = ["-c", "user.name=x", "-c", "user.email=x@y.z"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(results, "ROOT", tmp_path / folder)
    told = results._commit()
    if (name, folder) == ("mlipbook", "."):
        assert re.fullmatch("[0-9a-f]{40}", told)
    else:
        assert told.startswith("version ")


# ---- stamps


@pytest.mark.slow
def test_the_template_runs_and_passes_gate_and_lint(chapter):
    assert notebooks.problems(chapter) == []
    assert frame.problems(chapter) == []
    assert set(notebooks.records(notebooks.read(chapter))) == {"mean", "largest difference"}
    assert "papermill" not in chapter.read_text()


def set_output(notebook, output):
    code(notebook, "def square")["outputs"] = [output]


STREAM = {"output_type": "stream", "name": "stdout"}
GATE = {
    "code changed": lambda n: code(n, "def square")["source"].append("\nx = 1"),
    "never run": lambda n: n["metadata"].pop("mlipbook"),
    "execution counts": lambda n: code(n, "def square").update(execution_count=99),
    "error ValueError": lambda n: set_output(
        n, {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    ),
    "stderr": lambda n: set_output(n, {**STREAM, "name": "stderr", "text": ["a warning"]}),
    "machine path": lambda n: set_output(n, {**STREAM, "text": ["saved /home/me/x.npz\n"]}),
    "live widget": lambda n: set_output(
        n, {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}}
    ),
    "check 'cube' failed": lambda n: code(n, "def cube")["outputs"][0]["data"][records.CHECK].update(
        name="cube", passed=False
    ),
    "MB, more than": lambda n: set_output(n, {**STREAM, "text": ["x" * 1_500_000]}),
    "records 'mean' twice": lambda n: set_output(n, code(n, '"mean"')["outputs"][0]),
}


@pytest.mark.parametrize("fault", GATE)
def test_the_gate_refuses(fault, changed):
    found = notebooks.problems(changed(GATE[fault]))
    assert len(found) == 1 and fault in found[0]


@pytest.mark.slow
def test_progress_bars_are_no_results(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path)
    draft = """
%% parameters
%% code
from tqdm import tqdm as text_bar
from tqdm.notebook import tqdm as widget_bar
print("before")
for k in text_bar(range(3)):
    pass
for k in widget_bar(range(3)):
    pass
%% code
import subprocess
import sys
print("a warning", file=sys.stderr)
"""
    path = tmp_path / "bars.ipynb"
    path.write_text(json.dumps(frame.from_text(draft)))
    executed, _ = notebooks.run(path, "colab")
    outputs = [cell["outputs"] for cell in notebooks.read(executed)["cells"]]
    assert [output["text"] for output in outputs[1]] == [["before\n"]]
    assert outputs[2][0]["name"] == "stderr"


def test_a_failing_cell_stops_the_run_with_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path / "executed")
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(frame.from_text("%% parameters\n%% code\n1 / 0\n")))
    with pytest.raises(RuntimeError, match=r"broken.ipynb stopped(.|\n)*ZeroDivisionError"):
        notebooks.run(path, "colab")


def test_the_gate_does_not_mind_text(changed):
    def edit(notebook):
        notebook["cells"][0]["source"] = ["# Another title\n", "\n", "Another hook."]
        code(notebook, "def square")["source"].append("\n# a comment")

    assert notebooks.problems(changed(edit)) == []


def replace(old, new):
    def edit(notebook):
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"]).replace(old, new)

    return edit


def drop(notebook, word):
    notebook["cells"] = [cell for cell in notebook["cells"] if word not in "".join(cell["source"])]


LINT = {
    "title and a paragraph": lambda n: n["cells"][0].update(source="# Only a title"),
    "setup differs": replace("sys.executable", "sys.argv"),
    "parameters differs": replace("seed = 0", "seed = 1"),
    "teaser first": lambda n: code(n, "x**2")["outputs"].clear(),
    "sections must be": replace("## Theory", "## Ideas"),
    "does not say 'two CPU cores'": replace("two CPU cores", "a computer"),
    "no numbered equation": replace(r"\tag{1}", ""),
    "not asserted equal": replace("assert ", ""),
    "no bookkit.summary()": replace("bookkit.summary()", ""),
    "no list of limits": replace("- One honest limit", "One honest limit"),
    "2 exercises": lambda n: drop(n, ":label: template-explore"),
    "template-explore: no closed solution": replace("{solution-start} template-explore", "{note}"),
    "fewer calls of bookkit.check": replace("bookkit.check(", "print("),
    "nothing cited": replace("{cite:t}", ""),
    "outputs share one caption": lambda n: code(n, "x**2")["outputs"].extend(code(n, '"mean"')["outputs"]),
    "no alternative text": lambda n: code(n, "x**2")["metadata"]["mystnb"].pop("image"),
    "no caption or name": lambda n: code(n, "x**2")["metadata"]["mystnb"].pop("figure"),
    "chapter 5 is named without a link": replace("- One honest limit", "- One honest limit of Chapter 5"),
    "records nothing": lambda n: code(n, "bookkit.record(").update(outputs=[]),
}


@pytest.mark.parametrize("fault", LINT)
def test_the_lint_refuses(fault, changed):
    found = frame.problems(changed(LINT[fault]))
    assert any(fault in line for line in found), found


# ---- expected values

STATISTIC = {"kind": "statistic", "value": 1.0, "sem": 0.03, "sem_max": 0.1, "must_reject": [-1.0, 2.0]}
IDENTITY = {"kind": "identity", "value": 2.0, "rtol": 1e-8, "must_reject": [2.001]}
BOUND = {"kind": "bound", "max": 1e-10, "must_reject": [1e-8]}


@pytest.mark.parametrize(
    "entry, value, sem, why",
    [
        (STATISTIC, 1.19, 0.04, ""),  # 4 sqrt(0.03^2 + 0.04^2) = 0.2
        (STATISTIC, 1.21, 0.04, "differs"),
        (STATISTIC, 1.0, 0.11, "too noisy"),
        (STATISTIC, 1.0, None, "without a standard error"),
        (STATISTIC | {"atol": 0.05, "rtol": 0.05}, 1.29, 0.04, ""),
        (IDENTITY, 2.00000001, None, ""),
        (IDENTITY, 2.0000001, None, "differs"),
        (IDENTITY | {"rtol": 1e-3}, 2.0, None, "at most 1e-06"),
        (BOUND, 1e-11, None, ""),
        (BOUND, 2e-10, None, "outside"),
        (BOUND | {"min": 0.0}, -1e-12, None, "outside"),
        ({"kind": "bound"}, 0.0, None, "neither min nor max"),
        ({"kind": "guess"}, 0.0, None, "none of identity, bound, statistic"),
        (STATISTIC | {"value": {"colab": 1.0}}, 1.0, 0.01, "no value at profile smoke"),
    ],
)
def test_comparison_rules(entry, value, sem, why):
    found = expected.mismatch(value, sem, entry, "smoke")
    assert why in found and bool(why) == bool(found)


def test_a_tolerance_that_lets_a_known_mistake_pass_is_found():
    for entry in (STATISTIC, IDENTITY, BOUND):
        assert expected.powerless("x", entry, "smoke") == []
    wide = STATISTIC | {"sem_max": 0.5}
    assert expected.powerless("x", wide, "smoke") == [
        "x: -1.0 must be rejected at profile smoke, but passes",
        "x: 2.0 must be rejected at profile smoke, but passes",
    ]
    assert "no must_reject" in expected.powerless("x", STATISTIC | {"must_reject": []}, "smoke")[0]


def test_bless_writes_proposals_and_keeps_what_was_set_by_hand(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    assert any("bless it" in line for line in expected.compare(chapter, "colab"))
    path = expected.bless(chapter, "colab", "a first run")
    assert expected.compare(chapter, "colab") == []
    by_hand = path.read_text().replace("must_reject = { colab = [-", "must_reject = { colab = [-7.0, -")
    path.write_text(by_hand.replace('kind = "statistic"', 'kind = "statistic"\natol = 0.125'))
    expected.bless(chapter, "colab", 'a second "run"')
    content = expected.load(chapter)
    assert content["records"]["mean"]["atol"] == 0.125
    assert -7.0 in content["records"]["mean"]["must_reject"]["colab"]
    assert [event["reason"] for event in content["blessed"]] == ["a first run", 'a second "run"']
    assert all(expected.powerless(name, entry, "colab") == [] for name, entry in content["records"].items())


def test_bless_refuses_a_statistic_without_an_error_and_leaves_the_file(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    path = expected.bless(chapter, "colab", "a first run")
    before = path.read_text()
    found = {name: item | {"sem": None} for name, item in notebooks.records(notebooks.read(chapter)).items()}
    monkeypatch.setattr(notebooks, "records", lambda notebook: found)
    with pytest.raises(ValueError, match="the statistic 'mean' was recorded without a standard error"):
        expected.bless(chapter, "colab", "a second run")
    assert path.read_text() == before


def test_bless_needs_a_run_at_that_profile(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path)
    with pytest.raises(FileNotFoundError, match="run --profile smoke"):
        expected.bless(chapter, "smoke", "no run")


# ---- generated pages


def test_status_page_says_what_changed_since_the_run(chapter, changed):
    assert "| current | colab | " in pages.status([chapter])

    def older(notebook):
        notebook["metadata"]["mlipbook"]["depends"].update({"mlipbook/units.py": "0", "a": "0", "b": "0"})

    assert "changed since: `a`, `b`, `units.py` |" in pages.status([changed(older)])
    assert "never run" in pages.status([changed(lambda n: n["metadata"].pop("mlipbook"))])


def test_a_stamp_of_an_older_form_counts_as_changed(changed):
    old = changed(lambda n: n["metadata"]["mlipbook"].pop("depends"))
    assert notebooks.changed_since(old) == ["the form of the stamp"] and notebooks.problems(old) == []


def test_a_release_refuses_a_chapter_older_than_what_it_depends_on(changed, monkeypatch, capsys):
    for arguments, status in ([], 0), (["--release"], 1):
        path = changed(lambda n: n["metadata"]["mlipbook"]["depends"].update({"mlipbook/units.py": "0"}))
        monkeypatch.setattr("sys.argv", ["mlipbook", "check", *arguments, str(path)])
        assert main() == status
    assert "ch99_template.ipynb: mlipbook/units.py changed since it was run" in capsys.readouterr().out


def test_ledger_lists_every_claim_and_the_verdicts(changed):
    item = {"name": "bias", "value": -0.06, "sem": 0.001, "n": 5, "unit": "GPa"}
    verdict = {"id": "pressure-fit", "status": "reproduced", "sentence": "Off by it.", "records": [item]}
    output = {"output_type": "display_data", "data": {records.CLAIM: verdict}}
    page = pages.ledger([changed(lambda n: set_output(n, output))])
    assert all(f"**{id}**" in page for id in records.claims())
    assert page.count("Not yet tested") == len(records.claims()) - 1
    assert "**Reproduced** (99. {doc}`ch99_template`): Off by it." in page and "-0.0600 ± 0.0010 GPa" in page


@pytest.mark.parametrize("on_colab", [True, False])
@pytest.mark.parametrize("beside", [False, True])
def test_setup_installs_where_mlipbook_is_not_and_leaves_numpy_and_torch_to_colab(
    on_colab, beside, tmp_path, monkeypatch
):
    commands = []

    def install(command):
        commands.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.run", install)
    names = {}
    exec(frame.SETUP, names)
    assert names["bookkit"] is bookkit and not commands
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", object())
    if beside:
        Path("mlipbook-0.0.1-py3-none-any.whl").touch()
    exec(frame.SETUP, {})
    [command] = commands
    assert ("--no-deps" in command) == ("ase" in command) == on_colab
    assert not {"numpy", "torch"} & set(command)
    assert command[-1] == (
        "mlipbook-0.0.1-py3-none-any.whl" if beside else f"{results.RELEASE}/{results.WHEEL}"
    )
    monkeypatch.setattr("subprocess.run", lambda command: SimpleNamespace(returncode=1))
    with pytest.raises(RuntimeError, match="put mlipbook's wheel beside this notebook"):
        exec(frame.SETUP, {})


def test_drafts_with_unknown_cells_are_refused():
    with pytest.raises(ValueError, match="cell 2: unknown kind 'raw'"):
        frame.from_text("%% md\n# Title\n%% raw\nx\n")


def test_provenance_names_the_code_that_ran_and_no_folder_of_this_machine(monkeypatch):
    monkeypatch.setattr(results, "COMMIT", "abc")  # as read when the process began
    monkeypatch.setattr("sys.argv", [str(Path("study.py").absolute()), "--out", "results/x.json"])
    found = results.provenance(1.0, 0)
    assert found["commit"] == "abc" and found["command"] == "study.py --out results/x.json"
