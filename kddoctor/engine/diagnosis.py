"""The diagnosis that users and programs see, and how a differential becomes one."""

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from kddoctor.engine.explaining import explain_away
from kddoctor.engine.leads import leads
from kddoctor.engine.measuring import measure
from kddoctor.engine.reasoning import Explain, Weigh, differential
from kddoctor.engine.stating import stated
from kddoctor.engine.types import Differential, Hypothesis, Outcome, Plan, Role, Status
from kddoctor.engine.weighing import weigh
from kddoctor.errors import one_line
from kddoctor.policy import Policy
from kddoctor.policy.applying import rules_under, run_under
from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Rivals, TrainGaps
from kddoctor.probes.proportions import noise_of_difference
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Evidence, Severity
from kddoctor.rules.finding import Prescription as RulePrescription
from kddoctor.rules.loss.declared import part_of_the_batch, same_objective
from kddoctor.rules.registry import Rule, all_rules
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest

Verdict = Literal["sick", "healthy", "inconclusive"]

#: Share of the teacher's advantage that a student must keep to be called well without a labels-only control.
WELL = 0.9
#: The same where a labels-only twin shows that the student can do no better on its own.
WITH_CONTROL = 0.6
#: Share of the twin's divergence from the teacher that distilling removes at the least; of 295 sound students of the
#: benchmark that were held against a twin all were better than it, or closer to their teacher by more than this.
CLOSER = 0.05
#: Accuracy on training rows by which a student that has learnt what it was taught may stay below its teacher, and the
#: pace of its loss; on the tasks that rules are developed on, healthy students were above and below these.
LEARNT, LEVEL = 0.05, 0.3
#: Share of its teacher's skill, and the teacher's accuracy, from which nobody wonders why a student lost nothing.
EQUAL, FAR_FROM_PERFECT = 0.97, 0.9
#: Weight of the distillation term at which a student follows the labels, whatever its teacher is worth.
SMALL_ALPHA = 0.1
#: Where the loss itself could not be checked, the outcome has to be better than that.
WELL_UNSEEN = 0.98
#: Held-out rows without which nobody is called well: two standard errors of a share of 90 % are 11 points then.
FEWEST_ROWS = 30
#: Measurements that speak for a healthy run, in the answer.
MOST_REASSURING = 5
#: Significant figures of every number: enough to read, few enough that summation order never shows.
FIGURES = 6


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class GapReport(_Part):
    """Teacher against student on held-out rows. standard_error: of the student's metric. noise_of_gain: how much of the
    student's lead over its labels-only twin the rows explain, compared row by row.
    """

    teacher: float | None
    student: float | None
    metric: str
    retention: float | None
    agreement: float | None
    baseline: float | None
    standard_error: float | None
    split: str
    rows: int
    noise_of_gain: float | None = None


class EvidenceReport(_Part):
    """One measurement against one threshold."""

    probe: str
    measure: str
    value: float | None
    threshold: float | None
    supports: bool
    text: str
    origin: str
    grade: str


class PrescriptionReport(_Part):
    """What to change."""

    summary: str
    changes: dict[str, Any]
    automatic: bool
    safety: str


class WorthReport(_Part):
    """Points of the metric that the cause is believed to cost."""

    points: tuple[float, float]
    measured: bool


class FindingReport(_Part):
    """One code, with evidence for and against."""

    code: str
    name: str
    family: str
    role: Role
    severity: Severity
    confidence: float
    status: str
    title: str
    summary: str
    evidence: tuple[EvidenceReport, ...]
    against: tuple[str, ...]
    where: str | None
    worth: WorthReport | None
    explained_by: str | None
    prescription: PrescriptionReport | None


class NotExaminedReport(_Part):
    """A code that this record cannot show, and how to record it."""

    code: str
    needs: tuple[str, ...]
    how: str


class LeadReport(_Part):
    """A code to look at next, and no finding; see ``engine.leads``. against: what its rule says against it. how: what
    to record, where the record cannot show it.
    """

    code: str
    name: str
    title: str
    against: str | None
    how: str | None

    @property
    def doubt(self) -> str:
        """Why it is no finding."""
        if self.how is not None:
            return f"not examined: {self.how}"
        return "nothing shows it" if self.against is None else f"against it: {self.against}"


