"""Does the teacher say the same twice, and in the mode that it teaches in?"""

from kddoctor.engine.reading import binary_like
from kddoctor.preflight_checks.judged import PASSES, Judgement
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.sample import first_batch
from kddoctor.preflight_checks.setting import Setting
from kddoctor.probes.teacher_passes import TeacherPassesProbe
from kddoctor.rules.pipeline.teacher_in_train_mode import REPEATABLE
from kddoctor.run.recording.outputs import copied

NAME = PASSES[0]


def check_teacher_passes(setting: Setting, judgement: Judgement) -> Check:
    """Two passes in evaluation mode, then the mode that it was handed over in. Call it inside ``undisturbed``."""
    batch = first_batch(setting, setting.held_out)
    if batch is None:
        return Check(NAME, "not checked", "there is no batch")
    probe = TeacherPassesProbe()
    first, second = (copied(setting.logits("teacher", batch)).numpy() for _ in range(2))
    if binary_like(setting.manifest):
        first, second = first.reshape(-1, 1), second.reshape(-1, 1)
    probe.update(first, second)
    found = probe.compute()
    if found.relative_difference > REPEATABLE:
        return Check(
            NAME,
            "fail",
            f"two passes in evaluation mode over the same inputs differ by {found.relative_difference:.1%}",
            ("KD103",),
            (f"the top class agrees on {found.agreement:.1%} of {found.rows} rows",),
            "take the noise out of forward(), or make it depend on self.training",
        )
    said = f"two passes over the same inputs agree to {found.relative_difference:.1e}"
    return judgement.check(PASSES, said)
