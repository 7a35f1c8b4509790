"""The losses count positions that they should not, or leave out some that they should.

What it checks
    Whether the recorded distillation loss is a mean over other positions than those that are labelled: all of them,
    padding included; the padding alone; those from some place on; those of some token numbers; those of a mask that is
    some places off; or a sum over some divided by the number of others. Also whether losses are not finite at exactly
    the steps at which no position counts.

Why it hurts
    Padding teaches the student about nothing and dilutes the rest: longer padding, lower loss. A mask that takes too
    much leaves most of the text untaught.

What it looks like
    The loss falls as padding grows; results change with the batch's longest row; NaN where a row is only prompt.

Told apart from
    KD212, where the loss is right and its gradient is not. KD803, where positions are right in number and one place
    off. Labels of -100 that are meant are recorded as such, and count as masked here.

Fix
    - kd = kl(student.flatten(0, 1), teacher.flatten(0, 1))
    + counts = labels != -100
    + kd = kl(student[counts], teacher[counts])
    Give every term the same mask, and divide by counts.sum().clamp_min(1).

Treat automatically
    Yes: the student is retrained with the mean over the labelled positions.

Read more
    PyTorch documentation of cross_entropy, argument ignore_index.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.loss_numerics import LossNumerics
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import as_declared, distils, excluded, mistaken, reproduced
from kddoctor.rules.registry import Verdict, rule
from kddoctor.run.manifest import Manifest


@rule(
    "KD801",
    name="loss-mask-wrong",
    family="sequence-LM",
    title="The loss counts the wrong positions",
    stage=28,
    only=("tokens",),
    reads=(LossForensics, Manifest),
    uses=(LossMistakes, LossNumerics),
    masks=("KD102", "KD208", "KD211", "KD301", "KD402", "KD502"),
)
def loss_mask_wrong(
    loss: LossForensics, config: Manifest, mistakes: LossMistakes | None, numerics: LossNumerics | None
) -> Verdict:
    if config.task != "tokens":
        return NotExamined(("task tokens",), "only tasks of tokens have positions that do not count")
    finding = as_declared(Finding(), loss)
    if not distils(config):
        return finding
    if numerics is not None and numerics.broken_without_rows and numerics.broken_without_rows == numerics.broken:
        finding = finding.supported_by(
            "loss-numerics",
            "broken_without_rows",
            float(numerics.broken_without_rows),
            f"the loss is not finite on {numerics.broken} steps, on none of which any position counts",
            threshold=0,
            grade=Grade.PROOF,
        )
        return _said(finding, "The loss is divided by the number of positions that count, which is 0 on some steps.")
    found = None if mistakes is None else mistakes.of("KD801")
    if found is not None and mistakes is not None:
        return _said(mistaken(finding, mistakes, found), f"The distillation loss is {found.text}.")
    term = loss.term
    if term is not None and not term.form.masked and not term.rivals:
        finding = reproduced(finding, loss, f"recorded = {term.form.describe()}")
        return _said(finding, "The distillation loss counts every position, padding included.")
    return finding if mistakes is not None and mistakes.found else excluded(finding, loss)


def _said(finding: Finding, summary: str) -> Finding:
    return finding.saying(summary, where="the training loop: mask of the loss terms").prescribe(
        "one mask, labels != -100, for every term", loss__mask="labels"
    )