class Diagnosis(_Part):
    """The whole answer; ``model_dump_json`` is the file format of the contract.

    reassuring: the strongest evidence against faults that were ruled out. undecided: codes that were examined, but
    neither shown nor ruled out. leads: of a run in which something is wrong and nothing is proven, what else runs like
    it had.
    """

    format: Literal[1] = 1
    run: str
    verdict: Verdict
    summary: str
    gap: GapReport
    findings: tuple[FindingReport, ...]
    reassuring: tuple[EvidenceReport, ...]
    ruled_out: tuple[str, ...]
    undecided: tuple[str, ...]
    not_examined: tuple[NotExaminedReport, ...]
    differential: dict[str, float]
    unexplained: tuple[str, ...]
    leads: tuple[LeadReport, ...] = ()
    advice: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def causes(self) -> tuple[FindingReport, ...]:
        """Findings with the role cause, the most likely first."""
        return tuple(f for f in self.findings if f.role == "cause")

    @property
    def cause_codes(self) -> list[str]:
        """Their codes."""
        return [f.code for f in self.causes]

    @property
    def symptoms(self) -> tuple[FindingReport, ...]:
        """Findings that a cause explains."""
        return tuple(f for f in self.findings if f.role == "symptom")

    def plan(self) -> Plan | None:
        """What to change first."""
        for finding in self.causes:
            if finding.prescription is not None:
                p = finding.prescription
                change = RulePrescription(p.summary, p.changes, p.automatic, p.safety)  # type: ignore[arg-type]
                return Plan(finding.code, change, f"retrain and compare {self.gap.metric} on the same rows")
        return None

    def to_json(self) -> str:
        """The contract's JSON, the same bytes for the same run."""
        return self.model_dump_json(indent=2) + "\n"


def diagnose(
    run: Run,
    *,
    select: Sequence[str] | None = None,
    ignore: Container[str] | None = None,
    policy: Policy | None = None,
    measured: Mapping[type, object] | None = None,
) -> Diagnosis:
    """Measure a run, judge it and say what is wrong. Raises RunError for values that cannot be measured.

    select: codes or prefixes of codes; ignore: codes. Where they are left out, those of the policy hold; without a
    policy (``kddoctor.policy.read_policy``), all codes are judged with their own thresholds. measured: what ``measure``
    gave for ``run_under(policy, run)``, where it was called already.
    """
    policy = policy or Policy()
    rules = rules_under(policy, all_rules())
    skipped = {code for code in rules if code.startswith(policy.ignore)} if ignore is None else ignore
    return judge(
        run.name,
        measure(run_under(policy, run)) if measured is None else measured,
        select=policy.select if select is None else select,
        ignore=skipped,
        warnings=run.warnings,
        rules=rules,
        require=policy.require,
    )


def judge(
    name: str,
    measured: Mapping[type, object],
    *,
    select: Sequence[str] = (),
    ignore: Container[str] = (),
    warnings: tuple[str, ...] = (),
    rules: Mapping[str, Rule] | None = None,
    require: Container[str] = (),
    weigh: Weigh = weigh,
    explain: Explain = explain_away,
) -> Diagnosis:
    """Say what is wrong with the run of this name, from its measurements alone.

    require: codes without which nobody is called healthy: where one could not be examined, the run is inconclusive.
    """
    found = differential(measured, select, ignore, rules=rules, weigh=weigh, explain=explain)
    outcome = measured[Outcome]
    assert isinstance(outcome, Outcome)
    findings = _findings(found)
    sick = any(f.role == "cause" and f.severity in ("error", "warning") for f in findings)
    noise = _noise_of_gain(outcome, measured)
    verdict, summary, advice = _verdict(sick, findings, found, outcome, measured, noise)
    if verdict == "healthy":
        verdict, summary, advice = _unless_required(require, found) or (verdict, summary, advice)
    return Diagnosis(
        run=name,
        verdict=verdict,
        summary=one_line(summary),
        gap=_gap(outcome, noise),
        findings=findings,
        reassuring=_reassuring(found),
        ruled_out=tuple(h.rule.code for h in found.refuted),
        undecided=tuple(h.rule.code for h in found.open),
        not_examined=tuple(
            NotExaminedReport(code=rule.code, needs=missing.needs, how=missing.how)
            for rule, missing in found.not_examined
        ),
        differential=_shares(found),
        # Names in here are those of the record; a control character would reach the terminal.
        unexplained=tuple(map(one_line, found.unexplained)) if verdict != "healthy" else (),
        leads=_leads(found, findings) if _wonders(found, verdict) else (),
        advice=advice,
        warnings=warnings,
    )


