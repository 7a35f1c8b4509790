"""Classes that the teacher does not know: it was trained where two are one, or where some hardly occur."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.settings import Count, Deviations, Share

#: Held-out rows of a class from which its absence among the answers is read.
FEWEST: Count = 10
#: Share of a class's rows that are called by the other's name, at least, and share of answers with its own, at most.
CALLED: Share = 0.8
NEVER: Share = 0.02
#: Accuracy once both names count as one; what that has to add.
RIGHT: Share = 0.8
ADDED: Share = 0.03
#: Wrong labels teach this only where most of a class bears the other's name: then that has three times as many rows.
ALIKE: Share = 0.5
#: Entropy, as a share of the largest possible, above which nothing is called by a name for certain.
SURE: Share = 0.5
#: Standard errors by which the smallest of many classes may be called by its name less often than they all are.
ERRORS: Deviations = 2.0
#: Share of the classes that have a name of their own, at most: another order of them loses one or two (KD105).
COARSER: Share = 0.75
#: Share of its rows that a teacher finds of a class that it was trained on.
KNOWN: Share = 0.8
#: Share of its frequency that a class gets in probability, on average, from a teacher that it was kept from; one that
#: merely finds it hard gives it about all (identity of a cross-entropy with a bias for each class); convention.
BELOW: Share = 0.5


@dataclass(frozen=True)
class Merged:
    """pairs: (class, what its rows are called). accuracy: once both names count as one. renamed: the teacher has names
    of its own for what it tells apart, so that a class may bear the name of another that is not alike.
    """

    pairs: tuple[tuple[int, int], ...]
    accuracy: float
    renamed: bool = False


def merged_classes(found: TeacherValidity) -> Merged | None:
    """None where the teacher tells all classes apart, or where merging them does not make it right."""
    table = found.confusion
    if table is None or len(table) < 3:  # two classes that are one leave no task
        return None
    rows = table.sum(axis=0)
    pairs = []
    for number in np.flatnonzero(rows >= FEWEST):
        other = int(table[:, number].argmax())
        called = table[other, number] >= CALLED * rows[number] and table[other, other] >= CALLED * rows[other]
        never = table[number].sum() <= NEVER * rows[number]
        if other != number and called and never and rows[number] >= ALIKE * rows[other]:
            pairs.append((int(number), other))
    added = sum(int(table[other, number]) for number, other in pairs) / found.n
    accuracy = found.accuracy + added
    return Merged(tuple(pairs), accuracy) if added >= ADDED and accuracy >= RIGHT else _renamed(found, table)


def _renamed(found: TeacherValidity, table: NDArray[np.int64]) -> Merged | None:
    """Every class has one name, and there are fewer names than classes: it was trained on numbers of coarser ones."""
    if found.entropy_ratio_median > SURE:
        return None
    rows = table.sum(axis=0)
    classes = np.flatnonzero(rows >= FEWEST)
    called = table[:, classes].argmax(axis=0)
    noise = ERRORS * np.sqrt(CALLED * (1 - CALLED) / rows[classes])
    certain = table[called, classes] / rows[classes] >= CALLED - noise
    names = len(set(called.tolist()))
    accuracy = float(table[called, classes].sum() / found.n)
    if not 2 <= names <= COARSER * len(classes) or not certain.all() or accuracy < RIGHT:
        return None
    pairs = [(int(one), int(name)) for one, name in zip(classes, called, strict=True) if one != name]
    return Merged(tuple(pairs), accuracy, renamed=True)


def unanswered_classes(splits: Sequence[TeacherValidity]) -> tuple[list[int], float]:
    """Classes that the teacher was kept from, and their share of all rows.

    None of them unless it finds nearly all rows of another class: a teacher that is poor at all of them is another one.
    """
    table = _counts(splits)
    if table is None:
        return [], 0.0
    rows = table.sum(axis=0)
    never = kept_from(splits)
    knows = (rows >= FEWEST) & (np.diag(table) >= KNOWN * rows)
    if not never.any() or knows.sum() < 2:
        return [], 0.0
    return [int(number) for number in np.flatnonzero(never)], float(rows[never].sum() / rows.sum())


def kept_from(splits: Sequence[TeacherValidity]) -> NDArray[np.bool_]:
    """[C] classes with rows enough that the teacher answers next to never in any split, nor thinks of.

    Empty where no counts of answers were kept.
    """
    table = _counts(splits)
    if table is None:
        return np.zeros(0, bool)
    rows = table.sum(axis=0)
    never = (rows >= FEWEST) & (table.sum(axis=1) <= NEVER * rows)
    share = share_of_probability(splits)
    return np.asarray(never if share is None else never & (share <= BELOW))


def share_of_probability(splits: Sequence[TeacherValidity]) -> NDArray[np.float64] | None:
    """[C] what the teacher gives each class, on average, over how often it occurs; infinite for one that never does.

    About 1 for a class that it merely finds hard: who minimised a cross-entropy where the class occurs says so on
    average, though some other may be likelier on every row. None where it was not measured.
    """
    known = [(found.n, found.mean_probability, found.label_prior) for found in splits]
    if not known or any(means is None for _, means, _ in known):
        return None
    given, occurs = (np.sum([row[0] * np.asarray(row[at]) for row in known], axis=0) for at in (1, 2))
    return np.asarray(np.divide(given, occurs, out=np.full(len(given), np.inf), where=occurs > 0))


def _counts(splits: Sequence[TeacherValidity]) -> NDArray[np.int64] | None:
    tables = [found.confusion for found in splits if found.confusion is not None]
    return np.sum(tables, axis=0) if tables else None
