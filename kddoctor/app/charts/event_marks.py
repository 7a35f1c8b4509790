"""What happened during the training, as lines across a picture of its steps."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import palette
from kddoctor.app.charts.steps_axis import steps
from kddoctor.report.views.training_events import GLYPHS
from kddoctor.report.views.view import Event

DASHES = ([1, 0], [4, 3], [8, 3], [2, 4])


def event_marks(events: Sequence[Event], window: tuple[float, float] | None = None) -> list[alt.Chart]:
    """A thin line for each event within the window, with its sign on top; no layers where there is none."""
    shown = [event for event in events if window is None or window[0] <= event.step <= window[1]]
    if not shown:
        return []
    frame = pd.DataFrame(shown).assign(glyph=[GLYPHS[event.kind][0] for event in shown])
    kinds = list(GLYPHS)
    base = alt.Chart(frame).encode(x=steps(window), tooltip=["step", "text"])
    dash = alt.StrokeDash("kind:N", scale=alt.Scale(domain=kinds, range=list(DASHES)), legend=None)
    rules = base.mark_rule(color=palette().foreground, opacity=0.55).encode(strokeDash=dash)
    # Above the picture, where no curve runs.
    signs = base.mark_text(color=palette().foreground, fontSize=12, dy=-7).encode(y=alt.value(0), text="glyph:N")
    return [rules, signs]
