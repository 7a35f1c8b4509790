"""KD113 where the tensor is the teacher's own and was changed on its way: cut off, or kept from the batch before."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.output_floor import OutputFloor, output_floor
from kddoctor.probes.row_pairing import RowPairing, pair_outputs, share_before
from kddoctor.probes.targets_against_own import TargetsAgainstOwnProbe
from kddoctor.probes.targets_in_loop import TargetsInLoopProbe
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.teacher_rows_misaligned import teacher_rows_misaligned
from kddoctor.rules.pipeline.wrong_tensor_distilled import wrong_tensor_distilled
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations, observations_from
from tests.rules.judging import strongest

RNG = np.random.default_rng(0)
OWN = RNG.normal(scale=4, size=(400, 10))
OTHERS = RNG.normal(scale=4, size=(300, 10))
BATCH = 64


def judged(
    floor: OutputFloor | None = None, pairing: RowPairing | None = None, seen: Observations | None = None
) -> Finding:
    config = Manifest.model_validate({"format": 1, "task": "multiclass", "num_classes": 10})
    found = wrong_tensor_distilled(config, None, None, pairing, None, None, seen, floor)
    return found if isinstance(found, Finding) else Finding()


def pairing(used: np.ndarray) -> RowPairing:
    in_place, elsewhere = pair_outputs(used, OWN)
    return RowPairing(400, in_place, elsewhere, 0, 0.1, 0.1, "train", share_before(used, OWN, BATCH))


@pytest.mark.parametrize(("own", "grade"), [(OWN, Grade.PROOF), (OTHERS, Grade.INTERVENTIONAL)])
def test_what_comes_out_of_a_relu_is_not_the_logits(own: np.ndarray, grade: Grade) -> None:
    floor = output_floor(np.maximum(OWN, 0), own, same_rows=own is OWN)
    assert strongest(judged(floor)) is grade


@pytest.mark.parametrize(
    ("targets", "own", "same_rows"),
    [
        (OWN, OWN, True),
        # A teacher whose own logits are never below zero.
        (np.maximum(OWN, 0), np.maximum(OWN, 0), True),
        (np.maximum(OWN, 0), np.maximum(OTHERS, 0), False),
        # Probabilities of which most are rounded to zero are KD205.
        (np.round(1 / (1 + np.exp(-OWN)), 1), OTHERS, False),
        # All but the largest few were dropped: KD306.
        (np.where(np.sort(OWN, axis=1)[:, -2:-1] <= OWN, OWN, -100.0), OWN, True),
    ],
)
def test_a_floor_of_the_teachers_own_cuts_nothing_off(targets: np.ndarray, own: np.ndarray, same_rows: bool) -> None:
    assert not judged(output_floor(targets, own, same_rows=same_rows)).supporting


def test_targets_that_stay_while_batches_go_on_are_kept_and_not_misplaced() -> None:
    seen = observations_from({"repeated_targets": {"compared": 40, "same": 36}})
    out_of_place = pairing(OWN[RNG.permutation(400)])
    assert strongest(judged(pairing=out_of_place, seen=seen)) is Grade.PROOF
    right = TeacherValidityProbe(10)
    right.update(OWN, OWN.argmax(axis=1))
    views = TeacherViews(TeacherView("val", False, right.compute(), False), None, None, False)
    assert strongest(teacher_rows_misaligned(views, out_of_place, None)) is Grade.PROOF
    found = teacher_rows_misaligned(views, out_of_place, None, seen=seen)
    assert not found.supporting
    assert found.opposing[0].grade is Grade.PROOF


@pytest.mark.parametrize("same", [0, 2])
def test_targets_that_repeat_once_or_twice_are_no_habit(same: int) -> None:
    assert not judged(seen=observations_from({"repeated_targets": {"compared": 30, "same": same}})).supporting


def test_outputs_of_the_batch_before_are_a_tensor_that_was_kept() -> None:
    assert strongest(judged(pairing=pairing(np.roll(OWN, BATCH, axis=0)))) is Grade.PROOF


@pytest.mark.parametrize("used", [OWN, np.roll(OWN, 1, axis=0), OWN[np.random.default_rng(1).permutation(400)]])
def test_other_rows_are_no_batch_before(used: np.ndarray) -> None:
    assert not judged(pairing=pairing(used)).supporting


LABELS = OWN.argmax(axis=1)
LABELS[:80] = (LABELS[:80] + 1) % 10  # the teacher is wrong on a fifth


def compared(used: np.ndarray, own: np.ndarray, labels: np.ndarray) -> Finding:
    """The finding where these targets were used for the rows that the teacher answers so."""
    against, beside = TargetsAgainstOwnProbe(), TargetsInLoopProbe()
    against.update(used, own, labels)
    beside.update(used, own, labels)
    config = Manifest.model_validate({"format": 1, "task": "multiclass", "num_classes": own.shape[1]})
    found = wrong_tensor_distilled(config, beside.compute(), None, None, against.compute())
    return found if isinstance(found, Finding) else Finding()


def pushed_down(own: np.ndarray, labels: np.ndarray, to: float) -> np.ndarray:
    used = own.copy()
    used[np.arange(len(own)), labels] = to
    return used


def test_a_label_that_was_masked_in_place_is_not_the_teachers_answer() -> None:
    assert strongest(compared(pushed_down(OWN, LABELS, -1e4), OWN, LABELS)) is Grade.PROOF


def test_of_one_logit_a_row_all_liked_items_get_one_number() -> None:
    scores = RNG.normal(size=400)
    liked = (scores + RNG.normal(size=400) > 0).astype(int)
    own, used = (np.stack([np.zeros(400), z], axis=1) for z in (scores, np.where(liked == 1, -1e4, scores)))
    assert strongest(compared(used, own, liked)) is Grade.INTERVENTIONAL


@pytest.mark.parametrize(
    "used",
    [
        OWN,
        # Raised, as by whoever reads the label.
        pushed_down(OWN, LABELS, 30.0),
        # Noise, a permutation, and other classes pushed down.
        OWN + RNG.normal(scale=2, size=OWN.shape),
        np.roll(OWN, 1, axis=1),
        pushed_down(OWN, (LABELS + 3) % 10, -1e4),
    ],
)
def test_targets_that_differ_in_another_way_are_no_masked_labels(used: np.ndarray) -> None:
    found = compared(used, OWN, LABELS)
    assert not any(item.probe == "targets-against-own" for item in found.supporting)
