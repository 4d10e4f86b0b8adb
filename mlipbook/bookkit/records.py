"""Results as data: each is one output with a JSON part for the tests and a small table for the reader."""

import sys
import tomllib
from functools import cache
from html import escape
from math import floor, isfinite, log10
from pathlib import Path
from typing import Any

RECORD = "application/vnd.mlipbook.record+json"
CLAIM = "application/vnd.mlipbook.claim+json"
CHECK = "application/vnd.mlipbook.check+json"
STATUSES = ("reproduced", "partly", "not", "not decidable")

_records: dict[str, dict] = {}  # of the running notebook, by name


@cache
def claims() -> dict[str, dict]:
    """The paper's claims by id: ``statement`` in our words, ``where`` it stands, ``chapter`` testing it."""
    return tomllib.loads((Path(__file__).parent / "claims.toml").read_text())


def format_value(value: float, sem: float | None = None) -> str:
    """``value ± sem`` with two digits of the error, or five significant digits without one."""
    if not sem or not isfinite(sem) or not isfinite(value):
        return f"{value:.5g}"
    digits = 1 - floor(log10(sem))
    if digits < 0 or digits > 6:
        return f"{value:.4g} ± {sem:.2g}"
    return f"{value:.{digits}f} ± {sem:.{digits}f}"


def html_table(rows: list[list[str]], header: list[str] | None = None) -> str:
    """A table that CSS (``mlip-table``) styles on the site and that reads well without it."""

    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = f"<thead>{row(header, 'th')}</thead>" if header else ""
    body = "".join(row(cells, "td") for cells in rows)
    return f'<table class="mlip-table">{head}<tbody>{body}</tbody></table>'


def show(plain: str, html: str, mime: str | None = None, data: dict | None = None) -> None:
    """Display in a notebook, print elsewhere; `data` travels under the MIME type `mime`."""
    if "IPython" not in sys.modules or sys.modules["IPython"].get_ipython() is None:
        print(plain)
        return
    from IPython.display import display

    display({"text/plain": plain, "text/html": html} | ({mime: data} if mime else {}), raw=True)


def _cells(item: dict) -> list[str]:
    samples = f"n = {item['n']}" if item["n"] is not None else ""
    return [item["name"], format_value(item["value"], item["sem"]), item["unit"], samples]


def record(name: str, value: Any, sem: Any = None, n: int | None = None, unit: str = "") -> None:
    """Record one number of this chapter with its standard error `sem` over `n` samples.

    `value` and `sem` may be Python, NumPy or torch scalars. Raises ValueError if one of them is not a
    finite scalar, or if the error is negative.
    """
    value, sem = _scalar(name, "value", value), None if sem is None else _scalar(name, "sem", sem)
    if sem is not None and sem < 0:
        raise ValueError(f"record {name!r}: the standard error is negative ({sem})")
    item = {"name": name, "value": value, "sem": sem, "n": None if n is None else int(n), "unit": unit}
    _records[name] = item
    show("  ".join(_cells(item)).rstrip(), html_table([_cells(item)]), RECORD, item)


def _scalar(name: str, what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"record {name!r}: {what} must be one number, got {value!r}") from error
    if not isfinite(number):
        raise ValueError(f"record {name!r}: {what} is {number}")
    return number


def recorded() -> dict[str, dict]:
    """What this notebook has recorded so far, by name."""
    return dict(_records)


def summary() -> None:
    """Show every result that this notebook has recorded."""
    rows = [_cells(item) for item in _records.values()]
    plain = "\n".join("  ".join(cells).rstrip() for cells in rows)
    show(plain or "nothing recorded yet", html_table(rows, ["result", "value", "unit", "samples"]))


def claim(id: str, status: str, sentence: str, records: list[str]) -> None:
    """Say what became of one claim of the paper; `records` names the numbers that the verdict rests on.

    Raises ValueError for an id that ``claims.toml`` does not have, a status other than ``STATUSES``, or
    a number that was not recorded before.
    """
    if id not in claims():
        raise ValueError(f"claims.toml has no claim {id!r}; it has {', '.join(claims())}")
    if status not in STATUSES:
        raise ValueError(f"claim {id!r}: status {status!r} is none of {', '.join(STATUSES)}")
    missing = ", ".join(name for name in records if name not in _records)
    if missing or not records:
        raise ValueError(f"claim {id!r} rests on numbers not recorded yet: {missing or '(none named)'}")
    statement = claims()[id]["statement"]
    data = {"id": id, "status": status, "sentence": sentence, "records": [_records[name] for name in records]}
    html = (
        f'<div class="mlip-claim" data-status="{escape(status)}"><p><strong>Claim {escape(id)}</strong>: '
        f"{escape(statement)}</p><p><strong>{escape(status)}</strong>: {escape(sentence)}</p></div>"
    )
    show(f"Claim {id}: {statement}\n{status}: {sentence}", html, CLAIM, data)


def check(name: str, ok: Any, hint: str) -> None:
    """Tell a reader whether an exercise's answer is right, None being one still to come; the gate refuses a
    stored check that failed.
    """
    passed = None if ok is None else bool(ok)
    plain = {True: f"✓ {name}", False: f"✗ {name}: {hint}", None: f"○ {name}: not answered yet"}[passed]
    html = f'<div class="mlip-check" data-passed="{str(passed).lower()}">{escape(plain)}</div>'
    show(plain, html, CHECK, {"name": name, "passed": passed})
