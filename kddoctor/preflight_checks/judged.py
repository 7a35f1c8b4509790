"""Checks that ask the rules: a code that is established fails the check that it belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kddoctor.engine.diagnosis import FEWEST_ROWS
from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.reasoning import differential
from kddoctor.engine.types import Differential, Hypothesis
from kddoctor.preflight_checks.result import Check
from kddoctor.probes.measurements import TargetSoftness, TeacherViews

#: What a check asks, by the codes that answer it. Only codes that say nothing about a trained student.
ACCURACY = ("teacher accuracy", ("KD101", "KD102"))
ORDER = ("label order", ("KD105",))
PASSES = ("teacher passes", ("KD103", "KD107", "KD108"))
LOGITS = ("logits", ("KD205",))
PROJECTOR = ("projector", ("KD112",))
LEAKAGE = ("leakage", ("KD601",))
SOFT_TARGETS = ("soft targets", ("KD301", "KD302"))
VOCABULARY = ("vocabulary", ("KD804", "KD805"))
LOSS = ("loss", ("KD110", *(f"KD2{n:02d}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14))))


@dataclass(frozen=True)
class Judgement:
    """Every rule's word on the sample, ready to be asked check by check. unread: why there is none."""

    measured: Measured
    found: Differential | None
    unread: str | None = None

    def check(self, asked: tuple[str, Sequence[str]], otherwise: str | None = None) -> Check:
        """One check. otherwise: what to say of a set-up that no rule has a word against."""
        name, codes = asked
        if self.found is None:
            return Check(name, "not checked", self.unread or "nothing was measured")
        sick = [h for h in self._believed(codes) if h.finding.severity != "note"]
        if sick:
            return _failed(name, sick)
        silent = {rule.code: missing for rule, missing in self.found.not_examined}
        if all(code in silent for code in codes):
            return Check(name, "not checked", f"needs {', '.join(silent[codes[0]].needs)}")
        remarks = [f"{h.rule.code}: {h.finding.summary}" for h in self._believed(codes)]
        remarks += [f"perhaps {h.rule.code} ({h.confidence:.2f}): {h.finding.summary}" for h in self._suspected(codes)]
        said = otherwise or next(self._against(codes), None)
        if said is None and not remarks:
            return Check(name, "not checked", "nothing in the sample speaks for it or against it")
        return Check(name, "ok", "; ".join(filter(None, [said, *remarks])))

    def _believed(self, codes: Sequence[str]) -> list[Hypothesis]:
        assert self.found is not None
        return [h for h in (*self.found.established, *self.found.explained) if h.rule.code in codes]

    def _suspected(self, codes: Sequence[str]) -> list[Hypothesis]:
        assert self.found is not None
        return [h for h in self.found.suspects if h.rule.code in codes]

    def _against(self, codes: Sequence[str]) -> Iterator[str]:
        """What speaks against these codes, the strongest first."""
        assert self.found is not None
        refuted = [e for h in self.found.refuted if h.rule.code in codes for e in h.finding.opposing]
        yield from (e.text for e in sorted(refuted, key=lambda e: (-e.grade, -e.weight)))


def judge_sample(measured: Measured) -> Judgement:
    """Let the rules look at the sample."""
    codes = [code for _, asked in _ALL for code in asked]
    return Judgement(measured, differential(measured, codes))


def unjudged(reason: str) -> Judgement:
    """What to ask where the sample could not be measured."""
    return Judgement({}, None, reason)


_ALL: tuple[tuple[str, Sequence[str]], ...] = (
    ACCURACY,
    ORDER,
    PASSES,
    LOGITS,
    PROJECTOR,
    LEAKAGE,
    SOFT_TARGETS,
    VOCABULARY,
    LOSS,
)


def check_accuracy(judgement: Judgement, order: Check) -> Check:
    """Is the teacher better than chance, on enough rows to tell? order: of its labels, which has to be right first."""
    few = _too_few(judgement)
    if few or order.status == "fail":
        return Check(ACCURACY[0], "not checked", few or "the label order has to be right first")
    views = judgement.measured[TeacherViews]
    assert isinstance(views, TeacherViews)
    assert views.own is not None
    found = views.own.validity
    ranked = "" if views.own.auc is None else f", and ranks a yes above a no in {views.own.auc:.1%} of the pairs"
    said = f"right on {found.accuracy:.1%} of {found.n} answers, where chance is {found.chance:.1%}{ranked}"
    return judgement.check(ACCURACY, said)


def check_order(judgement: Judgement) -> Check:
    """Does column i of the teacher stand for label i?"""
    few = _too_few(judgement)
    found = Check(ORDER[0], "not checked", few) if few else judgement.check(ORDER)
    # The rule tells a loop that permutes columns from a teacher that has others. Here there is no loop.
    fix = "compare id2label of the teacher with the labels' by name, and reorder the teacher's columns"
    return replace(found, fix=fix) if found.status == "fail" else found


def check_soft_targets(judgement: Judgement) -> Check:
    """Do the targets say more than the labels, and more than nothing, at the chosen temperature?"""
    softness = judgement.measured.get(TargetSoftness)
    if not isinstance(softness, TargetSoftness):
        return Check(SOFT_TARGETS[0], "not checked", judgement.unread or "no temperature was given")
    targets = softness.targets
    k = softness.at(targets, softness.temperature)
    said = (
        f"at T = {softness.temperature:g} the median target has {targets.entropy_ratio_median[k]:.0%} of the largest "
        f"possible entropy, and {targets.non_target_mass[k]:.1%} lies outside of the top class"
    )
    return judgement.check(SOFT_TARGETS, said)


def _too_few(judgement: Judgement) -> str | None:
    views = judgement.measured.get(TeacherViews)
    if judgement.unread is not None:
        return judgement.unread
    if not isinstance(views, TeacherViews) or views.own is None:
        return "the teacher's whole logits and the labels are needed"
    rows = views.own.validity.n
    return f"only {rows} rows with labels, where {FEWEST_ROWS} are the least" if rows < FEWEST_ROWS else None


def _failed(name: str, sick: Sequence[Hypothesis]) -> Check:
    first = sick[0].finding
    explained = "" if sick[0].explained_by is None else f" ({sick[0].explained_by} explains it)"
    return Check(
        name,
        "fail",
        f"{sick[0].rule.title}{explained}",
        tuple(h.rule.code for h in sick),
        tuple(e.text for h in sick for e in h.finding.supporting),
        None if first.prescription is None else first.prescription.summary,
    )
