"""Sizes of every chapter at every profile, from ``profiles.toml``: no notebook asks for its profile."""

import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

PROFILES = ("smoke", "colab", "full")


@cache
def _tables() -> dict[str, dict]:
    return tomllib.loads((Path(__file__).parent / "profiles.toml").read_text())


def chapters() -> list[str]:
    """Names of the chapters that have profiles."""
    return list(_tables())


def profile(chapter: str, name: str) -> SimpleNamespace:
    """The settings of one chapter at one profile, as attributes: ``settings.epochs``.

    Raises ValueError, listing what there is, for an unknown chapter or profile.
    """
    tables = _tables()
    if chapter not in tables:
        raise ValueError(f"profiles.toml has no chapter {chapter!r}; it has {', '.join(tables)}")
    if name not in tables[chapter]:
        raise ValueError(f"unknown profile {name!r}; chapter {chapter!r} has {', '.join(tables[chapter])}")
    return SimpleNamespace(**tables[chapter][name])
