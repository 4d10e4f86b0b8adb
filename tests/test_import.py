"""What `import mlipbook` costs and does: nothing before a name is used, and little then."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlipbook as mb
from mlipbook import allocator

HEAVY = ("ase.io", "matplotlib", "mlipbook.dft", "mlipbook.plotting", "mlipbook.studies", "scipy", "torch")


def printed(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def loaded(program: str) -> set[str]:
    return set(printed(f"import sys\n{program}\nprint(*(m for m in {HEAVY} if m in sys.modules))").split())


def test_import_alone_loads_nothing_heavy():
    assert loaded("import mlipbook") == set()


@pytest.mark.slow
def test_a_force_call_does_not_wait_for_plots_or_first_principles():
    program = """
import mlipbook as mb
from ase import Atoms
potential = mb.ANNPotential(mb.Chebyshev(("Na",), 5.0, 2, 5.0, 2), (2,))
potential.evaluate(mb.Structures.from_ase([Atoms("Na2", [[0, 0, 0], [0, 0, 3.0]])]))
mb.fit, mb.errors, mb.dynamics.NPT, mb.heat.hnemd, mb.observables.density"""
    assert loaded(program) == {"torch"}


@pytest.mark.slow
def test_the_names_of_the_library_take_little_longer_to_import_than_torch():
    """CPU time of the children: at most 1.3 times torch's, the best of five, in turn."""
    clock = "import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    ours = "import mlipbook as mb; mb.fit, mb.dynamics, mb.Calculator"
    runs = [[float(printed(f"{program}; {clock}")) for program in ("import torch", ours)] for _ in range(5)]
    torch_alone, all_names = map(min, zip(*runs, strict=True))
    assert all_names < 1.3 * torch_alone, (all_names, torch_alone)


def test_every_public_name_is_there_and_is_what_a_checker_of_types_takes_it_for():
    tree = ast.parse(Path(mb.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(imported) | {"__version__"} == set(mb.__all__) <= set(dir(mb))
    assert imported.pop("fast") == "mlipbook.fast.choice"  # to Python a folder, which can be called
    assert {n: m for n, m in imported.items() if m != "mlipbook"} == {
        name: f"mlipbook.{module}" for name, module in mb._HOMES.items()
    }
    assert all(getattr(mb, name) is not None for name in mb.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mlipbook' has no attribute 'fitt'"):
        _ = mb.fitt
    assert mb.archive.save  # modules that are no public names are there too


@pytest.mark.parametrize("setting, calls", [("", 2), ("off", 0)])
def test_the_allocator_is_left_alone_where_that_is_asked_for(setting, calls, monkeypatch):
    done = []

    class Libc:
        def mallopt(self, parameter: int, value: int) -> None:
            done.append((parameter, value))

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Libc())
    monkeypatch.setenv("MLIPBOOK_ALLOCATOR", setting)
    allocator.keep_freed_memory.__wrapped__()
    assert len(done) == calls


def test_types_are_shipped():
    assert Path(mb.__file__).with_name("py.typed").exists()
