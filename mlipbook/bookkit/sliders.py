"""A slider over precomputed frames: one HTML output, no kernel, no network."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Any

from .records import show

TEMPLATE = """<figure class="mlip-slider" style="margin:1em 0">
<div class="mlip-card" style="background:white;text-align:center">{images}</div>
<label style="display:flex;gap:.8em;align-items:center">{title}
<input type="range" min="0" max="{last}" value="{start}" step="1" style="flex:1;min-width:6em"
 aria-valuetext="{label}" oninput="const f=this.closest('figure'),k=+this.value,g=f.querySelectorAll('img');
g.forEach((m,i)=>m.style.display=i===k?'inline':'none');
f.querySelector('output').textContent=g[k].dataset.label;
this.setAttribute('aria-valuetext',g[k].dataset.label)">
<output style="min-width:6em">{label}</output></label>
<figcaption>{caption}</figcaption></figure>"""


def slider(
    frames: Sequence,
    labels: Sequence[str],
    title: str,
    alt: str,
    caption: str,
    start: int = 0,
    dpi: int = 120,
) -> None:
    """Show `frames` (matplotlib figures, or bytes of an SVG, PNG or WebP) behind one slider.

    `title` names what is dragged, `labels` says it per frame ("300 K"), and a frame's alternative text
    is "`alt`, `label`". Figures are drawn at `dpi`, stored as lossless WebP, and closed.
    Raises ValueError unless there is one label per frame and at least two frames.
    """
    n = len(frames)
    if n != len(labels) or n < 2:
        raise ValueError(f"{n} frames and {len(labels)} labels: a slider needs two frames, a label for each")
    images = "".join(
        f'<img class="dark-light" src="{_data_uri(frame, dpi)}" alt="{escape(f"{alt}, {label}")}" '
        f'data-label="{escape(label)}" style="max-width:100%;display:{"inline" if k == start else "none"}">'
        for k, (frame, label) in enumerate(zip(frames, labels, strict=True))
    )
    fields = {"title": escape(title), "label": escape(labels[start]), "caption": escape(caption)}
    html = TEMPLATE.format(images=images, last=n - 1, start=start, **fields)
    show(f"[slider] {title}: {labels[0]} to {labels[-1]}. {caption}", html)


def _data_uri(frame: Any, dpi: int) -> str:
    content = frame if isinstance(frame, bytes) else _draw(frame, dpi)
    kind = {b"\x89PNG": "png", b"RIFF": "webp"}.get(content[:4], "svg+xml")
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _draw(figure: Any, dpi: int) -> bytes:
    import matplotlib.pyplot as plt

    buffer = BytesIO()
    # No tight bounding box: frames of one size do not jump under the slider.
    with plt.rc_context({"savefig.bbox": None}):
        figure.savefig(buffer, format="webp", dpi=dpi, facecolor="white", pil_kwargs={"lossless": True})
    plt.close(figure)
    return buffer.getvalue()
