"""Gradient-boosted trees on all measurements: the strongest judge that learns from examples without knowing why."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from kddoctor.bench.baselines.features import table
from kddoctor.bench.judged import Example, Judge, Judgement, judgement_of

#: Every iteration grows one tree for each label; these take seconds for 40 labels and 1,000 examples on one core.
ITERATIONS, LEAVES, RATE = 100, 8, 0.1
#: Bins of a feature, and the share of the features that a split looks at.
BINS, FEATURES = 64, 0.3
#: A code may have a dozen examples. Without the penalty the leaves of so rare a label run away, and what is
#: learned about it does not carry over to other runs.
SMALLEST_LEAF, PENALTY = 3, 1.0


def fit(examples: Sequence[Example]) -> Judge:
    """Ranks the labels by their probability. Missing features go where the training examples say."""
    labels = [example.label for example in examples]
    if len(set(labels)) < 2:
        only = dict.fromkeys(labels, 1.0)
        return lambda example: judgement_of(only)
    names = sorted({name for example in examples for name in example.features})
    known = table([example.features for example in examples], names)
    # A feature that never varies costs time and tells nothing.
    varied = [at for at, column in enumerate(known.T) if len(np.unique(column)) > 1]
    model = HistGradientBoostingClassifier(
        learning_rate=RATE,
        max_iter=ITERATIONS,
        max_leaf_nodes=LEAVES,
        max_bins=BINS,
        max_features=FEATURES,
        min_samples_leaf=SMALLEST_LEAF,
        l2_regularization=PENALTY,
        early_stopping=False,
        random_state=0,
    )
    model.fit(known[:, varied], labels)

    def judge(example: Example) -> Judgement:
        row = table([example.features], names)[:, varied]
        shares = model.predict_proba(row)[0]
        return judgement_of(dict(zip(map(str, model.classes_), map(float, shares), strict=True)))

    return judge
