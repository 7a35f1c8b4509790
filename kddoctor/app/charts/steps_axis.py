"""The axis that all pictures of the training share."""

import altair as alt


def steps(window: tuple[float, float] | None) -> alt.X:
    """window: steps that are shown, all of them where left out."""
    scale = alt.Scale(domain=list(window), nice=False) if window else alt.Scale(nice=False)
    return alt.X("step:Q", title="training step", scale=scale)
