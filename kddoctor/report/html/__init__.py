"""The diagnosis as one HTML file that asks nothing of the network."""

from kddoctor.report.html.page import render_html

__all__ = ["render_html"]