#: Records that are suggested at a time.
MOST_ADVICE = 5

# Verdict -------------------------------------------------------------------------------------------------


def _verdict(
    sick: bool,
    findings: Sequence[FindingReport],
    found: Differential,
    outcome: Outcome,
    measured: Mapping[type, object],
    noise: float,
) -> tuple[Verdict, str, tuple[str, ...]]:
    if sick:
        first = next(f for f in findings if f.role == "cause" and f.severity != "note")
        return "sick", first.summary, ()
    advice = _advice(found, outcome, measured)
    noted = "".join(f" {f.code} is there, at no cost that shows." for f in findings if f.role == "cause")
    if found.unknown > found.healthy:
        reason = found.unexplained[0] if found.unexplained else "the record does not look like a healthy run's"
        return "inconclusive", f"Something is wrong, but nothing recorded names the cause: {reason}.{noted}", advice
    if not _well(outcome, measured):
        return "inconclusive", _cannot_tell(outcome, measured) + noted, advice
    return "healthy", _healthy_sentence(outcome, noise), ()


def _unless_required(require: Container[str], found: Differential) -> tuple[Verdict, str, tuple[str, ...]] | None:
    """The verdict where a code that has to be examined could not be; None where all were."""
    lacking = [(rule.code, missing.how) for rule, missing in found.not_examined if rule.code in require]
    if not lacking:
        return None
    codes = ", ".join(code for code, _ in lacking)
    return "inconclusive", f"Required, but not examined: {codes}.", tuple(dict.fromkeys(how for _, how in lacking))


def _well(outcome: Outcome, measured: Mapping[type, object]) -> bool:
    """Whether there is positive reason to call the run healthy: a sound loss, and a student that did well."""
    if outcome.student is None or outcome.teacher is None or outcome.rows < FEWEST_ROWS:
        return False
    checked = _loss_checked(measured)
    kept = outcome.skill_kept
    if outcome.baseline is not None:
        error = math.sqrt(2) * outcome.standard_error
        gained = outcome.student - outcome.baseline
        # A student that is better than its labels-only twin, or no worse with a sound loss; but never one so far below
        # the teacher that nobody would call it distilled.
        near = (kept is None or kept >= WITH_CONTROL) and not _in_vain(outcome)
        return near and (gained > 2 * error or (checked and gained > -2 * error))
    if kept is None:
        return checked
    manifest = measured[Manifest]
    assert isinstance(manifest, Manifest)
    alpha = manifest.distillation.alpha
    if _as_weak_as_its_teacher(outcome) and (alpha is None or alpha > SMALL_ALPHA):
        return False
    good = kept >= WELL - 2 * outcome.standard_error or (kept >= WITH_CONTROL and _learnt(measured))
    return (checked and good) or (_loss_private(measured) and kept >= WELL_UNSEEN)


def _in_vain(outcome: Outcome) -> bool:
    """Whether distilling made the student neither better than its twin nor closer to a teacher that is far ahead."""
    if outcome.baseline is None or outcome.student is None or outcome.effect is None or outcome.skill_kept is None:
        return False
    better = outcome.student - outcome.baseline > noise_of_difference(outcome.standard_error)
    return not better and outcome.effect < CLOSER and outcome.skill_kept < WELL


def _learnt(measured: Mapping[type, object]) -> bool:
    """Whether the student is as right as its teacher on the rows that it was taught on, and has levelled there.

    What is then missing on held-out rows, no fault of the distillation explains.
    """
    train, curve = measured.get(TrainGaps), measured.get(LearningCurve)
    if not isinstance(train, TrainGaps) or not isinstance(curve, LearningCurve) or curve.pace is None:
        return False
    taught = train.gaps.teacher_accuracy - train.gaps.student_accuracy <= LEARNT
    return taught and curve.pace.high <= LEVEL


def _as_weak_as_its_teacher(outcome: Outcome) -> bool:
    """Whether the student equals a teacher that is far from perfect: either of them may be at the task's limit, or the
    teacher may be no better than labels alone would be. Only a labels-only twin can tell.
    """
    if outcome.metric != "accuracy" or outcome.teacher is None or outcome.student is None:
        return False
    kept = outcome.skill_kept
    return kept is not None and kept > EQUAL and outcome.teacher < FAR_FROM_PERFECT


