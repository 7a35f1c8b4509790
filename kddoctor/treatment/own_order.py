"""Where a permutation of the teacher's classes came from: from the teacher, or from the loop that is left behind."""

from dataclasses import replace

from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.schedule import schedule_of
from kddoctor.treatment.scoring import TeacherAnswers, score_of
from kddoctor.treatment.session import held_out, planned_teacher, taught


def fitted_to_teacher(plan: Plan, code: LoadedCode) -> Plan:
    """The plan for the teacher that was loaded: its classes are put in order only if it does better so.

    A record shows the order of what the student was taught, not whose it was. A loop may wrap a sound teacher in what
    exchanges its classes, and that wrapper is not there any more.
    """
    if not plan.loop.column_permutation:
        return plan
    as_it_is = replace(plan, loop=replace(plan.loop, column_permutation=()))
    return plan if _score(plan, code) > _score(as_it_is, code) else as_it_is


def _score(plan: Plan, code: LoadedCode) -> float:
    with planned_teacher(code.teacher, plan) as teacher:
        schedule = schedule_of(plan.manifest.training)
        answers = lambda inputs: taught(code, teacher, inputs)  # noqa: E731
        batches = lambda: held_out(plan, code, schedule)  # noqa: E731
        return score_of(plan.manifest, batches, answers, TeacherAnswers(answers)).value
