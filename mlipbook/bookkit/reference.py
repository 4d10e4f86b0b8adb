"""The public names of the library with what their source says of them, for the page of the API and its test.

Public are the names in `mlipbook.__all__`, and of each module among them those in its `__all__` or, without
one, those that it defines without an underscore. Signatures are as written, `100 * fs` and not 9.82.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import mlipbook
from mlipbook.fast.choice import fast

from . import notebooks, stamps
from .results import ROOT


@dataclass(frozen=True)
class Entry:
    """One public name: `mb.heat.hnemd`, its value, what is written above its body, where that is. signature:
    of a call, of a field, or of a constant its value. members: of a class, those with a docstring.
    """

    name: str
    value: Any
    signature: str
    doc: str
    source: str = ""
    line: int = 0
    members: tuple["Entry", ...] = ()


def sections() -> dict[str, tuple[str, list[Entry]]]:
    """Module -> its docstring and entries; "mb" has the names of the package itself."""
    values = {name: getattr(mlipbook, name) for name in mlipbook.__all__ if name != "__version__"}
    values["fast"] = fast  # of which mb.fast, a module that can be called, is a short form
    modules = {name: value for name, value in values.items() if isinstance(value, ModuleType)}
    own = [_entry("mb", name, value) for name, value in values.items() if name not in modules]
    found = {"mb": (mlipbook.__doc__ or "", own)}
    for name, module in modules.items():
        entries = [_entry(f"mb.{name}", n, getattr(module, n)) for n in public(module)]
        found[f"mb.{name}"] = (module.__doc__ or "", entries)
    return found


def public(module: ModuleType) -> list[str]:
    """Names of a module: `__all__`, or the functions and classes that are defined in it."""
    own = (n for n, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
    return list(getattr(module, "__all__", [name for name in own if not name.startswith("_")]))


def chapters_using(paths: list[Path]) -> dict[int, list[str]]:
    """id of a value -> names of the chapters in whose cells it is used."""
    found: dict[int, list[str]] = {}
    for path in paths:
        code = stamps.read("\n".join(cell["source"] for cell in notebooks.code_cells(notebooks.read(path))))
        uses = ((*place, *rest) for local, place in code.imports for n, *rest in code.chains if n == local)
        for value in {id(value): value for names in uses for value in _values(names)}:
            found.setdefault(value, []).append(path.stem)
    return found


def _values(names: tuple[str, ...]) -> Iterator[Any]:
    """What ("mlipbook.heat", "Response", "kappa") stands for, from left to right."""
    value: Any = import_module(names[0])
    for name in names[1:]:
        if (value := getattr(value, name, None)) is None:
            return
        yield value


def _entry(prefix: str, name: str, value: Any) -> Entry:
    full = f"{prefix}.{name}"
    if not inspect.isclass(value) and not inspect.isfunction(value):
        return Entry(full, value, f"{name} = {f'{value:.9g}' if isinstance(value, float) else value!r}", "")
    path = Path(inspect.getsourcefile(value) or "")
    node = definition(path, value.__qualname__)
    body = node.body if isinstance(node, ast.ClassDef) else []
    methods = [n for n in body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    members = tuple(Entry(n.name, None, signature(n), doc) for n in methods if (doc := ast.get_docstring(n)))
    place = str(path.relative_to(ROOT)), node.lineno
    return Entry(full, value, signature(node), ast.get_docstring(node) or "", *place, members)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def definition(path: Path, name: str) -> ast.ClassDef | ast.FunctionDef:
    """The syntax tree of a function or class of a file."""
    nodes = (node for node in _tree(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return next(node for node in nodes if node.name == name)


def signature(node: ast.ClassDef | ast.FunctionDef) -> str:
    """A call as its definition has it, on one line if it is short, else with a line for each argument."""
    if isinstance(node, ast.FunctionDef):
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        if "property" in decorators:
            return node.name + returns
        return _call(node.name, _arguments(node.args), returns)
    init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
    bases = ", ".join(map(ast.unparse, node.bases))
    arguments = _arguments(init[0].args) if init else [field for field in fields if field[0] != "_"]
    return _call(f"class {node.name}", arguments, f": {bases}" if bases else "")


def _call(name: str, arguments: list[str], end: str) -> str:
    short = f"{name}({', '.join(arguments)}){end}"
    return short if len(short) < 64 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){end}"


def _arguments(of: ast.arguments) -> list[str]:
    def text(argument: ast.arg, default: ast.expr | None) -> str:
        return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")

    plain = [*of.posonlyargs, *of.args]
    defaults = [None] * (len(plain) - len(of.defaults)) + of.defaults
    found = [text(*pair) for pair in zip(plain, defaults, strict=True) if pair[0].arg not in ("self", "cls")]
    star = [f"*{ast.unparse(of.vararg)}"] if of.vararg else ["*"] if of.kwonlyargs else []
    found += star + [text(*pair) for pair in zip(of.kwonlyargs, of.kw_defaults, strict=True)]
    return found + ([f"**{ast.unparse(of.kwarg)}"] if of.kwarg else [])
