"""Can a classifier tell from which split a row comes?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

#: Rows of each split that are used, at most, and folds of the cross-validation.
MAX_ROWS, FOLDS = 2000, 5
#: Places that a row is compared with, where a curved boundary is looked for, and rows that say how far it reaches.
LANDMARKS, SPREAD_ROWS = 200, 300
#: Strength of the penalty: weak evidence from many columns must not look like a difference. Near no difference it
#: weighs as much as that of a logistic regression with C = 0.1, whose loss curves a quarter as much as a square.
PENALTY = 40.0


@dataclass(frozen=True)
class TwoSamples:
    """Area under the ROC curve of a classifier for the split of a row, on rows that it was not fitted to.

    The better one of two: a linear one, and one of a row's likeness to some rows (Gaussian kernel), which sees columns
    that are alike one by one and go together otherwise. 0.5: the splits look the same; 1: they cannot be confused.
    standard_error: Hanley and McNeil 1982. Source: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests".
    """

    source: str
    train: int
    held_out: int
    auc: float
    standard_error: float


def two_samples(
    source: str, train: NDArray[np.floating], held_out: NDArray[np.floating], *, curved: bool = False
) -> TwoSamples | None:
    """Compare rows [n, d] and [m, d]; curved: by the second classifier as well. None for too few rows for the folds."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A row that is there twice, once to be fitted to and once to be judged on, would give its split away.
    parts = [np.unique(np.nan_to_num(part[:MAX_ROWS].astype(np.float64)), axis=0) for part in (train, held_out)]
    if min(map(len, parts)) < 4 * FOLDS:
        return None
    rows = np.concatenate(parts)
    origin = np.repeat([0, 1], [len(part) for part in parts])
    tables = [rows]
    if curved:
        # The rows that others are compared with are chosen without a look at their origin, once for all folds.
        reach = float(np.median(pdist(rows[:: -(-len(rows) // SPREAD_ROWS)], "sqeuclidean")))
        landmarks = min(LANDMARKS, len(rows) // 4)
        tables.append(Nystroem(gamma=1 / reach, n_components=landmarks, random_state=0).fit_transform(rows))
    areas: list[list[float]] = [[] for _ in tables]
    for fitted, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, origin):
        for area, columns in zip(areas, tables, strict=True):
            # Least squares: Fisher's discriminant, in one step where a likelihood takes hundreds.
            last = RidgeClassifier(PENALTY, class_weight="balanced", solver="cholesky")
            model = make_pipeline(StandardScaler(), last)
            model.fit(columns[fitted], origin[fitted])
            area.append(float(roc_auc_score(origin[judged], model.decision_function(columns[judged]))))
    auc = max(float(np.mean(area)) for area in areas)
    return TwoSamples(source, len(parts[0]), len(parts[1]), auc, area_error(auc, len(parts[0]), len(parts[1])))


def area_error(auc: float, negatives: int, positives: int) -> float:
    """Standard error of an area under the ROC curve (Hanley and McNeil 1982, equation 1)."""
    above = max(auc, 1 - auc)
    q1, q2 = above / (2 - above), 2 * above**2 / (1 + above)
    variance = above * (1 - above) + (positives - 1) * (q1 - above**2) + (negatives - 1) * (q2 - above**2)
    return float(np.sqrt(max(variance, 0) / (negatives * positives)))
