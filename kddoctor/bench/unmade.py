"""Codes for which no fault is made, because no edit of a loop in one process makes the mistake."""

from collections.abc import Mapping

#: Code to the reason, and to the evidence that would show the mistake.
UNMADE: Mapping[str, str] = {
    "KD114": (
        "The comparison is at fault and not the distillation: it would show in a labels-only run of other epochs, "
        "augmentation or seeds, or in a gain within two standard deviations over seeds, all of which need several runs."
    ),
    "KD507": (
        "These teachers stay ahead of their students to the end, so that their term never turns harmful, and a teacher "
        "that falls behind is KD102: it would show in a validation metric that peaks and then falls while a term whose "
        "gradient opposes that of the labels keeps its weight, and in a run that stops or anneals it."
    ),
    "KD802": (
        "No row of the tasks ends in a token that says so: it would show in the share of rows whose last counted label "
        "is the end token, in the two tokenizers' numbers of it, and in the length of what the student writes."
    ),
    "KD807": (
        "The tasks judge a token after given ones and write nothing: it would show in the teacher's likelihood of "
        "the student's own continuations, position by position, against that of the teacher's."
    ),
    "KD808": (
        "The loop learns from given rows and samples none from the student: it would show in lengths, entropy and mass "
        "on the teacher's top tokens of what the student writes, from the first step to the last."
    ),
    "KD809": (
        "It takes reasoning traces and models that can write them: it would show in a student that is worse after long "
        "traces than after short ones of the same problems, and writes longer."
    ),
    "KD904": (
        "Inputs hold no times, and the rows of teacher and student are drawn from the same years: it would show in the "
        "time windows of both training sets, and in a teacher that is worse on the newer rows."
    ),
}
