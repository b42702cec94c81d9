"""A Matplotlib figure as SVG for a page: with the colours and the font of the page, and a
description for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of a figure, and the variables of the page that replace them.
_THEME = (
    *("ink", "muted", "line", "paper", "accent", "soft", "fail"),
    *(f"heat-{level}" for level in range(6)),
    *(f"heat-ink-{level}" for level in range(6)),
)
COLOURS = {name: f"#0{place + 1:02x}0{place + 1:02x}" for place, name in enumerate(_THEME)}
_NAME_OF = {colour: name for name, colour in COLOURS.items()}
_COLOUR = re.compile("#[0-9a-f]{6}")
_FONT = re.compile(r"font: ((?:[a-z0-9-]+ )*)([\d.]+)px [^;]*")
_FAMILY = re.compile(r"font-family: [^;]*; ?")
_POINTS = 72


@contextmanager
def plotting() -> Iterator[None]:
    """Matplotlib with its defaults instead of the user's settings, and without TeX."""
    import warnings

    import matplotlib.style

    own = {
        "svg.fonttype": "none",
        "svg.hashsalt": "edgekit",
        "text.parse_math": False,
        "font.size": 10,
        "axes.facecolor": "none",
        "axes.edgecolor": COLOURS["line"],
        "axes.labelcolor": COLOURS["muted"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "text.color": COLOURS["ink"],
        "xtick.color": COLOURS["line"],
        "ytick.color": COLOURS["line"],
        "xtick.labelcolor": COLOURS["muted"],
        "ytick.labelcolor": COLOURS["ink"],
        "grid.color": COLOURS["line"],
        "grid.linewidth": 0.6,
    }
    with matplotlib.style.context(["default", own]), warnings.catch_warnings():
        # the font of the page has glyphs that Matplotlib's font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with a size in inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="none")


def inline(figure: Figure, key: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element; ``key`` makes its ids unique on the page."""
    target = BytesIO()
    figure.savefig(
        target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    root = ElementTree.fromstring(target.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(name): _value(_local(name), value, key) for name, value in element.items()
        }
    _describe(root, key, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _describe(root: ElementTree.Element, key: str, title: str, description: str) -> None:
    width = root.attrib.pop("width").removesuffix("pt")
    root.attrib.pop("height")
    root.attrib.pop("version", None)
    root.attrib.update(
        {
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-desc",
            "aria-label": title,
            "style": f"width: {float(width) / _POINTS * 96:.0f}px",
        }
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{key}-{tag}"})
        element.text = text
        root.insert(place, element)


def _local(name: Any) -> str:
    return str(name).rpartition("}")[2]


def _value(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value.removeprefix('#')}"
    if name == "clip-path":
        return value.replace("url(#", f"url(#{key}-")
    if name == "style":
        return _COLOUR.sub(_variable, _FAMILY.sub("", _FONT.sub(_font, value)))
    return value


def _variable(found: re.Match[str]) -> str:
    name = _NAME_OF.get(found[0])
    return f"var(--{name})" if name else found[0]


def _font(found: re.Match[str]) -> str:
    bold = "; font-weight: 600" if re.search("bold|[6-9]00", found[1]) else ""
    return f"font-size: {found[2]}px{bold}"
