"""The answers of several teachers are put together as logits instead of as probabilities.

What it checks
    Where the members' own logits were recorded: whether the teacher's logits are their mean or their sum, and how far
    its probabilities are from the mean of theirs. Without the members nothing in a record tells an ensemble from one
    over-confident model, so that this is not examined then.

Why it hurts
    A mean of logits is a geometric mean of probabilities: whoever is most certain decides, and a sum grows more certain
    with every member. The doubt that an ensemble is made for is lost.

What it looks like
    A teacher that is surer than right on held-out rows, with targets that are almost hard.

Told apart from
    KD301 and KD305, which is what the targets look like without the members. Members that agree, where both means are
    the same.

Fix
    - teacher = stack([m(x) for m in members]).mean(0)
    + teacher = stack([m(x).softmax(-1) for m in members]).mean(0).log()

Treat automatically
    No: the ensemble is put together in your code.

Read more
    Lakshminarayanan et al. 2017, arXiv:1612.01474: ensembles average probabilities.
"""

from kddoctor.probes.ensemble import EnsembleMeans
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats
from kddoctor.run.manifest import Manifest

PROBE = "ensemble-means"
#: Relative error of an identity in float32.
IDENTITY = 1e-4
#: Nats between the two means from which it matters which one is taken.
DIFFERENT: Nats = 0.02


@rule(
    "KD308",
    name="ensemble-averaging-wrong",
    family="soft-targets",
    title="Teachers were averaged as logits instead of as probabilities",
    stage=38,
    reads=(EnsembleMeans, Manifest),
    masks=("KD102", "KD301", "KD305", "KD402", "KD502"),
)
def ensemble_averaging_wrong(means: EnsembleMeans, config: Manifest) -> Finding:
    finding = Finding()
    ways = {"mean": means.mean_error, "sum": means.sum_error}
    way = min(ways, key=lambda name: ways[name])
    if means.probability_error < IDENTITY:
        return finding.against(
            PROBE,
            "probability_error",
            means.probability_error,
            f"the teacher's probabilities are the mean of its {means.members} members'",
            threshold=IDENTITY,
            grade=Grade.PROOF,
        )
    if ways[way] > IDENTITY:
        return finding
    return (
        finding.supported_by(
            PROBE,
            f"{way}_error",
            ways[way],
            f"the teacher's logits are the {way} of its {means.members} members', on all {means.rows} rows; that is "
            f"{means.divergence:.2g} nats from the mean of their probabilities",
            threshold=IDENTITY,
            grade=Grade.PROOF,
        )
        .saying(
            f"The teachers' logits were put together by their {way}.",
            where="how the teachers' answers are put together",
            severity="error" if means.divergence > DIFFERENT else "note",
        )
        .prescribe("the logarithm of the mean of the members' probabilities", automatic=False, safety="manual")
    )
