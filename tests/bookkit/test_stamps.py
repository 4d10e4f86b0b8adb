"""Stamps: one line is changed in a copy of the tree, and exactly the chapters that depend on it are stale."""

import ast
import shutil
import sys
from pathlib import Path

import pytest

from mlipbook.bookkit import notebooks, stamps
from mlipbook.bookkit.results import ROOT

CHAPTERS = {  # cells, after `import mlipbook as mb` and `from mlipbook import bookkit`; claims they decided
    "sizes": ("print(mb.units.fs, bookkit.profile('training', 'colab').frames)", {"weights-adjustable"}),
    "labels": ("from mlipbook.dft.ewald import ewald\nmb.dft.PlaneWaveDFT()", {"pressure-fit"}),
    "fits": (
        "def f():\n    from mlipbook.studies.stress import training\nbookkit.paper_scale('ef-efp')",
        set(),
    ),
    "heat": ("from mlipbook import heat\nheat.hnemd", set()),
    "C": ("from mlipbook.fast.pairs import NativePairs\nmb.datasets.load('na-4k')", set()),
    "stored": ("for k in '4k', '32k':\n    bookkit.full_file(f'table1-potentials/128-{k}.npz')", set()),
}
CODE = "EXTRA = 1\n"
COLAB = "[training.colab]"
CHANGES = {  # what: file, what is replaced by what there (nothing: the end), chapters that it leaves stale
    "a module": ("mlipbook/dft/ewald.py", "", CODE, {"labels"}),
    "a module that many import": ("mlipbook/units.py", "", CODE, set(CHAPTERS) - {"stored"}),
    "a study": ("mlipbook/studies/stress/training.py", "", CODE, {"fits"}),
    "another study": ("mlipbook/studies/barostats/ideal_gas.py", "", CODE, set()),
    "other names of a package": ("mlipbook/heat/__init__.py", "", CODE, set()),
    "a comment": ("mlipbook/units.py", "", "# a comment", set()),
    "the docstring of a module": ("mlipbook/heat/hnemd.py", '"""', '"""Other words. ', set()),
    "the docstring of a function": ("mlipbook/heat/hnemd.py", ':\n    """', ':\n    """Other words. ', set()),
    "the command line": ("mlipbook/__main__.py", "", CODE, set()),
    "a test": ("tests/conftest.py", "", CODE, set()),
    "C": ("mlipbook/fast/pairs.c", "", "int extra = 1;\n", {"C", "fits", "heat"}),  # by `mb.fast`
    "a file of parameters": ("mlipbook/data/Na.UPF", "", " ", {"labels"}),
    "a data set": ("mlipbook/data/na-4k.xyz.xz", "", " ", {"C"}),
    "another data set": ("mlipbook/data/na-1024-gamma.xyz.xz", "", " ", set()),
    "its table of sizes": ("mlipbook/bookkit/profiles.toml", COLAB, f"{COLAB}\nextra = 1", {"sizes"}),
    "a comment on its sizes": ("mlipbook/bookkit/profiles.toml", COLAB, f"# so\n{COLAB}", set()),
    "another table of sizes": (
        "mlipbook/bookkit/profiles.toml",
        "[ef-efp.full]",
        "[ef-efp.full]\nx = 1",
        set(),
    ),
    "a claim": ("mlipbook/bookkit/claims.toml", "The weights p_U", "Weights p_U", {"sizes"}),
    "another claim": ("mlipbook/bookkit/claims.toml", "Under the same heating", "Under such", set()),
    "a stored result": ("results/full/ef-efp.json", "", " ", {"fits"}),
    "a stored result of computed name": ("results/full/table1-potentials/128-4k.npz", "", " ", {"stored"}),
    "another stored result": ("results/full/hysteresis.json", "", " ", set()),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository's package, stored results and one test, and what chapters depend on in it."""
    root = tmp_path_factory.mktemp("tree")
    skipped = shutil.ignore_patterns("__pycache__", "first-principles-ramps")
    for folder in ("mlipbook", "results/full"):
        shutil.copytree(ROOT / folder, root / folder, ignore=skipped)
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", root / "tests")
    return root, of_chapters(root)


def of_chapters(root) -> dict[str, dict]:
    setup = "import mlipbook as mb\nfrom mlipbook import bookkit\n"
    return {name: stamps.dependencies(setup + cells, ids, root) for name, (cells, ids) in CHAPTERS.items()}


@pytest.mark.parametrize("what", CHANGES)
def test_one_changed_line_leaves_exactly_those_chapters_stale_that_depend_on_it(what, tree):
    (root, before), (name, old, new, expected) = tree, CHANGES[what]
    path = root / name
    kept = path.read_bytes()
    assert old.encode() in kept
    path.write_bytes(kept.replace(old.encode(), new.encode(), 1) if old else kept + new.encode())
    try:
        after = of_chapters(root)
    finally:
        path.write_bytes(kept)
    stale = {name: stamps.changes({"depends": before[name]}, after[name]) for name in CHAPTERS}
    assert {chapter for chapter, changed in stale.items() if changed} == expected
    assert all(len(changed) <= 1 for changed in stale.values())


def test_modules_that_are_new_or_gone_count():
    assert stamps.changes({"depends": {"a": "1", "b": "2"}}, {"b": "2", "c": "3"}) == ["a", "c"]


def test_every_chapter_depends_on_its_table_and_its_paper_scale_result():
    for path in notebooks.paths():
        found = notebooks.depends(notebooks.read(path))
        assert any(name.startswith("profiles.toml") for name in found), path
        assert any(name.startswith("results/full") for name in found), path
        claims = {f"claims.toml [{item['id']}]" for item in notebooks.claims(notebooks.read(path))}
        assert claims == {name for name in found if name.startswith("claims.toml")}, path


RUN = """
import mlipbook as mb
from ase import Atoms
from mlipbook import dynamics, heat
from mlipbook.potentials import LennardJones

atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.9]], cell=[20] * 3, pbc=True)
potential = LennardJones(0.0104, 3.4, 8.0)
atoms.calc = mb.Calculator(potential)
atoms.get_forces()
state = dynamics.thermalize(atoms, 50.0, seed=0)
dynamics.NVE(potential, mb.units.fs).run(state, 10, observe={"T": mb.observables.temperature})
heat.flux(potential, state.structures, state.velocities)
print(mb.errors(mb.ANNPotential(mb.Chebyshev(("Ar",), 5.0, 2, 5.0, 2), (2,)), [atoms]))
"""


def test_what_runs_is_covered():
    """Read without running, and run: every file of whose functions one was called is in the closure."""
    exec(RUN, {})  # what imports call does not count
    called = set()
    sys.setprofile(lambda frame, event, argument: called.add(frame.f_code.co_filename))
    try:
        exec(RUN, {})
    finally:
        sys.setprofile(None)
    names = {str(Path(name).relative_to(ROOT)) for name in called if name.startswith(f"{ROOT}/mlipbook/")}
    assert len(names) > 10 and names - {"mlipbook/__init__.py"} <= stamps.dependencies(RUN, set()).keys()


def test_the_hash_sees_code_and_nothing_else():
    same = ["x = f(1)  # why", "x = f( 1 )", "x = (f(1))"]
    assert len({stamps.read(text).hash for text in same}) == 1
    other = ["x = f(2)", "x = f(1.0)", "x = f('1')", "y = f(1)", "x = f(1, None)", "x = f(1)()"]
    assert len({stamps.read(text).hash for text in [*same, *other]}) == 1 + len(other)


def test_the_hash_does_not_depend_on_the_python_version():
    # Fields that newer grammars add (type_params in 3.12) are empty for this code and must not show.
    assert stamps.syntax(ast.parse("def f(): pass")) == (
        "Module(body=[FunctionDef(name='f',args=arguments(),body=[Pass()])])"
    )
