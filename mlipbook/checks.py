"""Arguments that cannot be meant are refused by one line at the top of a function, which returns the value:

    self.timestep = positive(timestep, "timestep", "in internal units, such as 2.9 * units.fs")

Each check raises TypeError for what is no such thing at all, ValueError for a value that cannot be meant; the
message has the argument's name, what was given, and what to give instead.
"""

import os
from collections.abc import Callable, Collection, Iterable
from math import inf, isfinite
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

T = TypeVar("T")
Holds = Callable[[float], bool]


def finite(
    value: Any, name: str, hint: str = "", kind: str = "a finite number", holds: Holds = lambda number: True
) -> float:
    """A number of Python, NumPy or PyTorch, neither NaN nor infinite, that holds; truth values are none."""
    number = value.item() if isinstance(value, np.ndarray | Tensor) and value.ndim == 0 else value
    if isinstance(number, bool | np.bool_) or not isinstance(number, Real):
        raise refusal(value, name, kind, hint, TypeError)
    try:
        number = float(number)
    except OverflowError:  # whole numbers may be beyond any float
        number = inf
    if not isfinite(number) or not holds(number):
        raise refusal(value, name, kind, hint)
    return number


def positive(value: Any, name: str, hint: str = "", most: float = inf) -> float:
    """A finite number above zero, up to `most`."""
    kind = "a positive number" if most == inf else f"a positive number, at most {most:g}"
    return finite(value, name, hint, kind, lambda number: 0 < number <= most)


def all_positive(**values: Any) -> None:
    """Several of these, by name."""
    for name, value in values.items():
        positive(value, name)


def not_negative(value: Any, name: str, hint: str = "") -> float:
    """A finite number, zero or above."""
    return finite(value, name, hint, "a number that is not negative", lambda number: number >= 0)


def whole(value: Any, name: str, least: int = 1, most: int | None = None, hint: str = "") -> int:
    """A whole number, `least` or more, up to `most`; 1e5 is one, 4.9 is not."""
    kind, end = f"a whole number, {least} " + ("or more" if most is None else f"to {most}"), most or inf
    finite(value, name, hint, kind, lambda number: value == int(value) and least <= number <= end)
    return int(value)


def one_of(value: T, name: str, choices: Collection[T]) -> T:
    """One of a few values."""
    if not any(value is choice or value == choice for choice in choices):
        raise refusal(value, name, "one of " + ", ".join(map(str, choices)))
    return value


def element(value: Any, name: str, among: Iterable[str] | None = None) -> str:
    """A chemical symbol; one of these atoms', if they are given."""
    if not isinstance(value, str) or atomic_numbers.get(value, 0) == 0:
        raise refusal(value, name, "a chemical symbol, such as 'Na'")
    if among is not None and value not in (present := sorted(set(among))):
        raise refusal(value, name, f"one of these atoms' ({', '.join(present)})")
    return value


def of_type(value: Any, name: str, kind: type | tuple[type, ...], hint: str) -> Any:
    """An object of a class, or of one of several."""
    if not isinstance(value, kind):
        raise refusal(value, name, hint, error=TypeError)
    return value


def frames(value: Any, name: str) -> list[Atoms]:
    """One or more structures of ASE, from anything that yields them; a path and a single structure do not."""
    hint = "a list of ase.Atoms, such as ase.io.read(path, ':')"
    if isinstance(value, Atoms | str | os.PathLike) or not isinstance(value, Iterable):
        raise refusal(value, name, hint, error=TypeError)
    found = list(value)
    for k, atoms in enumerate(found):
        of_type(atoms, f"{name}[{k}]", Atoms, "an ase.Atoms")
    if not found:
        raise refusal(found, name, hint)
    return found


def refusal(
    value: Any, name: str, kind: str, hint: str = "", error: type[Exception] = ValueError
) -> Exception:
    """The error of a value that was given for an argument; long ones are cut."""
    found = repr(value)
    found = found if len(found) <= 80 else f"{found[:77]}..."
    return error(f"{name} {found}: give {kind}{', ' + hint if hint else ''}")
