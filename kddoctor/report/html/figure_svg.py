"""One matplotlib figure as an SVG element that can stand in a page beside others."""

import io
import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from kddoctor.report.html.palette import BACKGROUND, FOREGROUND, LINE, SOFT, with_variables
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Draws a view and says nothing about its size or colours' values.
Draw = Callable[["Figure", View], None]

#: Inches; 72 points each, of which the page makes at least 1.1 CSS pixels.
WIDTH = 6.6
STYLE: dict[str, Any] = {
    "svg.hashsalt": "kddoctor",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": FOREGROUND,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": FOREGROUND,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": FOREGROUND,
    "ytick.labelcolor": FOREGROUND,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.8,
    "hatch.color": BACKGROUND,
}


def inlined_svg(view: View, draw: Draw, height: float = 3.2) -> str:
    """The picture of a view, the same bytes for the same view. height: inches.

    It is an image with a title (the question) and a description (the alternative text); every id starts with the view's
    name, since ids of several pictures in one page would cross-link.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # keys are a literal type of every setting
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure, view)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    return _accessible(_own_ids(with_variables(_bare(svg)), view.name), view)


def _bare(svg: str) -> str:
    """Without prologue, metadata and style element: the page's own policy allows no style that it does not know."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
    # Groups are named for people who edit the file; only what is referred to needs an id.
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    return re.sub(r' id="([^"]+)"', lambda found: found.group(0) if found.group(1) in used else "", svg)


def _own_ids(svg: str, prefix: str) -> str:
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    return re.sub(r'href="#', f'href="#{prefix}-', svg)


def _accessible(svg: str, view: View) -> str:
    title, described = f"{view.name}-title", f"{view.name}-desc"
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    opening = (
        f'<svg class="picture" role="img" aria-labelledby="{title} {described}" viewBox="{box.group(1)}" '
        'xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{title}">{escape(view.question)}</title><desc id="{described}">{escape(view.alt)}</desc>'
    )
    return opening + svg[svg.index(">") + 1 :].replace("xlink:href", "href")
