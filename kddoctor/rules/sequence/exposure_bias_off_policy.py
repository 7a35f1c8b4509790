"""The student is good after the teacher's words and bad after its own.

What it checks
    What you recorded of texts that both models wrote to the same prompts (observations.json, sequences:
    teacher_nll_of_student_samples and teacher_nll_of_teacher_samples by position, repetition_student and
    repetition_teacher, the shares of repeated 4-grams). Without them this code cannot be seen: everything else in a
    record is about given rows.

Why it hurts
    In training, every word before the next one was right. In use the student continues its own mistakes, to
    places that it never saw, and each makes the next more likely.

What it looks like
    The loss is low and texts are bad, the worse the longer: repetition, wandering, contradictions.

Told apart from
    A student that is merely weak, whose first words are as bad as its last ones: the gap is there and does not grow.
    KD806, where texts are bad from the position on that training rows never reached. KD808, where the student learns
    from its own texts, and they degrade.

Fix
    - rows written by the teacher or by people alone
    + half of the rows written by the student and scored by the teacher (GKD, lambda 0.5), after a warm-up

Treat automatically
    No: it takes a loop that lets the student write.

Read more
    Agarwal et al. 2024, arXiv:2306.13649: on-policy distillation. Bengio et al. 2015, arXiv:1506.03099.
"""

from kddoctor.probes.user_facts import OwnSamples
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Factor, Nats

PROBE = "own-samples"
#: Standard errors of a slope that make it significant.
SIGNIFICANT: Deviations = 3.0
#: Nats a token by which the gap must grow from the first position to the last: the taxonomy's low divergence.
GROWS: Nats = 0.2
#: Factor on the teacher's repetition (taxonomy).
REPEATS: Factor = 2.0


@rule(
    "KD807",
    name="exposure-bias-off-policy",
    family="sequence-LM",
    title="The student is good after the teacher's words and bad after its own",
    stage=38,
    only=("tokens",),
    reads=(OwnSamples,),
)
def exposure_bias_off_policy(samples: OwnSamples) -> Finding:
    finding = Finding()
    text = (
        f"the teacher's loss of the student's texts exceeds that of its own by {samples.gap:+.2f} nats a token, and "
        f"that changes by {samples.slope:+.2f} ± {samples.error:.2f} over {samples.positions} positions"
    )
    if samples.slope > max(GROWS, SIGNIFICANT * samples.error) and samples.gap > 0:
        finding = finding.supported_by(
            PROBE,
            "slope",
            samples.slope,
            text,
            threshold=GROWS,
            origin="taxonomy",
            grade=Grade.INTERVENTIONAL,
            weight=6.0,
        )
        if samples.repetition is not None and samples.repetition > REPEATS:
            finding = finding.supported_by(
                PROBE,
                "repetition",
                samples.repetition,
                f"the student repeats itself {samples.repetition:.1f} times as often as the teacher",
                threshold=REPEATS,
                origin="taxonomy",
                weight=2.0,
            )
    elif samples.slope + SIGNIFICANT * samples.error < GROWS:
        finding = finding.against(PROBE, "slope", samples.slope, text, threshold=GROWS, origin="taxonomy", weight=8.0)
    return finding.saying(
        "The student's own texts lead it astray: it never learnt to go on from them.",
        where="the training data: who wrote the rows",
    ).prescribe("learn from the student's own texts as well, scored by the teacher", automatic=False, safety="manual")
