"""What is believed of a recipe's seeds before any of its runs was seen twice."""

from kddoctor.baselines.paired import SeedNoise

#: Degrees of freedom that the beliefs below are worth: recipes differ, and a third of the truth is no surprise.
FREEDOM = 8.0
#: Variance between seeds over that of examples that flip each for itself, by figure; 1 is what McNemar's test takes it
#: to be. Means over recipes of digits, newsgroups and sentiment (``python -m benchmarks.regressions``: accuracy 1.1,
#: 1.0 and 0.8, area under the curve 0.9, agreement 1.2, 1.6 and 1.1, calibration error 0.7, 0.3 and 0.6), and nowhere
#: below 1; recipes that stop too early have several times as much.
INFLATION = {"agreement": 1.3}
INDEPENDENT = 1.0
#: Of the rows of one class, which a moved boundary takes along together.
RECALL_INFLATION = 2.0


def before_any_run(figure: str) -> SeedNoise:
    """The belief about one figure, or about the recall of a class."""
    inflation = RECALL_INFLATION if figure.startswith("recall") else INFLATION.get(figure, INDEPENDENT)
    return SeedNoise(inflation, FREEDOM)
