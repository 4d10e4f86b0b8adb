"""Results of a function's jobs in a folder, a JSON file each, known by the function and the job."""

import json
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from inspect import getclosurevars
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from ase.io import jsonio

from mlipbook.archive.documents import read_json, write_json
from mlipbook.archive.files import Damaged, reading
from mlipbook.archive.identity import identity


class Results:
    """What is kept of a function; name stands for all of it, if given. Raises ValueError for a lambda without
    a name, and for what a function takes along that cannot be known.
    """

    def __init__(self, folder: Path, function: Any, name: str | None = None):
        self.folder, self.name, self.module = folder, name or name_of(function), module_of(function)
        if "<lambda>" in self.name:
            raise ValueError("a lambda has no name under which results could be stored: define a function")
        self.function = identity([self.name, None if name else taken_along(function)])
        self.stem = self.name.split(".")[-1]

    def key(self, job: Any) -> str:
        """The name of a job's file. Raises ValueError for a job that JSON cannot hold."""
        encoded(f"job {job!r:.200}", job)
        return f"{self.stem}-{identity([self.function, job])[:24]}"

    def found(self, keys: Iterable[str]) -> dict[str, Any]:
        """key -> result, of finished jobs; those whose files are damaged are to be done again. Warns of
        results that may not be those of this function, and of older ones, which are not used.
        """
        contents = {}
        for key in keys:
            path = self.folder / f"{key}.json"
            with suppress(FileNotFoundError, Damaged), reading(path):
                content = read_json(path)
                contents[key] = content["module"], decoded(content["result"])
        if elsewhere := {module for module, _ in contents.values()} - {self.module}:
            warnings.warn(
                f"{self.folder}: results of {self.name} of module {', '.join(elsewhere)} are taken for those "
                f"of {self.module}, as after a move; if it is another function, give another store",
                stacklevel=3,
            )
        if older := [*self.folder.glob(f"{self.stem}-{'[0-9a-f]' * 20}.json")]:
            warnings.warn(
                f"{self.folder}: {len(older)} results of an older version, which knew functions and "
                "calculators less well, are not used",
                stacklevel=3,
            )
        return {key: result for key, (_, result) in contents.items()}

    def keep(self, key: str, job: Any, result: Any) -> Any:
        """Store a result and return it as a later call will read it. ValueError for what JSON cannot hold."""
        content = {"function": self.name, "module": self.module, "job": job, "result": result}
        text = encoded(f"result {result!r:.200}", content)
        write_json(self.folder / f"{key}.json", json.loads(text))
        return decoded(json.loads(text)["result"])


def name_of(function: Any) -> str:
    """Of a function, or of the class of an object that is called, without the module, which may change."""
    if isinstance(function, partial):
        return name_of(function.func)
    return (function if hasattr(function, "__qualname__") else type(function)).__qualname__


def module_of(function: Any) -> str:
    """Where a function lies; of ours, the package."""
    module = (function.func if isinstance(function, partial) else function).__module__
    return "mlipbook" if module.startswith("mlipbook.") else module


def taken_along(function: Any) -> Any:
    """What a function has beside its name and its job: what it closes over, is bound to, has as defaults of
    its arguments, or holds.
    """
    if isinstance(function, partial):
        return [function.args, function.keywords, taken_along(function.func)]
    if isinstance(function, MethodType):
        return [function.__self__, taken_along(function.__func__)]
    if isinstance(function, FunctionType):
        closed, defaults = (
            getclosurevars(function).nonlocals,
            (function.__defaults__, function.__kwdefaults__),
        )
        return [closed, defaults] if any(defaults) else closed
    return None if hasattr(function, "__qualname__") else getattr(function, "__dict__", function)


def decoded(content: Any) -> Any:
    """A job or a result, of what JSON has of it."""
    return jsonio.decode(json.dumps(content), always_array=False)


def encoded(what: str, value: Any) -> str:
    try:
        return json.dumps(value, default=jsonio.default, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"{what} cannot be stored as JSON: {error}") from error
