"""What the site generates from the stored notebooks: the status table and the claims ledger, in Markdown."""

from pathlib import Path

from . import notebooks
from .profiles import devices
from .records import claims, format_value

SHOWN = 3  # of what changed, by name


def status(paths: list[Path]) -> str:
    """Each chapter's last run: profile, device, time, date, and what it depends on that changed since."""
    lines = ["| chapter | state | profile | device | seconds | date |", "|---|---|---|---|---|---|"]
    for path in paths:
        columns = ["never run", "", "", "", ""]
        if s := notebooks.read(path)["metadata"].get("mlipbook"):
            columns = [_state(path), s["profile"], s["device"], f"{s['seconds']:.0f}", s["date"]]
        lines.append(f"| {_link(path)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def run_times(paths: list[Path]) -> str:
    """Minutes of each chapter's stored run, and what is known of it on a GPU."""
    lines = ["| chapter | profile | on | minutes | on a GPU |", "|---|---|---|---|---|"]
    for path in paths:
        notebook = notebooks.read(path)
        if stamp := notebook["metadata"].get("mlipbook"):
            ran = devices().get(path.stem)
            there = (
                f"{ran['seconds'] / 60:.1f} ({ran['gpu']}, {ran['date']})"
                if ran
                else "not run: the CPU is chosen"
            )
            columns = [stamp["profile"], stamp["device"], f"{stamp['seconds'] / 60:.1f}", there]
            lines.append(f"| {_link(path)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _state(path: Path) -> str:
    changed = [f"`{name.removeprefix('mlipbook/')}`" for name in notebooks.changed_since(path)]
    more = [f"{len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    return "changed since: " + ", ".join(changed[:SHOWN] + more) if changed else "current"


def ledger(paths: list[Path]) -> str:
    """Every claim of the paper with the verdict of the chapter that tested it, or "not yet tested"."""
    decided: dict[str, list[tuple[Path, dict]]] = {}
    for path in paths:
        for item in notebooks.claims(notebooks.read(path)):
            decided.setdefault(item["id"], []).append((path, item))
    parts = []
    for id, entry in claims().items():
        parts += [f"**{id}** ({entry['where']})", f": {entry['statement']}\n"]
        if id not in decided:
            parts.append(f"  *Not yet tested*; planned for chapter {entry['chapter']}.\n")
        for path, item in decided.get(id, []):
            numbers = "; ".join(
                f"{number['name']}: {format_value(number['value'], number['sem'])} {number['unit']}"
                for number in item["records"]
            )
            verdict = f"**{item['status'].capitalize()}** ({_link(path)}): {item['sentence']}"
            parts.append(f"  {verdict} *Recorded:* {numbers}.\n")
    return "\n".join(parts)


def _link(path: Path) -> str:
    return f"{int(path.stem[2:4])}. {{doc}}`{path.stem}`"
