"""Chapters are numbered from zero, as their files are: the figures of chapter 7 are 7.1, 7.2, ...

Sphinx numbers from one. When it has numbered sections and figures, one is taken off all of chapters.
"""

from docutils import nodes


def from_zero(app, env) -> list[str]:
    """Chapters whose numbers changed; called after Sphinx has given its own."""
    chapters = [name for name in env.toc_secnumbers if name.rsplit("/", 1)[-1].startswith("ch")]
    for name in chapters:
        sections = env.toc_secnumbers[name]
        env.toc_secnumbers[name] = {anchor: _less(number) for anchor, number in sections.items()}
        for kind, figures in env.toc_fignumbers.get(name, {}).items():
            env.toc_fignumbers[name][kind] = {key: _less(number) for key, number in figures.items()}
        for node in (*env.tocs[name].findall(nodes.reference), env.titles[name]):
            if node.get("secnumber"):
                node["secnumber"] = _less(node["secnumber"])
    return chapters


def _less(number: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return (number[0] - 1, *number[1:]) if number else number


def setup(app) -> dict:
    app.connect("env-get-updated", from_zero, priority=900)
    return {"version": "1", "parallel_read_safe": True}
