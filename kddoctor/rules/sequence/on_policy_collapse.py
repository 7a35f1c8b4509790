"""Learning from its own texts, the student's texts degenerate: ever longer, ever shorter, or always the same.

What it checks
    Scalars of the texts that the student writes while it learns from them (metrics.jsonl: completion_length,
    student_entropy, teacher_topk_mass): whether they drift from the first tenth of the run to the last, and whether
    the held-out metric falls while the loss does. Without these scalars this code cannot be seen.

Why it hurts
    A reverse divergence on the teacher's top tokens does not see what the student does outside of them, and nothing
    in it rewards variety. The student finds texts that cost nothing and say nothing.

What it looks like
    The loss falls beautifully. Lengths run to the limit or to zero, and samples look alike.

Told apart from
    KD802, where the end was never learnt: there length is at the limit from the start, and so does not drift. A
    student that gets surer as it learns: its entropy falls too, its mass on the teacher's tokens rises, and its metric
    with it.

Fix
    - loss = reverse_kl(student_topk, teacher_topk)
    + loss = forward_kl(student, teacher), or the reverse with a bucket for the tail
    After a warm-up on the teacher's texts, with some of them mixed in, at a lower learning rate.

Treat automatically
    No: it takes a loop that lets the student write.

Read more
    Agarwal et al. 2024, arXiv:2306.13649. Gu et al. 2024, arXiv:2306.08543: teacher-mixed sampling, length
    normalisation.
"""

from kddoctor.probes.sampled_texts import Course, SampledTexts
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Factor, Share

PROBE = "sampled-texts"
#: Factor on the length, in either direction, and share of the entropy that is left (taxonomy).
DRIFTS: Factor = 2.0
LEFT: Share = 0.2
#: Share of the mass on the teacher's tokens that must have gone; and rank correlation with the step of a trend.
LOST_MASS: Share = 0.1
TREND: Correlation = 0.7
#: Smallest loss of the metric that matters.
ONE_POINT: Share = 0.01


@rule(
    "KD808",
    name="on-policy-collapse",
    family="sequence-LM",
    title="The texts that the student learns from, its own, degenerate",
    stage=38,
    only=("tokens",),
    reads=(SampledTexts,),
)
def on_policy_collapse(texts: SampledTexts) -> Finding:
    finding = Finding()
    worse = texts.quality is not None and texts.quality.first - texts.quality.last > ONE_POINT
    better = texts.quality is not None and texts.quality.last - texts.quality.first > ONE_POINT
    length, entropy, mass = texts.length, texts.entropy, texts.topk_mass
    if length is not None and _drifts(length):
        finding = finding.supported_by(
            PROBE,
            "completion_length",
            length.ratio,
            f"what the student writes went from {length.first:.0f} to {length.last:.0f} tokens",
            threshold=DRIFTS,
            origin="taxonomy",
        )
    if entropy is not None and entropy.ratio < LEFT and entropy.trend < -TREND:
        finding = finding.supported_by(
            PROBE,
            "student_entropy",
            entropy.ratio,
            f"the entropy of its next token fell from {entropy.first:.2f} to {entropy.last:.2f} nats",
            threshold=LEFT,
            origin="taxonomy",
        )
    if mass is not None and mass.ratio < 1 - LOST_MASS and mass.trend < -TREND:
        finding = finding.supported_by(
            PROBE,
            "teacher_topk_mass",
            mass.last,
            f"its mass on the teacher's top tokens fell steadily, from {mass.first:.0%} to {mass.last:.0%}",
            threshold=LOST_MASS,
            origin="taxonomy",
        )
    if not finding.supporting:
        return finding.against(
            PROBE,
            "drift",
            None,
            "length, entropy and mass on the teacher's tokens, as far as logged, stayed in their range",
            threshold=DRIFTS,
            origin="taxonomy",
            weight=6.0,
        )
    if worse and texts.quality is not None and texts.loss is not None and texts.loss.last < texts.loss.first:
        finding = finding.supported_by(
            PROBE,
            "quality",
            texts.quality.last,
            f"held-out accuracy fell from {texts.quality.first:.1%} to {texts.quality.last:.1%} while the loss fell",
            threshold=ONE_POINT,
            origin="convention",
        )
    elif better and texts.quality is not None:
        finding = finding.against(
            PROBE,
            "quality",
            texts.quality.last,
            f"held-out accuracy rose from {texts.quality.first:.1%} to {texts.quality.last:.1%}",
            threshold=ONE_POINT,
            origin="convention",
            weight=6.0,
        )
    return finding.saying(
        "The texts that the student writes degenerate, and it learns from them.",
        where="the training loop: sampling from the student",
    ).prescribe(
        "a forward divergence, some of the teacher's texts, a lower learning rate", automatic=False, safety="manual"
    )


def _drifts(length: Course) -> bool:
    if abs(length.trend) < TREND:
        return False
    return length.ratio > DRIFTS or length.ratio < 1 / DRIFTS
