"""The page of the API: every public name says its units and what it raises."""

import ast
import re
from dataclasses import replace

import pytest

from mlipbook.bookkit import notebooks, reference
from mlipbook.bookkit.results import ROOT

ENTRIES = {e.name: e for _, section in reference.sections().values() for e in section if e.source}
UNIT = re.compile(
    r"\b(m?eV|[Aa]ngstrom|A|A\^[23]|K|fs|ps|GPa|amu|Ry|hartree|bohr|W/m/K|g/cm\^3|internal (time|units?)"
    r"|seconds|[Dd]imensionless|(one|the) unit|[Uu]nits|[Nn]umbers?|fractions?|shares?)\b"
)
QUANTITY = re.compile(r"\b(float|Tensor|ndarray|Value)\b")


def errors(node: ast.AST) -> set[str]:
    """Names of the exceptions that a function raises itself, or by a check that it calls."""
    found = {ast.unparse(n.exc).split("(")[0] for n in ast.walk(node) if isinstance(n, ast.Raise) and n.exc}
    calls = {ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call)}
    return (found | {name for name in calls if name.startswith("refuse")}) - {"NotImplementedError"}


def unsaid(entry: reference.Entry, node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    """What a docstring should say and does not: itself, a unit, that it raises; of members too."""
    makers = [n for n in node.body if getattr(n, "name", "") in ("__init__", "__post_init__")]
    raised = errors(node) if isinstance(node, ast.FunctionDef) else set().union(*map(errors, makers))
    found = [] if entry.doc else ["a docstring"]
    if QUANTITY.search(entry.signature) and not UNIT.search(entry.doc):
        found.append("a unit")
    if raised and not re.search(r"\b[Rr]aise[sd]?\b|\w+Error\b", entry.doc):
        found.append(f"that it raises {', '.join(sorted(raised))}")
    parts = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    return [f"{entry.name}: {what}" for what in found] + [
        f"{entry.name}.{what}" for member in entry.members for what in unsaid(member, parts[member.name])
    ]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_public_name_says_its_units_and_what_it_raises(name):
    entry = ENTRIES[name]
    assert unsaid(entry, reference.definition(ROOT / entry.source, entry.value.__qualname__)) == []


def test_a_docstring_without_unit_or_errors_is_found():
    entry = ENTRIES["mb.heat.green_kubo"]
    node = reference.definition(ROOT / entry.source, "green_kubo")
    bare = replace(entry, doc="Integrate the heat flux.")
    assert unsaid(bare, node)[0] == "mb.heat.green_kubo: a unit" and "that it raises" in unsaid(bare, node)[1]
    assert unsaid(replace(entry, doc=""), node)[0] == "mb.heat.green_kubo: a docstring"


def test_signatures_are_as_written():
    assert "thermostat_time: float = 100 * fs," in ENTRIES["mb.heat.hnemd"].signature
    assert ENTRIES["mb.heat.hnemd"].signature.endswith(") -> Response")
    assert (
        ENTRIES["mb.heat.HeatField"].signature
        == "class HeatField(field: Tensor, definition: Definition = 'I')"
    )
    members = {member.name: member.signature for member in ENTRIES["mb.heat.Response"].members}
    assert members["kappa"] == "kappa -> Value"


def test_chapters_are_named_that_use_a_name():
    used = reference.chapters_using([notebooks.BOOK / "ch11_thermal_conductivity.ipynb"])
    chapters = {name: used.get(id(entry.value), []) for name, entry in ENTRIES.items()}
    assert chapters["mb.heat.hnemd"] == ["ch11_thermal_conductivity"] and chapters["mb.aenet.write"] == []
