"""The teacher produced its targets in training mode.

What it checks
    What the recorder saw of the live teacher, and whether the logits that the loss used differ from a second pass in
    evaluation mode over the same inputs.

Why it hurts
    Dropout makes the targets noisy, batch normalisation makes them depend on the other rows of the batch and drifts
    the teacher's running statistics. About two points are reported lost.

What it looks like
    Slow, noisy distillation. The argmax hardly changes, so accuracy looks right: compare logits.

Told apart from
    KD107, where the teacher saw another view of the example. KD108, whose targets are wrong and the same each time
    that a row comes by, where dropout draws anew. KD104, where the weights move too. Some methods use
    batch statistics on purpose; then the difference is declared and this code can be ignored. Whoever puts the
    dropout layers alone into training mode wants several passes, whose mean teaches: a note, while the teacher keeps
    its skill in the loop.

Fix
    - model.train()                      # a wrapper that holds the teacher too
    + model.train(); teacher.eval()
    Assert not teacher.training at every step.

Treat automatically
    Yes: the student is retrained with the teacher in evaluation mode.

Read more
    PyTorch documentation of Module.eval. Beyer et al. 2022, arXiv:2106.05237, on consistent teaching.
"""

from kddoctor.probes.measurements import TeacherViews
from kddoctor.probes.passes_again import PassesAgain
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.optimisation.harm import OTHERS, skill_lost
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Share
from kddoctor.run.observations import Observations

PROBE = "teacher-passes"
#: Mean |Δz| / mean |z| of two passes over the same tensor: float32 leaves 1e-6, dropout of 0.1 gives 0.15.
REPEATABLE: Share = 1e-3
#: Below these the two passes are not two looks at the same rows.
SAME_ROWS_CORRELATION: Correlation = 0.5


@rule(
    "KD103",
    name="teacher-in-train-mode",
    family="pipeline",
    title="The teacher taught in training mode (dropout and batch statistics on)",
    stage=16,
    reads=(TeacherPasses,),
    uses=(PassesAgain, TeacherViews, Observations),
    masks=("KD402", "KD502", "KD102"),
)
def teacher_in_train_mode(
    passes: TeacherPasses,
    both: PassesAgain | None = None,
    views: TeacherViews | None = None,
    seen: Observations | None = None,
) -> Finding:
    finding = Finding()
    difference = passes.relative_difference
    repeatable = passes.rows > 0 and difference <= REPEATABLE
    dropout_alone = seen is not None and bool(seen.teacher_dropout_alone)
    if passes.teacher_training:
        finding = finding.supported_by(
            "observations",
            "teacher_training",
            1.0,
            f"{'dropout layers of the teacher were' if dropout_alone else 'the teacher was'} in training mode while it "
            "produced the targets",
            threshold=0,
            grade=Grade.PROOF,
        )
    elif passes.teacher_training is False:
        finding = finding.against(
            "observations",
            "teacher_training",
            0.0,
            "the recorder saw the teacher in evaluation mode",
            threshold=0,
            weight=8.0,
        )
    if passes.rows:
        finding = _by_difference(finding, passes)
    if both is not None and both.targets_stay and not repeatable:
        finding = finding.against(
            "passes-again",
            "targets",
            float(both.targets),
            "a row that comes by again has the same target, which dropout and the rest of a batch would change",
            weight=8.0,
        )
    on_purpose = dropout_alone and skill_lost(views) <= OTHERS
    return finding.saying(
        _statement(passes, repeatable=repeatable, on_purpose=on_purpose),
        where="the training loop: mode of the teacher",
        severity="note" if repeatable or on_purpose else "error",
    ).prescribe("teacher.eval() before the loop, and after every model.train()", treatment__teacher_mode="eval")


def _statement(passes: TeacherPasses, *, repeatable: bool, on_purpose: bool) -> str:
    if not passes.teacher_training:
        return "The targets differ from what the teacher says in evaluation mode on the same inputs."
    if on_purpose:
        return "The teacher's dropout layers, and they alone, were in training mode: right where passes are averaged."
    harmless = " It makes no difference to this teacher's outputs." if repeatable else ""
    return f"The teacher was in training mode while it produced the targets.{harmless}"


def _by_difference(finding: Finding, passes: TeacherPasses) -> Finding:
    difference = passes.relative_difference
    text = f"the targets differ from a pass in evaluation mode by {difference:.1%} of their size"
    if difference <= REPEATABLE:
        if passes.teacher_training:
            return finding
        return finding.against(
            PROBE,
            "relative_difference",
            difference,
            f"two passes over the same inputs agree to {difference:.1e}",
            threshold=REPEATABLE,
            origin="calibrated on toy checks",
            grade=Grade.PROOF,
        )
    if passes.correlation < SAME_ROWS_CORRELATION:
        return finding.against(
            PROBE,
            "correlation",
            passes.correlation,
            "the two passes do not even resemble each other, as outputs of other rows or views would not",
            threshold=SAME_ROWS_CORRELATION,
            origin="convention",
            weight=8.0,
        )
    finding = finding.supported_by(
        PROBE,
        "relative_difference",
        difference,
        f"{text}; the top class agrees on {passes.agreement:.1%}",
        threshold=REPEATABLE,
        origin="calibrated on toy checks",
        grade=Grade.INTERVENTIONAL,
    )
    if passes.same_inputs is not None and passes.same_inputs < 1:
        finding = finding.against(
            "observations",
            "same_inputs",
            passes.same_inputs,
            "teacher and student did not see the same tensors, which alone makes the passes differ",
            threshold=1,
            weight=6.0,
        )
    return finding
