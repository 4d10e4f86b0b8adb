"""Whether two values are the same: one definition, by which stores, checkpoints, campaigns and labels know
what they hold.

    identity(value)                           SHA-256 of all that the value consists of
    described(value)                          a few words and the beginning of that hash, to be kept in a file
    refuse_other(path, found, wanted, way)    ValueError where what a file tells of itself is something else

Two values with one identity give the same results. Numbers, arrays and tensors count with every bit, dtype
and shape, wherever they lie; lists are tuples, and the order of a dict does not matter. Functions and classes
of an installed package, this one included, count by their name without the module that they lie in: releases
are what changes them. Your own (of a notebook, a script, a folder) count by name and code, with what they
close over, their defaults, and the globals that they read. Other objects are their class and what pickle
would take. A value may say itself what it is known by, in `identified_by()`. What cannot be known is refused.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from operator import itemgetter
from types import FunctionType
from typing import Any

import numpy as np
from ase import Atoms
from torch import Tensor, nn

from mlipbook.archive.contents import Pairs, content_of, settings_of

LONGEST = 160  # characters of a description


class Unidentified(ValueError):
    """A value of which nothing tells whether another one is the same."""


def identity(value: Any) -> str:
    """SHA-256 (hexadecimal) of what the value consists of, see the module's docstring. Raises Unidentified, a
    ValueError, naming the part of which it cannot be known.
    """
    try:
        return _digest(value, type(value).__name__, (), {}).hex()
    except RecursionError as error:
        raise Unidentified(f"{type(value).__name__}: nested too deeply to be identified") from error


def described(value: Any, words: str | None = None) -> str:
    """Words that may be read (default: from the value), and a hash that decides: two values are the same if
    their hashes are. Raises Unidentified.
    """
    text = " ".join((words or _words(value)).split())
    return f"{text if len(text) <= LONGEST else text[: LONGEST - 3] + '...'} [{identity(value)[:16]}]"


def refuse_other(path: Any, found: Mapping[str, str], wanted: Mapping[str, str], way: str) -> None:
    """ValueError, naming both, for the first of the wanted descriptions that a file does not tell of itself.
    way: what to do then.
    """
    for name, value in wanted.items():
        if name not in found:
            raise ValueError(f"{path}: written by an older version, which does not tell its {name}; {way}")
        if found[name].split("[")[-1] != value.split("[")[-1]:
            raise ValueError(f"{path}: of something else, whose {name} is {found[name]}, not {value}; {way}")


def _words(value: Any) -> str:
    if not isinstance(value, type) and hasattr(type(value), "identified_by"):
        return _words(value.identified_by())
    if isinstance(value, Tensor | np.ndarray):
        shape, some = tuple(value.shape), ", ".join(map(str, value.reshape(-1)[:6].tolist()))
        return f"{some}{', ...' if np.prod(shape) > 6 else ''} {shape}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, partial):
        return f"{_words(value.func)}({', '.join([*map(_words, value.args), *_named(value.keywords)])})"
    if isinstance(value, Atoms):
        return value.get_chemical_formula()
    if isinstance(value, nn.Module):
        return f"{type(value).__name__}({', '.join(_named(settings_of(value)))})"
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        return f"{type(value).__name__}({', '.join(_named(own))})"
    return value.__qualname__ if hasattr(value, "__qualname__") else repr(value)


def _named(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_words(value)}" for name, value in values.items()]


def _digest(value: Any, where: str, above: tuple[int, ...], met: dict[int, int]) -> bytes:
    """above: the objects that this one is part of, of which one may be a part of itself. met: functions and
    classes that were read before, which is enough: they may refer to each other on many ways.
    """
    if id(value) in above:
        return sha256(f"the one {len(above) - above.index(id(value))} above".encode()).digest()
    if id(value) in met:
        return sha256(f"function or class {met[id(value)]}".encode()).digest()
    if isinstance(value, FunctionType | type):
        met[id(value)] = len(met)
    inside = partial(_digest, above=(*above, id(value)), met=met)
    if not isinstance(value, type) and hasattr(type(value), "identified_by"):
        return inside(value.identified_by(), where)
    try:
        kind, content = content_of(value)
    except RecursionError:
        raise
    except Exception as error:  # pickle's refusals are of any type
        why = f"of a {type(value).__name__} it cannot be known what it consists of ({error})"
        raise Unidentified(f"{where}: {why}: nothing that was stored with it can be found again") from error
    if isinstance(content, bytes):
        parts = [content]
    elif isinstance(content, Pairs):  # in the order of their names, each read as if it were the first
        named = [(inside(name, where, met=dict(met)), name, part) for name, part in content]
        named.sort(key=itemgetter(0))
        parts = [key + inside(part, f"{where}.{name}") for key, name, part in named]
    else:
        parts = [inside(part, f"{where}[{i}]") for i, part in enumerate(content)]
    return sha256(b"".join([kind.encode(), b"\0", *parts])).digest()
