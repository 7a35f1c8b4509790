"""What is believed of a recipe's seeds before any of its runs was seen twice."""

from kddoctor.baselines.paired import SeedNoise

#: Degrees of freedom that the beliefs below are worth: recipes differ, and a third of the truth is no surprise.
FREEDOM = 8.0
#: Variance between seeds over that of examples that flip each for itself, by figure. Above what converged recipes of
#: digits, newsgroups and sentiment had (``python -m benchmarks.regressions``: accuracy 0.8 to 1.5, agreement 1.0 to
#: 1.7, calibration 0.3 to 1.4); recipes that stop too early have several times as much.
INFLATION = {"accuracy": 1.5, "agreement": 2.5, "calibration error": 1.5, "auc": 2.5, "ndcg": 2.0, "retention": 1.5}
#: Of the rows of one class, which a moved boundary takes along together.
RECALL_INFLATION = 2.0


def before_any_run(figure: str) -> SeedNoise:
    """The belief about one figure, or about the recall of a class."""
    return SeedNoise(INFLATION.get(figure, RECALL_INFLATION), FREEDOM)