def _cannot_tell(outcome: Outcome, measured: Mapping[type, object]) -> str:
    kept = outcome.skill_kept
    if _in_vain(outcome):
        return (
            "Nothing that was looked at explains why distilling made the student neither better than the labels alone "
            "do nor closer to its teacher's outputs."
        )
    if kept is not None and kept < WITH_CONTROL and _loss_checked(measured):
        share = max(0.0, kept)
        return f"Nothing that was looked at explains why the student keeps only {share:.0%} of the teacher's skill."
    if outcome.student is not None and outcome.rows < FEWEST_ROWS:
        return f"Too few held-out rows to tell how the student did: {outcome.rows}, where {FEWEST_ROWS} are the least."
    if outcome.student is not None and outcome.baseline is None and _loss_private(measured):
        return (
            "Nothing that was looked at is wrong; but the loss is its author's own, and only a labels-only twin could "
            "tell what it brought."
        )
    return "Too little was recorded to tell."


def _loss_checked(measured: Mapping[type, object]) -> bool:
    """The recorded loss is what was declared, or what no declaration contradicts, on every recorded step.

    Where steps hold a part of each batch, up to chance.
    """
    loss, manifest = measured.get(LossForensics), measured[Manifest]
    assert isinstance(manifest, Manifest)
    if not isinstance(loss, LossForensics):
        return False
    if loss.part is not None:
        return loss.part.as_declared
    if loss.declared_errors is not None:
        held = loss.declared_holds or same_objective(loss, manifest)
        return held and (loss.mix is not None or not loss.kd_recorded)
    if loss.term is not None and loss.mix is not None:
        return True
    return manifest.distillation.loss == "none" and loss.mix is not None


def _loss_private(measured: Mapping[type, object]) -> bool:
    """Steps were recorded, of a loss that only its author knows."""
    manifest = measured[Manifest]
    assert isinstance(manifest, Manifest)
    return isinstance(measured.get(LossForensics), LossForensics) and manifest.distillation.loss in (
        "custom",
        None,
    )


def _healthy_sentence(outcome: Outcome, noise: float) -> str:
    if outcome.baseline is not None and outcome.student is not None:
        gained = outcome.student - outcome.baseline
        if gained > noise:
            return f"The student learned from the teacher: distilling gained {100 * gained:.1f} points on labels alone."
    kept = outcome.retention
    if kept is None:
        return "Nothing that was recorded is wrong."
    return f"The student learned from the teacher and keeps {kept:.1%} of its {outcome.metric}."


def _advice(found: Differential, outcome: Outcome, measured: Mapping[type, object]) -> tuple[str, ...]:
    """What to record to get an answer, what wakes most codes first."""
    wakes = Counter(missing.how for _, missing in found.not_examined)
    lines = [how for how, _ in wakes.most_common(MOST_ADVICE)]
    loss, path, config = measured.get(LossForensics), measured.get(StudentPath), measured.get(Manifest)
    if isinstance(loss, LossForensics) and loss.term is None and not (loss.mix and not loss.mix.kd_weight):
        if isinstance(config, Manifest) and isinstance(path, StudentPath) and part_of_the_batch(config, path):
            lines.insert(
                0,
                f"record all {config.training.batch_size} rows of each batch in steps.safetensors, of which "
                f"{path.rows.max()} are there: the loss is of all of them, and a part checks little of it",
            )
        else:
            lines.append(
                f"only {loss.steps} usable training steps: record at least 5, with kd_loss and ce_loss"
                if loss.steps < 5
                else "pass kd_loss=… and ce_loss=… to run.step, so that each term can be checked by itself"
            )
    if outcome.rows < FEWEST_ROWS:
        lines.append(f"record at least {FEWEST_ROWS} rows in predictions/{outcome.split}.safetensors")
    if outcome.baseline is None:
        lines.append("train the same student without a teacher and pass it as baseline=… (baseline_logits)")
    if isinstance(config, Manifest) and config.code is not None and config.code.names_functions:
        lines.append(
            "or let kddoctor treat --trials 7 train it again in a plain loop, which tells whether the loop is to blame "
            "(it imports the run's code)"
        )
    return tuple(dict.fromkeys(lines))


# Reports -------------------------------------------------------------------------------------------------


def _findings(found: Differential) -> tuple[FindingReport, ...]:
    reports = [_report(h, "cause") for h in found.established]
    for symptom in found.explained:
        reports.append(_report(symptom, "symptom"))
    # A suspicion is shown, never counted: its severity is a note and its role contributor.
    reports += [_report(h, "contributor", "note") for h in found.suspects]
    return tuple(reports)


