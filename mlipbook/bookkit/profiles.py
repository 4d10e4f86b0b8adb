"""Sizes of every chapter at every profile, from ``profiles.toml``: no notebook asks for its profile."""

import tomllib
from functools import cache
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .records import show

PROFILES = ("smoke", "colab", "full")


@cache
def _tables(file: str = "profiles.toml") -> dict[str, dict]:
    return tomllib.loads((Path(__file__).parent / file).read_text())


def chapters() -> list[str]:
    """Names of the chapters that have profiles."""
    return list(_tables())


def profile(chapter: str, name: str, **changes: Any) -> SimpleNamespace:
    """The settings of one chapter at one profile, as attributes: ``settings.epochs``.

    changes: your own values in the place of some, as in ``profile("training", "smoke", epochs=5)``.
    Raises ValueError, listing what there is, for an unknown chapter, profile or setting.
    """
    tables = _tables()
    if chapter not in tables:
        raise ValueError(f"profiles.toml has no chapter {chapter!r}; it has {', '.join(tables)}")
    if name not in tables[chapter]:
        raise ValueError(f"unknown profile {name!r}; chapter {chapter!r} has {', '.join(tables[chapter])}")
    settings = tables[chapter][name]
    if unknown := changes.keys() - settings:
        known = ", ".join(settings)
        raise ValueError(f"chapter {chapter!r} has no {', '.join(sorted(unknown))}; it has {known}")
    return SimpleNamespace(**settings | changes)


def devices() -> dict[str, dict]:
    """What is known of each chapter (name of its notebook) that ran on a GPU."""
    return _tables("devices.toml")


def device(chapter: str) -> str:
    """For torch, of a chapter (name of its notebook): "cuda" where it ran there with the code that it has
    (devices.toml), else "cpu", so that no reader is the first to try. Says so where a GPU is left alone.
    """
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    if chapter in devices():
        return "cuda"
    print("On the CPU: this chapter has not run on a GPU since its code changed.")
    return "cpu"


def has(settings: SimpleNamespace, /, **needed: Any) -> bool:
    """Whether settings have the values that a chapter's records are named after; the reader is told if not.

        if bookkit.has(size, p_W=[0, 0.01]):
            bookkit.record("force error, p_W = 0.01 minus EF", ...)

    needed: by setting, a value or several, that the setting has to be or to have in it.
    """
    found = {name: getattr(settings, name) for name in needed}
    here = {name: x if isinstance(x, list) else [x] for name, x in found.items()}
    wanted = {name: x if isinstance(x, list) else [x] for name, x in needed.items()}
    missing = [f"{name} = {x}" for name in wanted for x in wanted[name] if x not in here[name]]
    if missing:
        have = "; ".join(f"{name} = {', '.join(map(str, x))}" for name, x in here.items())
        text = f"not recorded: {' and '.join(missing)} is not in this run ({have})"
        show(text, f'<p class="mlip-note">{escape(text)}</p>')
    return not missing
