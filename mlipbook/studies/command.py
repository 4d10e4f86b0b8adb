"""``python -m mlipbook study NAME COMMAND``: a command's options are its function's arguments.

A study is a module here, named folder.module; its commands are the functions marked by `@command()`. The
docstring of a function is its help: the first sentence says what it does, "name: ..." what an argument is.
Arguments before a "/" go without their name. A module with one command needs no word for it.
"""

import ast
import inspect
import re
import time
import types
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from mlipbook import archive
from mlipbook.bookkit import save_result
from mlipbook.bookkit.records import format_value

FULL = Path("results/full")
Profile = Literal["smoke", "colab", "full"]  # of profiles.toml
Sized = Literal["smoke", "full"]  # of studies that state their sizes themselves
HERE = Path(__file__).parent
F = TypeVar("F", bound=Callable[..., Any])


class Result(NamedTuple):
    """What a command with `saves` returns: records, lists for figures; seconds, device and seed of all its
    runs, where they are not those of the command itself."""

    records: dict[str, Any]
    arrays: dict[str, Any] = {}
    seconds: float | None = None
    device: str | None = None
    seed: int | None = None


def command(saves: str = "") -> Callable[[F], F]:
    """Mark a function as a command. saves: it returns a `Result`, kept under this name in results/full."""

    def mark(function: F) -> F:
        function.saves = saves  # type: ignore[attr-defined]
        return function

    return mark


def kept_records(path: Path) -> dict[str, dict]:
    """Of a result that a command has saved."""
    return archive.read_json(path)["records"]


def device_name(device: str) -> str:
    """As results tell it."""
    import torch

    return "cpu" if device == "cpu" else torch.cuda.get_device_name()


def names() -> list[str]:
    """Of all studies, as folder.module."""
    paths = [path for path in sorted(HERE.glob("*/*.py")) if "\n@command(" in path.read_text()]
    return [".".join(path.relative_to(HERE).with_suffix("").parts) for path in paths]


def commands(name: str) -> list[Callable[..., Any]]:
    """Of a study. Raises ValueError for an unknown name, with the names that there are."""
    if name not in names():
        like = [each for each in names() if each.startswith(f"{name}.")] or names()
        raise ValueError(f"there is no study {name!r}; there are {', '.join(like)}")
    module = import_module(f"mlipbook.studies.{name}")
    return [f for f in vars(module).values() if hasattr(f, "saves") and f.__module__ == module.__name__]


def parser_of(name: str) -> ArgumentParser:
    """Of a study's command line."""
    own = commands(name)
    doc = {"description": inspect.getmodule(own[0]).__doc__, "formatter_class": RawDescriptionHelpFormatter}
    parser = ArgumentParser(prog=f"python -m mlipbook study {name}", **doc)  # type: ignore[arg-type]
    if len(own) == 1:
        _add_options(parser, own[0])
        return parser
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in own:
        first = re.split(r"(?<=\.)\s", inspect.getdoc(function) or "")[0].replace("\n", " ")
        word = function.__name__.replace("_", "-")
        _add_options(words.add_parser(word, help=first, **doc), function)  # type: ignore[arg-type]
    return parser


def main(words: Sequence[str]) -> int:
    """List the studies, or run a command of one of them; the exit status."""
    if not words or words[0].startswith("-"):
        print("usage: python -m mlipbook study NAME [COMMAND] [OPTIONS], or NAME --help for more; NAME:")
        for name in names():
            text = (HERE / f"{name.replace('.', '/')}.py").read_text()
            print(f"{name:32}{(ast.get_docstring(ast.parse(text)) or '').splitlines()[0]}")
        return 0
    try:
        _run(**vars(parser_of(words[0]).parse_args(words[1:])))
    except FileNotFoundError as error:
        if FULL.exists():
            raise
        here = f"{FULL} is not here: run studies from the root of the repository, or name the files"
        raise FileNotFoundError(f"{error}; {here}") from error
    return 0


def _run(function: Callable[..., Any], threads: int, result: Path | None = None, **given: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    device, seed = given.get("device", "cpu"), given.get("seed", 0)
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    first = [given.pop(p.name) for p in _arguments(function) if p.kind is p.POSITIONAL_ONLY]
    found = function(*first, **given)
    if result is None:
        return
    for name, item in found.records.items():
        print(f"{name:45} {format_value(item['value'], item['sem'])} {item['unit']}")
    seconds = clock() - began if found.seconds is None else found.seconds
    seed = seed if found.seed is None else found.seed
    save_result(result, found.records, seconds, seed, found.device or device_name(device), **found.arrays)


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _add_options(parser: ArgumentParser, function: Callable[..., Any]) -> None:
    """An option for each argument of the function: its type, its default, what the docstring says of it."""
    parser.set_defaults(function=function)
    hints, doc = get_type_hints(function), inspect.getdoc(function) or ""
    for p in _arguments(function):
        said = re.search(rf"(?<![\w-]){p.name}: (.+?)(?=[.;](?:\s|$)|\n\n|$)", doc, re.DOTALL)
        text = re.sub(r"\s+", " ", said[1]) if said else ""
        options = {**_kind(hints[p.name]), "help": text.replace("%", "%%")}
        word = p.name if p.kind is p.POSITIONAL_ONLY else f"--{p.name.replace('_', '-')}"
        if p.default is not p.empty:
            options["default"] = p.default
            options["help"] += "" if p.default is None else f" (default: {_shown(p.default)})"
        elif p.kind is not p.POSITIONAL_ONLY:
            options["required"] = True
        parser.add_argument(word, **options)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1)")
    if saves := function.saves:  # type: ignore[attr-defined]
        out = FULL / f"{saves}.json"
        parser.add_argument(
            "--out", dest="result", type=Path, default=out, help=f"the result (default: {out})"
        )


def _kind(hint: Any) -> dict[str, Any]:
    """What argparse calls a type: a Literal has choices, a sequence any number of values."""
    if get_origin(hint) in (Union, types.UnionType):  # X | None
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) in (Sequence, tuple, list):
        return {**_kind(get_args(hint)[0]), "nargs": "+"}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    return {"type": hint}


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple | list) else str(default)
