"""The distillation term is made for another kind of answer than the one that the task asks for.

What it checks
    In tasks of yes-or-no answers: whether the recorded term is exactly zero with a gradient path to the student, as a
    softmax over a single number is; is the divergence of the yes alone, without that of the no; takes scores for
    probabilities, or probabilities for scores; is a softmax over labels that do not exclude one another; is the overlap
    of two masks, as if the batch were an image; or counts nothing but the signs of both logits, which is all that
    correlation, standardising and ranks leave of two classes.

Why it hurts
    A softmax over one logit is 1 whatever the logit. A divergence without its complement is no divergence: it falls
    without end while all scores rise. A softmax over independent labels makes them compete. What depends on signs alone
    has no gradient.

What it looks like
    A distillation loss of 0, or below 0 and still falling; scores near 1 for everything, with a fair ranking at first.

Told apart from
    KD209, where equal operands leave rounding errors, not exact zeros. KD110, where the term is not in the total.
    KD206, a softmax over the batch. KD205, whose values are probabilities.

Fix
    - F.kl_div(logsigmoid(s / T), sigmoid(t / T), reduction="batchmean")
    + F.binary_cross_entropy_with_logits(s / T, sigmoid(t / T))
    For two classes, decoupled losses leave one class over and nothing to compare: use the plain divergence.

Treat automatically
    Yes: the student is retrained with the divergence of yes and no.

Read more
    Zhao et al. 2022, arXiv:2203.08679 (decoupled, for many classes). Yang et al. 2023, arXiv:2308.14286.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import as_declared, distils, excluded, mistaken, single_numbers, zero_in_place
from kddoctor.rules.registry import Verdict, rule
from kddoctor.rules.settings import Nats
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Divergence, in nats, from which two models are not the same.
VISIBLE_DIVERGENCE: Nats = 1e-3


@rule(
    "KD214",
    name="loss-task-mismatch",
    family="loss",
    title="The distillation term does not fit the kind of answer",
    stage=26,
    only=(
        "binary",
        "ranking",
        "multilabel",
    ),
    reads=(LossMistakes, LossForensics, Manifest),
    uses=(Observations,),
    masks=(
        "KD102",
        "KD110",
        "KD111",
        "KD208",
        "KD209",
        "KD211",
        "KD301",
        "KD402",
        "KD502",
        "KD505",
    ),
)
def loss_task_mismatch(
    mistakes: LossMistakes, loss: LossForensics, config: Manifest, seen: Observations | None
) -> Verdict:
    finding = as_declared(Finding(), loss)
    if not single_numbers(config):
        return NotExamined(("task binary, ranking or multilabel",), "only tasks of yes-or-no answers are examined")
    if not distils(config):
        return finding
    found = mistakes.of("KD214")
    if found is not None:
        return _said(mistaken(finding, mistakes, found), f"The distillation loss is {found.text}.")
    if mistakes.zero != "exact":
        return finding if mistakes.found or mistakes.zero else excluded(finding, loss)
    term = seen.graph.kd_loss if seen is not None and seen.graph is not None else None
    in_place = term is None and zero_in_place(loss, mistakes, config)
    if not in_place and (term is None or not term.student):
        return finding
    if mistakes.divergence < VISIBLE_DIVERGENCE:
        return finding
    finding = finding.supported_by(
        "loss-mistakes",
        "largest",
        0.0,
        f"the term is part of the total and exactly 0 on {mistakes.steps} steps, where yes and no differ by "
        f"{mistakes.divergence:.2g} nats: it is a softmax over one number",
        threshold=VISIBLE_DIVERGENCE,
        # A model beside itself leaves rounding errors, and seldom none.
        grade=Grade.INTERVENTIONAL if in_place else Grade.PROOF,
        weight=6.0 if in_place else None,
    )
    return _said(finding, "The distillation loss is a softmax over a single number, which is always 1.")


def _said(finding: Finding, summary: str) -> Finding:
    return finding.saying(summary, where="the training loop: form of the distillation loss").prescribe(
        "the divergence of yes and no, by sigmoids", loss__form="declared"
    )
