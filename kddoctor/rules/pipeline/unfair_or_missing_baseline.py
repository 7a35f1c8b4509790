"""Distillation is compared with something that differs from it in more than the teacher, or by less than the seeds do.

What it checks
    Whether the labels-only student that you recorded (observations.json: baseline {metric, epochs, seed}) was trained
    for as many epochs as the distilled one; and whether the gain exceeds the spread over seeds (seed_metrics:
    {student: […], baseline: […]}). No record holds other people's published numbers: where no baseline is recorded,
    this code is not examined.

Why it hurts
    The comparison is at fault and not the distillation. A student with twice the epochs beats one without a
    teacher for the epochs alone; one with half of them loses.

What it looks like
    "Distillation does not work", against a number from a paper; or a gain of 0.2 points, from one seed.

Told apart from
    Every failure of the distillation itself. Rule this out first, and then the others.

Fix
    Train the same student with alpha 0, for the same epochs, with the same augmentation, from three seeds. Report mean
    and standard deviation of both.

Treat automatically
    No: it takes another run, and not another student.

Read more
    Bouthillier et al. 2021, arXiv:2103.03098: variance of benchmarks. Beyer et al. 2022, arXiv:2106.05237.
"""

from kddoctor.probes.user_facts import SeedMetrics
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Baseline, Observations

PROBE = "observations"
#: Relative difference in epochs that makes a comparison unfair, and one that no one would mind.
OTHER_BUDGET: Share = 0.1
#: Pooled standard deviations over seeds (taxonomy).
DEVIATIONS: Deviations = 2.0


@rule(
    "KD114",
    name="unfair-or-missing-baseline",
    family="pipeline",
    title="The comparison that the distillation is judged by is not a fair one",
    stage=19,
    reads=(Manifest, Observations),
    uses=(SeedMetrics,),
)
def unfair_or_missing_baseline(
    config: Manifest, seen: Observations, seeds: SeedMetrics | None
) -> Finding | NotExamined:
    baseline, epochs = seen.baseline, config.training.epochs
    known = baseline is not None and baseline.epochs is not None and bool(epochs)
    if not known and seeds is None:
        return NotExamined(
            ("observations.baseline", "training.epochs", "observations.seed_metrics"),
            "train the same student without a teacher, and write baseline: {metric, epochs, seed} to observations.json "
            "(with several seeds, seed_metrics: {student: […], baseline: […]})",
        )
    finding = Finding()
    unfair = False
    if known and baseline is not None and epochs:
        finding, unfair = _of_budget(finding, baseline, epochs)
    if seeds is not None:
        finding = _of_seeds(finding, seeds)
    return finding.saying(
        "The baseline had another budget than the distilled student."
        if unfair
        else "The gain is within what the seed alone makes of a run.",
        where="the baseline that the student is compared with",
        severity="warning" if unfair else "note",
    ).prescribe("the same student with alpha 0 and the same epochs, from three seeds", automatic=False, safety="safe")


def _of_budget(finding: Finding, baseline: Baseline, epochs: int) -> tuple[Finding, bool]:
    ratio = (baseline.epochs or 0) / epochs
    text = f"the labels-only student was trained for {baseline.epochs} epochs, the distilled one for {epochs}"
    unfair = abs(ratio - 1) > OTHER_BUDGET
    add = finding.supported_by if unfair else finding.against
    return (
        add(
            PROBE,
            "baseline.epochs",
            ratio,
            text,
            threshold=OTHER_BUDGET,
            origin="convention",
            grade=Grade.PROOF,
            weight=6.0,
            group="budget",
        ),
        unfair,
    )


def _of_seeds(finding: Finding, seeds: SeedMetrics) -> Finding:
    limit = DEVIATIONS * seeds.deviation
    text = (
        f"over {len(seeds.student)} and {len(seeds.baseline)} seeds the gain is {seeds.gain:+.4f}, where one run "
        f"deviates by {seeds.deviation:.4f} from the next"
    )
    if abs(seeds.gain) < limit:
        return finding.supported_by(
            PROBE, "seed_metrics", abs(seeds.gain), text, threshold=limit, origin="taxonomy", weight=5.0, group="seeds"
        )
    return finding.against(
        PROBE, "seed_metrics", abs(seeds.gain), text, threshold=limit, origin="taxonomy", weight=5.0, group="seeds"
    )
