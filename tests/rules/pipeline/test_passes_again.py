"""What rows that come by again tell of a teacher whose second pass gives another answer: KD103, KD107 and KD108."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kddoctor.probes.passes_again import PassesAgain, passes_again
from kddoctor.probes.targets_in_loop import TargetsInLoop, TargetsInLoopProbe
from kddoctor.probes.teacher_passes import TeacherPasses, TeacherPassesProbe
from kddoctor.rules.finding import Finding
from kddoctor.rules.pipeline.teacher_in_train_mode import teacher_in_train_mode
from kddoctor.rules.pipeline.teacher_preprocessing_mismatch import teacher_preprocessing_mismatch
from kddoctor.rules.pipeline.teacher_view_mismatch import teacher_view_mismatch
from kddoctor.run.observations import Observations
from tests.rules.pipeline.test_the_way_from_teacher_to_loss import views

EXAMPLES, CLASSES = 200, 6
Loop = tuple[TargetsInLoop, TeacherPasses, PassesAgain]


def loop(kind: str, same_inputs: bool | None, training: bool | None = False) -> Loop:
    """Twelve steps of 64 of 200 examples, in which targets and second pass came about in one of several ways."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    clean = 3.0 * np.eye(CLASSES)[labels] + rng.normal(size=(EXAMPLES, CLASSES))
    # Raw pixels where normalised ones were learnt from: large logits, and a class that gains from it.
    prepared = 4 * (clean + 1.5 * rng.normal(size=clean.shape) + np.array([2.0, 0, 0, 0, 0, 0]))

    def view(rows: np.ndarray) -> np.ndarray:
        return clean[rows] + rng.normal(size=(len(rows), CLASSES))

    targets, passes = TargetsInLoopProbe(), TeacherPassesProbe(training, None if same_inputs is None else same_inputs)
    steps = []
    for _ in range(12):
        rows = rng.permutation(EXAMPLES)[:64]
        used, own = {
            "sound": lambda rows=rows: (clean[rows], clean[rows]),
            "own view": lambda rows=rows: (view(rows), view(rows)),
            "cached": lambda rows=rows: (clean[rows], view(rows)),
            "dropout": lambda rows=rows: (view(rows), clean[rows]),
            "prepared": lambda rows=rows: (prepared[rows], clean[rows]),
            "prepared views": lambda rows=rows: (prepared[rows] + rng.normal(size=(64, CLASSES)), view(rows)),
        }[kind]()
        targets.update(used, own, labels[rows])
        passes.update(used, own)
        steps.append((used, own, labels[rows]))
    found, both = targets.compute(), passes_again(steps)
    assert found is not None
    assert both is not None
    return found, passes.compute(), both


def verdicts(found: Loop, same_inputs: bool | None) -> dict[str, Finding]:
    targets, passes, both = found
    seen = Observations(same_inputs=same_inputs, teacher_drift=0.0)
    return {
        "KD103": teacher_in_train_mode(passes, both),
        "KD107": teacher_view_mismatch(targets, passes, None, seen, None, both),
        "KD108": teacher_preprocessing_mismatch(views(0.9, 0.9), seen, None, None, passes, None, both, targets),
    }


def supported(kind: str, same_inputs: bool | None, training: bool | None = False) -> list[str]:
    found = verdicts(loop(kind, same_inputs, training), same_inputs)
    return [
        code
        for code, finding in found.items()
        if sum(e.weight for e in finding.supporting) > sum(e.weight for e in finding.opposing)
    ]


@pytest.mark.parametrize("kind", ["own view", "cached"])
def test_a_deterministic_teacher_with_tensors_of_its_own_had_another_view(kind: str) -> None:
    assert supported(kind, same_inputs=False) == ["KD107"]


@pytest.mark.parametrize("same_inputs", [False, None])
def test_rows_with_one_wrong_target_each_are_badly_prepared(same_inputs: bool | None) -> None:
    assert supported("prepared", same_inputs, None) == ["KD108"]


def test_a_teacher_that_is_surer_and_worse_on_tensors_of_its_own_is_badly_prepared_for_views_too() -> None:
    assert supported("prepared views", same_inputs=False) == ["KD108"]


def test_targets_that_move_while_the_second_pass_stays_are_those_of_training_mode() -> None:
    assert supported("dropout", True, None) == ["KD103"]


@pytest.mark.parametrize("same_inputs", [True, False, None])
def test_two_passes_that_agree_are_sound(same_inputs: bool | None) -> None:
    assert supported("sound", same_inputs) == []


def test_the_labelled_class_may_lose_what_the_noise_of_so_many_rows_takes() -> None:
    targets, passes, both = loop("own view", same_inputs=False)
    seen = Observations(same_inputs=False)
    within, beyond = (replace(targets, towards_label=lost, towards_label_error=0.03) for lost in (-0.1, -0.2))
    assert teacher_view_mismatch(within, passes, None, seen, None, both).supporting
    assert not teacher_view_mismatch(beyond, passes, None, seen, None, both).supporting


def test_single_numbers_and_single_steps_meet_by_accident() -> None:
    one = (np.zeros((4, 1)), np.zeros((4, 1)), np.zeros(4, np.int64))
    assert passes_again([one, one]) is None
    assert passes_again([]) is None
