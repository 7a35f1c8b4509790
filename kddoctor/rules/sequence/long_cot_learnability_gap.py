"""Long reasoning traces are beyond a small student, which learns more from short ones.

What it checks
    What you recorded of the same student after long and after short traces of the same problems (observations.json,
    sequences: long_traces and short_traces, each with metric, length and rows). No single run shows this code.

Why it hurts
    A small model learns the length and the gestures of a long argument before its logic. It writes more, and is
    wrong more often.

What it looks like
    Wordy wrong answers; the stronger the teacher, the worse the student.

Told apart from
    KD806, where the end of a trace, with the answer, was cut: check truncated_share first. KD402, where short traces
    are too hard as well.

Fix
    - traces of the strongest teacher
    + four short traces to one long one, or the traces of a smaller teacher

Treat automatically
    No: shorter traces have to come from you.

Read more
    Li et al. 2025, arXiv:2502.12143: Small models struggle to learn from strong reasoners.
"""

from kddoctor.probes.proportions import SURE
from kddoctor.probes.row_lengths import TrainedLengths
from kddoctor.probes.user_facts import TraceLengths
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share

PROBE = "trace-lengths"
#: Parameters up to which the paper finds the gap.
SMALL: Count = 3_000_000_000
#: Factor on the length of what the student writes (taxonomy), and points without which nobody minds.
LONGER: Factor = 2.0
ONE_POINT: Share = 0.01
#: Share of training rows that a limit may cut.
CUT: Share = 0.05


@rule(
    "KD809",
    name="long-cot-learnability-gap",
    family="sequence-LM",
    title="The student learns less from long reasoning traces than from short ones",
    stage=38,
    only=("tokens",),
    reads=(TraceLengths,),
    uses=(TrainedLengths,),
)
def long_cot_learnability_gap(traces: TraceLengths, lengths: TrainedLengths | None) -> Finding:
    finding = Finding()
    lost = traces.short_metric - traces.long_metric
    noise = max(ONE_POINT, SURE * traces.error if traces.error is not None else ONE_POINT)
    text = f"after long traces it reaches {traces.long_metric:.1%}, after short ones {traces.short_metric:.1%}"
    if lost <= 0:
        return finding.against(PROBE, "long_metric", -lost, text, threshold=0, weight=8.0)
    if lost > noise:
        finding = finding.supported_by(
            PROBE,
            "long_metric",
            -lost,
            text,
            threshold=-noise,
            origin="two standard errors" if traces.error is not None else "convention",
            grade=Grade.INTERVENTIONAL,
            # Without a number of rows, what is noise is not known.
            weight=6.0 if traces.error is not None else 4.0,
        )
    if traces.long_length is not None and traces.short_length and lost > noise:
        ratio = traces.long_length / traces.short_length
        if ratio > LONGER:
            finding = finding.supported_by(
                PROBE,
                "length",
                ratio,
                f"and it writes {traces.long_length:.0f} tokens in place of {traces.short_length:.0f}",
                threshold=LONGER,
                origin="taxonomy",
                weight=2.0,
            )
    if traces.parameters is not None and traces.parameters > SMALL:
        finding = finding.against(
            PROBE,
            "parameters",
            float(traces.parameters),
            f"a student of {traces.parameters:,} parameters is large enough for long traces",
            threshold=float(SMALL),
            origin="Li et al. 2025",
            weight=3.0,
        )
    if lengths is not None and lengths.cut is not None and lengths.cut > CUT:
        finding = finding.against(
            "row-lengths",
            "truncated_share",
            lengths.cut,
            f"{lengths.cut:.0%} of the rows were cut, and the long traces with them",
            threshold=CUT,
            origin="taxonomy",
            weight=5.0,
        )
    return finding.saying(
        "The student learns less from long traces than from short ones.", where="the choice of the traces"
    ).prescribe("mostly short traces, or those of a smaller teacher", automatic=False, safety="manual")
