"""A term without a gradient, seen from two norms that any loop can write; outputs of other rows, from their kind."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.targets_in_loop import TargetsInLoop, TargetsInLoopProbe
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.probes.term_gradients import TermReach, term_reach_of
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.pipeline.student_branch_detached import student_branch_detached
from kddoctor.rules.pipeline.teacher_rows_misaligned import _as_a_shuffle
from kddoctor.run.manifest import manifest_from

PLAIN = {"task": "multiclass", "num_classes": 10, "distillation": {"loss": "kl", "temperature": 4.0, "alpha": 0.9}}
NAN = float("nan")


class _Loss:
    """What the rule asks of a loss: a term that was computed from the recorded logits, and is in the total."""

    kd_always_zero = False
    mix = None
    term = object()


def judged(reach: TermReach | None, loss: object = _Loss()) -> Finding | NotExamined:
    return student_branch_detached(manifest_from(PLAIN), None, cast(LossForensics, loss), None, None, cast(Any, reach))


@pytest.mark.parametrize(
    ("norms", "grade"),
    [([0.0, 0.0, 0.0, NAN], Grade.PROOF), (None, Grade.INTERVENTIONAL), ([NAN] * 4, Grade.INTERVENTIONAL)],
)
def test_a_term_without_a_gradient_beside_one_that_has_it_is_detached(norms: Any, grade: Grade) -> None:
    reach = term_reach_of(np.ones(4), None if norms is None else np.array(norms), np.array([0.3, 0.2, 0.1, NAN]))
    found = judged(reach)
    assert isinstance(found, Finding)
    assert max(item.grade for item in found.supporting) is grade


def test_a_term_with_a_gradient_is_connected() -> None:
    found = judged(term_reach_of(np.ones(4), np.array([0.3, 0.0, 0.1, 0.2]), np.full(4, 0.3)))
    assert isinstance(found, Finding)
    assert not found.supporting


def test_a_term_that_is_zero_has_no_gradient_to_lose() -> None:
    assert term_reach_of(np.zeros(4), None, np.full(4, 0.3)) is None


def test_a_term_of_other_logits_has_its_gradient_elsewhere() -> None:
    class Elsewhere(_Loss):
        term = None

    found = judged(TermReach(steps=8, zero=0, unseen=8), Elsewhere())
    assert isinstance(found, Finding)
    assert not found.supporting
    # One that was seen, and is zero, belongs to these.
    rounded = judged(TermReach(steps=8, zero=8, unseen=0), Elsewhere())
    assert isinstance(rounded, Finding)
    assert rounded.supporting


def test_without_any_norm_nothing_is_examined() -> None:
    assert isinstance(judged(None), NotExamined)


# KD106 ----------------------------------------------------------------------------------------------------------------


def targets(used: np.ndarray, own: np.ndarray) -> TargetsInLoop:
    probe = TargetsInLoopProbe()
    probe.update(used, own, np.zeros(len(own), np.int64))
    found = probe.compute()
    assert found is not None
    return found


def passes(**changes: Any) -> TeacherPasses:
    plain = {"teacher_training": False, "same_inputs": None} | changes
    return TeacherPasses(600, 0.4, 0.5, 0.2, **plain)


OWN = np.random.default_rng(0).normal(size=(600, 10)) + 5 * np.eye(10)[np.arange(600) % 10]
SOME = np.arange(0, 600, 4)


def test_outputs_of_rows_that_were_not_recorded_are_still_outputs_of_other_rows() -> None:
    others = (
        np.random.default_rng(1).normal(size=(600, 10)) + 5 * np.eye(10)[np.random.default_rng(2).integers(0, 10, 600)]
    )
    mixed = OWN.copy()
    mixed[SOME] = others[SOME]
    assert _as_a_shuffle(targets(others, OWN), passes())
    assert _as_a_shuffle(targets(mixed, OWN), passes())
    # The teacher itself saw these very inputs: whatever was made of its answers, no cache did it.
    assert not _as_a_shuffle(targets(mixed, OWN), passes(same_inputs=1.0))


def test_one_output_for_many_rows_is_an_output_of_other_rows() -> None:
    assert _as_a_shuffle(targets(OWN[np.random.default_rng(3).integers(0, 60, 600)], OWN), passes())


@pytest.mark.parametrize("kind", ["view", "noise", "columns", "wrong class", "features", "constant"])
def test_what_follows_from_the_row_or_is_no_output_is_something_else(kind: str) -> None:
    rng = np.random.default_rng(4)
    used = OWN.copy()
    if kind == "view":
        used = OWN + rng.normal(size=OWN.shape)
    elif kind == "noise":
        used[SOME] = 3 * rng.normal(size=OWN[SOME].shape)
    elif kind == "columns":
        used = OWN[:, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]]
    elif kind == "wrong class":
        used[SOME] = np.roll(OWN[SOME], 3, axis=1)
    elif kind == "features":
        used = np.abs(rng.normal(size=OWN.shape))
    else:
        used[SOME] = 0.0
    assert not _as_a_shuffle(targets(used, OWN), passes())
