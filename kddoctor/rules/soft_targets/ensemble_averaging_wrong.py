"""The answers of several teachers are put together as logits instead of as probabilities.

What it checks
    Where the members' own logits were recorded: whether the teacher's logits are their mean, their sum, another sum of
    them with one weight for each member or for each row, one member's for each class, or the mean of their exponentials
    as they are; or lie between theirs, on every row and in every class, without being a mixture of their probabilities;
    and how far its probabilities are from the mean of theirs. Without the members nothing in a record tells an ensemble
    from one over-confident model, so that this is not examined then.

Why it hurts
    A mean of logits is a geometric mean of probabilities: whoever is most certain decides, and a sum grows more certain
    with every member. The doubt that an ensemble is made for is lost.

What it looks like
    A teacher that is surer than right on held-out rows, with targets that are almost hard.

Told apart from
    KD301 and KD305, which is what the targets look like without the members. Members that agree, where both means are
    the same. Parts of one model that are added up, none of which answers by itself.

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
from kddoctor.rules.settings import Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "ensemble-means"
#: Relative error of an identity in float32.
IDENTITY = 1e-4
#: Nats between the two means from which it matters which one is taken.
DIFFERENT: Nats = 0.02
#: Ways that nobody puts the parts of one model together in.
EXPONENTIALS, BETWEEN = "are the mean of the exponentials", "are another mean"
MEANS = (EXPONENTIALS, BETWEEN)
#: Accuracy of the weakest member over that of the whole from which members are models of their own.
ABLE: Share = 0.8


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
    ways = {
        "are the mean": means.mean_error,
        "are the sum": means.sum_error,
        "are a weighted sum": means.weighted_error,
        "are, row by row, a weighted sum": float("inf") if means.row_error is None else means.row_error,
        "are chosen class by class": means.chosen_error,
        EXPONENTIALS: means.exponential_error,
        # Whatever mean of the logits it is that lies between them everywhere.
        BETWEEN: 0.0 if means.between == 1 and means.mixed_error > IDENTITY else float("inf"),
    }
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
    if way not in MEANS and means.least_accuracy is not None and means.least_accuracy < ABLE:
        return finding  # parts of one model, of which none answers by itself, are added up
    return (
        finding.supported_by(
            PROBE,
            "logits_error",
            ways[way],
            f"the teacher's logits {way} of its {means.members} members', on all {means.rows} rows; that is "
            f"{means.divergence:.2g} nats from the mean of their probabilities",
            threshold=IDENTITY,
            grade=Grade.PROOF,
        )
        .saying(
            f"The teachers' logits were put together, and not their probabilities: they {way}.",
            where="how the teachers' answers are put together",
            severity="error" if means.divergence > DIFFERENT else "note",
        )
        .prescribe("the logarithm of the mean of the members' probabilities", automatic=False, safety="manual")
    )
