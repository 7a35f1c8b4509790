"""Colours and axes that several pictures share."""

import altair as alt
import streamlit as st

from kddoctor.app.palette import DARK, LIGHT, Palette

#: Each model has a colour, a dash and a shape of its own.
MODELS = ["teacher", "student", "labels only"]
DASHES = [[1, 0], [6, 3], [2, 2]]
SHAPES = ["circle", "square", "triangle-up"]


def palette() -> Palette:
    """Of the theme that the page is shown in."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def _colours() -> alt.Scale:
    return alt.Scale(domain=MODELS[:2], range=list(palette().series[:2]))


def model_colour() -> alt.Color:
    """The column ``model`` as a colour, with the legend."""
    return alt.Color("model:N", title=None, scale=_colours(), legend=alt.Legend(orient="top"))


def model_fill() -> alt.Fill:
    """The column ``model`` as the colour inside of a shape."""
    return alt.Fill("model:N", scale=_colours(), legend=None)


def model_dash() -> alt.StrokeDash:
    """The column ``model`` as a dash."""
    return alt.StrokeDash("model:N", title=None, scale=alt.Scale(domain=MODELS[:2], range=DASHES[:2]), legend=None)


def model_shape() -> alt.Shape:
    """The column ``model`` as a shape."""
    return alt.Shape("model:N", title=None, scale=alt.Scale(domain=MODELS[:2], range=SHAPES[:2]), legend=None)


def percent_axis(title: str | None) -> alt.Axis:
    """Shares as people read them."""
    return alt.Axis(format=".0%", title=title)


def rule_at(values: list[float], channel: str, *, dash: bool = True) -> alt.Chart:
    """Thin lines across the picture. channel: x or y."""
    rule = alt.Chart(alt.Data(values=[{"at": value} for value in values]))
    mark = rule.mark_rule(color=palette().foreground, strokeDash=[4, 3] if dash else [1, 0], opacity=0.7)
    return mark.encode(**{channel: "at:Q"})