def _wonders(found: Differential, verdict: Verdict) -> bool:
    """Whether a reader has reason to look further: nothing is proven, and what is wrong is more than a thin record."""
    if verdict == "sick":
        return not any(h.status is Status.CONFIRMED and h.finding.severity != "note" for h in found.established)
    return verdict == "inconclusive" and found.unknown > found.healthy


def _leads(found: Differential, findings: Sequence[FindingReport]) -> tuple[LeadReport, ...]:
    return tuple(
        LeadReport(
            code=lead.rule.code,
            name=lead.rule.name,
            title=lead.rule.title,
            against=None if lead.against is None else one_line(lead.against),
            how=lead.how,
        )
        for lead in leads(found, {finding.code for finding in findings})
    )


def _reassuring(found: Differential) -> tuple[EvidenceReport, ...]:
    """The strongest measurement of each probe that speaks against faults; of equals the one that excludes most."""
    against = [e for h in found.refuted for e in h.finding.opposing]
    excludes = Counter(e.text for e in against)
    against.sort(key=lambda e: (-e.grade, -e.weight, -excludes[e.text]))
    strongest: dict[str, Evidence] = {}
    for item in against:
        strongest.setdefault(item.probe, item)
    return tuple(_evidence(e) for e in list(strongest.values())[:MOST_REASSURING])


def _report(hypothesis: Hypothesis, role: Role, severity: Severity | None = None) -> FindingReport:
    finding, rule = hypothesis.finding, hypothesis.rule
    prescription = finding.prescription
    return FindingReport(
        code=rule.code,
        name=rule.name,
        family=rule.family,
        role=role,
        severity=severity or finding.severity,
        confidence=_rounded(stated(hypothesis), 3),
        status=f"{hypothesis.status}{' (conflicting proofs)' if hypothesis.conflict else ''}",
        title=rule.title,
        summary=finding.summary,
        evidence=tuple(_evidence(e) for e in finding.evidence),
        against=tuple(e.text for e in finding.opposing),
        where=finding.where,
        worth=None
        if finding.worth is None
        else WorthReport(points=(finding.worth.low, finding.worth.high), measured=finding.worth.measured),
        explained_by=hypothesis.explained_by,
        prescription=None
        if prescription is None
        else PrescriptionReport(
            summary=prescription.summary,
            changes=dict(prescription.changes),
            automatic=prescription.automatic,
            safety=prescription.safety,
        ),
    )


def _evidence(item: Evidence) -> EvidenceReport:
    return EvidenceReport(
        probe=item.probe,
        measure=item.measure,
        value=None if item.value is None else _rounded(item.value),
        threshold=None if item.threshold is None else _rounded(item.threshold),
        supports=item.supports,
        text=item.text,
        origin=item.origin,
        grade=item.grade.name.lower(),
    )


def _noise_of_gain(outcome: Outcome, measured: Mapping[type, object]) -> float:
    """Of the task's own metric, row by row; rows count as unpaired where the twin's answers were not recorded."""
    rivals = measured.get(Rivals)
    noise = rivals.noise_of_gain if isinstance(rivals, Rivals) else None
    return noise_of_difference(outcome.standard_error) if noise is None else noise


def _gap(outcome: Outcome, noise: float) -> GapReport:
    def shown(value: float | None) -> float | None:
        return None if value is None else _rounded(value)

    return GapReport(
        teacher=shown(outcome.teacher),
        student=shown(outcome.student),
        metric=outcome.metric,
        retention=shown(outcome.retention),
        agreement=shown(outcome.agreement),
        baseline=shown(outcome.baseline),
        standard_error=shown(outcome.standard_error) if outcome.student is not None else None,
        split=outcome.split,
        rows=outcome.rows,
        noise_of_gain=None if outcome.baseline is None or outcome.student is None else _rounded(noise),
    )


def _shares(found: Differential) -> dict[str, float]:
    """Weights of the exclusive explanations, for people who want to see how close it was."""
    shares = {h.rule.code: h.confidence for h in found.established}
    return {"healthy": _rounded(found.healthy, 3), "unknown": _rounded(found.unknown, 3)} | {
        code: _rounded(value, 3) for code, value in shares.items()
    }


def _rounded(value: float, figures: int = FIGURES) -> float:
    return float(f"{value:.{figures}g}") if math.isfinite(value) else value
