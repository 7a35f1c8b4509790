"""The parts of the verdict page: numbers, one card a cause, and what else was looked at."""

import pandas as pd
import streamlit as st

from kddoctor.app.charts.tradeoff import tradeoff
from kddoctor.app.explaining import explain_button
from kddoctor.app.figure import nothing, numbers
from kddoctor.app.navigation import link
from kddoctor.app.words import percent, plain, points
from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport
from kddoctor.engine.leads import MEANING
from kddoctor.report.views import Missing, View
from kddoctor.rules.registry import all_rules

#: The page on which the evidence of a family is best seen.
SEEN_ON = {
    "pipeline": ("examples", "See the examples"),
    "loss": ("training", "See the loss"),
    "soft-targets": ("soft_targets", "See the signal"),
    "capacity": ("layers", "See the layers"),
    "optimisation": ("training", "See the training"),
    "data": ("examples", "See the examples"),
    "deployment": ("examples", "See the examples"),
    "sequence-LM": ("examples", "See the examples"),
    "recsys": ("examples", "See the examples"),
}


def metrics(diagnosis: Diagnosis) -> None:
    """Teacher, student, the same student on labels alone, and what became of the gap."""
    gap = diagnosis.gap
    with st.container(horizontal=True):
        st.metric(f"Teacher, {gap.metric}", percent(gap.teacher), border=True)
        st.metric(
            "Student",
            percent(gap.student),
            _error(gap.standard_error),
            delta_color="off",
            delta_arrow="off",
            border=True,
        )
        gained = None if gap.student is None or gap.baseline is None else gap.student - gap.baseline
        st.metric(
            "Labels only",
            percent(gap.baseline),
            None if gained is None else f"distilling: {points(gained)}",
            delta_color="off",
            delta_arrow="off",
            border=True,
            help="The same student, trained without a teacher.",
        )
        st.metric("Teacher's metric kept", percent(gap.retention), border=True)
        st.metric("Agreement with the teacher", percent(gap.agreement), border=True)
    st.caption(f"On {gap.rows:,} examples of {plain(gap.split)}.")


def _error(standard_error: float | None) -> str | None:
    return None if standard_error is None else f"± {1.96 * 100 * standard_error:.1f} pt (95 %)"


def cause_card(cause: FindingReport) -> None:
    """One cause: evidence for and against, where, what to do."""
    with st.container(border=True, key=f"card-{cause.code}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{cause.code} {plain(cause.title)}", anchor=False)
            st.badge(f"{cause.status}, {cause.confidence:.0%}", color="orange" if cause.severity == "error" else "gray")
        st.markdown(plain(cause.summary))
        st.table(
            evidence_table(cause.evidence), hide_index=True, border="horizontal", alt=f"Evidence about {cause.code}"
        )
        _details(cause)
        with st.container(horizontal=True, vertical_alignment="center"):
            page, label = SEEN_ON[cause.family]
            link(page, label, ":material/query_stats:")
            explain_button(cause.code)
            if cause.prescription is not None and cause.prescription.automatic:
                link("treatment", "Treat it", ":material/healing:", only=cause.code)


def _details(cause: FindingReport) -> None:
    if cause.where:
        st.markdown(f"**Where** {plain(cause.where)}")
    for text in cause.against:
        st.markdown(f"**Against** {plain(text)}")
    if cause.prescription is not None:
        by_hand = "" if cause.prescription.automatic else " *(by hand: kddoctor cannot do it for you)*"
        st.markdown(f"**Fix** {plain(cause.prescription.summary)}{by_hand}")
    if cause.worth is not None:
        low, high = cause.worth.points
        st.markdown(
            f"**Worth** {low:+.1f} to {high:+.1f} points, {'measured' if cause.worth.measured else 'estimated'}"
        )


def evidence_table(evidence: tuple[EvidenceReport, ...]) -> pd.DataFrame:
    """A row a measurement: what was found, its number, and the limit it was held against."""
    return pd.DataFrame(
        [
            {
                "Speaks": "✓ for" if item.supports else "✗ against",
                "What was found": item.text,
                "Measured": "–" if item.value is None else f"{item.measure} {item.value:.3g}",
                "Limit": "–" if item.threshold is None else f"{item.threshold:.3g} ({item.origin})",
                "Kind": item.grade,
            }
            for item in evidence
        ]
    )


def other_findings(diagnosis: Diagnosis) -> None:
    """Symptoms that a cause explains, and suspicions."""
    others = [f for f in diagnosis.findings if f.role != "cause"]
    if not others:
        return
    st.header("Also seen")
    for finding in others:
        why = (
            f"explained by {finding.explained_by}"
            if finding.role == "symptom"
            else f"worth watching, confidence {finding.confidence:.2f}"
        )
        st.markdown(f"{finding.code} {plain(finding.title)}: {why}")


def look_next(diagnosis: Diagnosis) -> None:
    """Codes that runs like this one had, and that nothing in it shows."""
    if not diagnosis.leads:
        return
    st.header("Look next")
    st.caption(MEANING)
    for number, lead in enumerate(diagnosis.leads, start=1):
        st.markdown(f"{number}. {lead.code} {plain(lead.title)}: {plain(lead.doubt)}")


def worth_it(view: View | Missing) -> None:
    """Quality against each cost that was recorded."""
    st.header(plain(view.question))
    if isinstance(view, Missing):
        nothing(view)
        return
    st.markdown(plain(view.answer))
    resources = list(dict.fromkeys(view.frame["resource"]))
    for column, resource in zip(st.columns(len(resources)), resources, strict=True):
        with column:
            st.altair_chart(tradeoff(view, resource), alt=view.alt)
    numbers(view)


def looked_at(diagnosis: Diagnosis) -> None:
    """What was ruled out, left open, and not judged for want of a record."""
    st.header("What else was looked at")
    with st.expander(f"{len(diagnosis.ruled_out)} ruled out", icon=":material/check:"):
        st.markdown(_listed(diagnosis.ruled_out) or "Nothing.")
    if diagnosis.undecided:
        with st.expander(f"{len(diagnosis.undecided)} undecided", icon=":material/question_mark:"):
            st.markdown(_listed(diagnosis.undecided))
    if diagnosis.not_examined:
        with st.expander(f"{len(diagnosis.not_examined)} not judged", icon=":material/visibility_off:"):
            for item in diagnosis.not_examined:
                st.markdown(f"- {item.code} {plain(all_rules()[item.code].title)}: {plain(item.how)}")
    link("checks", "All checks", ":material/checklist:")


def _listed(codes: tuple[str, ...]) -> str:
    return "\n".join(f"- {code} {plain(all_rules()[code].title)}" for code in codes)
