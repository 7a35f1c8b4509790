"""One view-model for each picture or table: the numbers, the question that they answer, and the answer."""

from kddoctor.report.views.view import View as View
