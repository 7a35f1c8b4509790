"""What is believed of a recipe's seeds before any of its runs was seen twice."""

from kddoctor.baselines.paired import SeedNoise

#: Variance between seeds over that of examples that flip each for itself, and how many degrees of freedom that belief
#: is worth. Measured on digits, newsgroups and sentiment (``python -m benchmarks.regressions``): 0.9 to 1.3 for
#: accuracy, 1.1 to 2.5 for agreement, 0.3 to 0.8 for calibration, and far more for recipes that stop too early. Twice
#: the variance of independent flips, worth four degrees of freedom, makes 5 no surprise.
UNSEEN = SeedNoise(inflation=2.0, freedom=4.0)
