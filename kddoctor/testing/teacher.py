"""``assert_teacher_valid``: is the teacher worth following?"""

from typing import TYPE_CHECKING, NamedTuple

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.probes.measurements import TeacherViews
from kddoctor.testing.given import RunOrPath, as_array, opened
from kddoctor.testing.hiding import ending_at_the_caller
from kddoctor.testing.teacher_view import answers, view_of
from kddoctor.testing.verdicts import failing, judged, silent, told

if TYPE_CHECKING:
    from torch import nn

#: Weights that were not loaded, a weak one, dropout, learning, another order of classes, other preprocessing.
CODES = ("KD101", "KD102", "KD103", "KD104", "KD105", "KD108")
#: Those of them that logits and labels alone can show.
BY_LOGITS = ("KD101", "KD105")


class _Judged(NamedTuple):
    """A teacher's diagnosis, the codes that are asked for, and its metric."""

    name: str
    diagnosis: Diagnosis
    codes: tuple[str, ...]
    metric: str
    reached: float | None


@ending_at_the_caller
def assert_teacher_valid(
    run: RunOrPath | None = None,
    *,
    teacher_logits: object = None,
    labels: object = None,
    teacher: "nn.Module | None" = None,
    data: object = None,
    at_least: float | None = None,
) -> None:
    """Fail where the teacher answers at random, knows the classes in another order, is weak, or is not at rest.

    One of: a run or its directory; teacher_logits and labels (arrays or tensors, shaped as in a run directory); a
    teacher and data (a DataLoader, a Dataset, or a pair of tensors), on which it is run in evaluation mode and left as
    it was. at_least: accuracy that is wanted as well (area under the curve for yes-or-no tasks).
    """
    if run is not None:
        found = _of_run(run)
    elif teacher is not None and data is not None:
        found = _of_logits(*answers(teacher, data))
    elif teacher_logits is not None and labels is not None:
        found = _of_logits(teacher_logits, labels)
    else:
        raise UsageError("give assert_teacher_valid a run, teacher_logits= and labels=, or teacher= and data=")
    wrong = [result for result in failing(found.diagnosis) if result.code in found.codes]
    if wrong:
        raise AssertionError(told(f"{found.name} is not valid", wrong, placed=run is not None))
    unjudged = silent(found.diagnosis, found.codes)
    if unjudged is not None:
        raise AssertionError(f"{found.name} cannot be judged: {unjudged}")
    if at_least is not None and (found.reached is None or found.reached < at_least):
        reached = "nothing" if found.reached is None else f"{found.metric} {found.reached:.3g}"
        raise AssertionError(f"{found.name} is too weak: measured {reached}, wanted at least {at_least:g}")


def _of_run(run: RunOrPath) -> _Judged:
    recorded = opened(run)
    diagnosis = diagnose(recorded)
    return _Judged(f"the teacher of {recorded.name}", diagnosis, CODES, diagnosis.gap.metric, diagnosis.gap.teacher)


def _of_logits(teacher_logits: object, labels: object) -> _Judged:
    manifest, view = view_of(as_array(teacher_logits, "teacher_logits"), as_array(labels, "labels"))
    diagnosis = judged(manifest, view.validity.n, TeacherViews(view, None, None, False), BY_LOGITS)
    metric, reached = ("accuracy", view.validity.accuracy) if view.auc is None else ("auc", view.auc)
    return _Judged("the teacher", diagnosis, BY_LOGITS, metric, reached)
