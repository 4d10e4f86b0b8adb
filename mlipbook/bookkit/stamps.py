"""What a chapter depends on, found by reading its code, so that a stamp can tell what changed since it ran.

That is: the modules its cells import, and those that these import, within functions too. Of a package's
`__init__` only the names that are used are followed to where they come from. Of a module its syntax tree
counts, without docstrings: words and layout may change. Then the files that this code names (C, parameters,
stored results), the data sets it names, the chapter's tables of profiles.toml and the claims it decided.
"""

import ast
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .results import ROOT

FILE_NAME = re.compile(r"[\w+-][\w.+-]*(/[\w.+-]+)*\.\w+")
TABLES = (
    "claims.toml",
    "devices.toml",
    "manifest.json",
    "profiles.toml",
)  # of these single entries count, not the file
READERS = {"full_file": "{}", "full_result": "{}.json", "paper_scale": "{}.json"}  # of stored results


def syntax(node: Any) -> str:
    """A syntax tree as text: free of comments and layout, and the same for every Python version."""
    if isinstance(node, list):
        return "[" + ",".join(syntax(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    # Newer versions add fields that are empty for older code; empty fields are left out for that reason.
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return type(node).__name__ + "(" + ",".join(f"{name}={syntax(value)}" for name, value in fields) + ")"


def digest(content: str | bytes) -> str:
    """The first 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def changes(stamp: dict, now: dict[str, str]) -> list[str]:
    """The names in which a stamp and the `dependencies` of now differ."""
    was = stamp.get("depends")
    if was is None:  # of a version that hashed the whole library
        return ["the form of the stamp"]
    return sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))


def dependencies(cells: str, claims: set[str], root: Path = ROOT) -> dict[str, str]:
    """Name -> hash of everything that the code in the cells depends on, which decided these claims (ids)."""
    modules, waiting = {"": read(cells)}, [""]
    while waiting:
        for other in _imported(modules[waiting.pop()], root) - modules.keys():
            modules[other] = _code(other, root)
            waiting.append(other)
    texts = set().union(*(code.texts for code in modules.values()))
    data = json.loads((root / "mlipbook/data/manifest.json").read_text())
    files = {root / "mlipbook/data" / data[name]["file"] for name in texts & data.keys()}
    files |= {path for code in modules.values() for path in _files(code, root)}
    found = {str(path.relative_to(root)): digest(path.read_bytes()) for path in files}
    for module in modules.keys() - {""}:
        found[str(_source(module, root).relative_to(root))] = modules[module].hash
    for table, names in {"profiles.toml": modules[""].profiles, "claims.toml": claims}.items():
        entries = tomllib.loads((root / "mlipbook/bookkit" / table).read_text())
        for name in names & entries.keys():
            found[f"{table} [{name}]"] = digest(json.dumps(entries[name], sort_keys=True))
    return dict(sorted(found.items()))


# ---- one module


@dataclass(frozen=True)
class Code:
    """What matters of a module: hash, imports of this package, and what it names."""

    module: str
    package: bool
    hash: str
    imports: list[tuple[str, tuple[str, ...]]]  # local name, what it stands for, ("mlipbook.heat", "flux")
    chains: set[tuple[str, ...]]  # names with the attributes that are taken of them, ("mb", "heat", "flux")
    texts: set[str]
    stored: set[str]  # patterns of stored results
    profiles: set[str]


@cache
def read(text: str, module: str = "", package: bool = False) -> Code:
    """The code in a text, which is a module's, a package's `__init__`, or a chapter's cells."""
    tree = ast.parse(text)
    if module:
        _drop_what_does_not_run(tree, package)
    nodes = list(ast.walk(tree))
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    outer = (n for n in nodes if isinstance(n, ast.Name | ast.Attribute) and id(n) not in inner)
    called = [(_chain(n.func)[-1], n.args[0]) for n in nodes if isinstance(n, ast.Call) and n.args]
    return Code(
        module,
        package,
        digest(syntax(tree)),
        [binding for node in nodes for binding in _bindings(node, module, package)],
        {_chain(node) for node in outer},
        {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)},
        {READERS[name].format(_pattern(of)) for name, of in called if name in READERS and _pattern(of)},
        {_pattern(of) for name, of in called if name == "profile"},
    )


def _drop_what_does_not_run(tree: ast.Module, package: bool) -> None:
    """Docstrings, and imports for checkers of types but where they list what a package has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
            if not package:
                node.body = [s for s in node.body if _chain(getattr(s, "test", s)) != ("TYPE_CHECKING",)]


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("mb", "heat", "flux") of the expression mb.heat.flux; its first is empty where that is no name."""
    if isinstance(node, ast.Attribute):
        return (*_chain(node.value), node.attr)
    return (node.id if isinstance(node, ast.Name) else "",)


def _bindings(node: ast.AST, module: str, package: bool) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    if isinstance(node, ast.Import):  # import mlipbook.heat binds mlipbook
        names = [(a.asname, a.name) if a.asname else (a.name.split(".")[0],) * 2 for a in node.names]
        found = [(local, (name,)) for local, name in names]
    elif isinstance(node, ast.ImportFrom):
        parts = module.split(".")
        above = parts[: len(parts) - node.level + package] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        found = [(a.asname or a.name, (origin, a.name)) for a in node.names]
    return [(local, place) for local, place in found if place[0].split(".")[0] == "mlipbook"]


def _pattern(name: ast.expr) -> str:
    """What a name in a call can be: f"{kind}.npz" is *.npz; of what no text says, nothing."""
    parts = name.values if isinstance(name, ast.JoinedStr) else [name]
    found = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
    return "" if found == "*" else found


# ---- between modules


def _source(module: str, root: Path) -> Path:
    """The file of a module, `__init__.py` of a package; it may not exist."""
    base = root.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _code(module: str, root: Path) -> Code:
    path = _source(module, root)
    return read(path.read_text(), module, path.name == "__init__.py")


def _imported(code: Code, root: Path) -> set[str]:
    """The modules that the code takes names of; a package only where it is meant as a whole."""
    found = set()
    for local, place in code.imports:
        home = _home(place, root)
        if _code(home, root).package and not code.package:
            found |= {_home((home, *rest), root) for name, *rest in code.chains if name == local}
        else:
            found.add(home)
    return found


def _home(place: tuple[str, ...], root: Path) -> str:
    """The module that has what names stand for: of ("mlipbook", "heat", "hnemd") it is mlipbook.heat.hnemd. A
    package, where the names end at it or where its `__init__` itself defines the last one.
    """
    module, *names = place
    if names and _source(f"{module}.{names[0]}", root).exists():
        return _home((f"{module}.{names[0]}", *names[1:]), root)
    places = dict(_code(module, root).imports) if names and _code(module, root).package else {}
    return _home((*places[names[0]], *names[1:]), root) if names and names[0] in places else module


def _files(code: Code, root: Path) -> set[Path]:
    """The files that the code names: beside it, of the package's data, stored results."""
    stored, data = root / "results" / "full", root / "mlipbook" / "data"
    names = {text for text in code.texts if FILE_NAME.fullmatch(text) and text not in TABLES}
    found = {folder / name for name in names for folder in (_source(code.module, root).parent, stored, data)}
    found |= {path for pattern in code.stored for path in stored.glob(pattern)}
    return {path for path in found if path.is_file()}
