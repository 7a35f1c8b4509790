"""Some classes are worse after the distillation, and only those.

What it checks
    Class by class, with a correction for their number: whether the student finds fewer held-out rows than the same
    student trained on the labels alone; whether it stays further behind its teacher than on the other classes, or
    follows a teacher that calls training rows of these classes something else, or gives them less than half of their
    share of probability and never answers them; whether it fails on training rows of these classes too; whether the
    teacher inside the loop does not choose classes that it chooses outside; and whether anything in the loop, targets
    or loss, could have treated classes differently.

Why it hurts
    The average hides it. Whoever belongs to one of these classes is served worse than before.

What it looks like
    Accuracy as good as ever, and recall of a few classes, often rare ones, far down.

Told apart from
    KD606, where the classes are missing from the training rows. KD105, where the teacher chooses one other class for
    each. KD402, where a small student gives up many classes, and would without a teacher. A class that is hard for the
    teacher as well, which any small student loses first; two classes that are alike, between which two trainings draw
    the line at different places, so that one gains what the other loses.

Fix
    Weigh both terms alike for all classes. Adjust the teacher by its class prior with the right sign: z − τ log π.
    Leave the distillation term out for classes on which the teacher is poor.

Treat automatically
    Yes: the student is retrained with the teacher's own logits and without weights of classes.

Read more
    Zhu et al. 2022, "Teach Less, Learn More: On the Undistillable Classes in Knowledge Distillation". Menon et al.
    2021, arXiv:2007.07314: logit adjustment.
"""

import numpy as np
from scipy.stats import binom

from kddoctor.probes.class_recall import ClassRecall
from kddoctor.probes.data_measurements import ClassRecalls, ClassShares
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import TeacherViews
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.data.class_outliers import Flags, Limits, enough_rows, outlying, share_of, unknown_to_the_teacher
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.merged_classes import BELOW, kept_from, share_of_probability
from kddoctor.rules.pipeline.teacher_in_train_mode import REPEATABLE
from kddoctor.rules.pipeline.teacher_weights_not_loaded import NO_SKILL
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share

PROBE = "class-recall"
#: Held-out rows of a class from which its recall is looked at, and points of recall that matter (taxonomy).
ROWS: Count = Limits.rows
POINTS: Share = 0.05
#: Points by which a class stays behind more than the others do. Recalls of sound students differ by less; calibrated on
#: the digits.
FURTHER: Share = Limits.further
#: Share of the recall that is lost to the twin, of which another class gained as much.
EXCHANGED: Share = 0.5
#: Probability that chance alone does this to one of the classes.
CHANCE: Share = 0.01
CERTAIN: Share = Limits.certain
#: Share of the classes up to which they are some and not the rule.
SOME: Share = Limits.some
#: Share of its training rows without which a class cannot be learnt.
PRESENT: Share = 0.25
#: Recall in the loop over that outside.
SILENCED: Factor = 0.9
#: Recall of a class most of whose rows are called something else.
MOST: Share = Limits.most
#: What other classes may lose, as a share of what these lose: students that learnt too little lose everywhere.
SPARED: Share = Limits.spared


@rule(
    "KD604",
    name="class-level-regression",
    family="data",
    title="Some classes are worse after the distillation",
    stage=74,
    only=("multiclass",),
    last=True,
    reads=(ClassRecalls,),
    uses=(ClassShares, TeacherPasses, LossForensics, TeacherViews),
    masks=("KD402",),
)
def class_level_regression(
    recalls: ClassRecalls,
    shares: ClassShares | None,
    passes: TeacherPasses | None = None,
    loss: LossForensics | None = None,
    teacher: TeacherViews | None = None,
) -> Finding:
    held_out = recalls.held_out
    limits = Limits(ROWS, FURTHER, CERTAIN, SOME, MOST, SPARED)
    judged = enough_rows(recalls, limits)
    if shares is not None:
        wanted = shares.held_out / max(1, shares.held_out.sum()) * shares.train.sum()
        judged &= shares.train >= PRESENT * wanted
    behind = outlying(np.maximum(held_out.teacher - held_out.student, 0), held_out.rows, judged, limits)
    finding = Finding().saying("Some classes are worse after the distillation, and only those.", where="a few classes")
    finding = finding.prescribe(
        "the teacher's own logits, and no weights of classes", safety="careful", treatment__class_weights="none"
    )
    if behind.any() and behind.sum() <= SOME * max(1, judged.sum()):
        finding = _support(finding, recalls, behind)
    elif (silent := _never_answered(teacher, judged, held_out)).any():
        return _of_the_teacher(finding, recalls, silent, silent=True)
    elif (inherited := _kept_back(teacher, unknown_to_the_teacher(recalls, limits, judged=judged))).any():
        return _of_the_teacher(finding, recalls, inherited, silent=False)
    elif judged.any() and not behind.any():
        finding = finding.against(
            PROBE,
            "behind",
            None,
            "on no class does the student stay further behind its teacher than on the others by more than chance and "
            f"{100 * FURTHER:.0f} points",
            threshold=FURTHER,
            weight=3.0,
        )
    if held_out.baseline is not None and behind.any():
        # Where all classes lose, the hardest lose most, to a twin as well.
        spared = any(item.measure == "spared" for item in finding.supporting)
        finding = _against_the_twin(finding, held_out, behind, spared=spared)
    return _of_the_loop(finding, passes, loss) if finding.supporting else finding


def _never_answered(teacher: TeacherViews | None, judged: Flags, held_out: ClassRecall) -> Flags:
    """Classes, few enough, that the teacher neither answers nor thinks of, and is good at all others; else none."""
    own = [] if teacher is None else [view for view in (teacher.own, teacher.own_train) if view is not None]
    # One that knows nothing of the task gives no class what is its own (KD101, KD102).
    skilled = max((view.skill for view in own), default=0.0) > NO_SKILL
    found = kept_from([view.validity for view in own] if skilled else [])
    if len(found) != len(judged) or not 0 < (found & judged).sum() <= SOME * judged.sum():
        return np.zeros(len(judged), bool)
    # A teacher that others are better than on the classes that it knows is a weak one (KD102).
    rival = held_out.student if held_out.baseline is None else held_out.baseline
    good = held_out.teacher[~found].sum() >= rival[~found].sum()
    return found & judged if good else np.zeros(len(judged), bool)


def _kept_back(teacher: TeacherViews | None, classes: Flags) -> Flags:
    """Those of the classes that the teacher gives less than half of their share: others it merely finds hard."""
    own = [] if teacher is None else [view.validity for view in (teacher.own, teacher.own_train) if view is not None]
    share = share_of_probability(own)
    return classes if share is None else classes & (share <= BELOW)


def _of_the_teacher(finding: Finding, recalls: ClassRecalls, classes: Flags, *, silent: bool) -> Finding:
    """What the teacher calls by another name, the student does too; a twin that knows it shows what that costs.

    silent: whether the teacher does not answer these classes at all, so that no line between two of them was moved.
    """
    held_out = recalls.held_out
    train, split = (held_out, "held-out") if recalls.train is None else (recalls.train, "training")
    names = ", ".join(map(str, np.flatnonzero(classes)[:5]))
    taught, student = (share_of(model, train.rows, classes) for model in (train.teacher, train.student))
    others, followed = (share_of(model, train.rows, ~classes) for model in (train.teacher, train.student))
    text = (
        f"classes {names}: of their {split} rows the teacher finds {taught:.1%} and the student {student:.1%}; of the "
        f"other classes {others:.1%} and {followed:.1%}"
    )
    if followed - student <= FURTHER:
        return finding.against(PROBE, "taught", taught, f"{text}: it learnt them nevertheless", weight=3.0)
    finding = finding.supported_by(
        PROBE,
        "taught",
        taught,
        text,
        threshold=others - FURTHER,
        origin="calibrated on digits",
        weight=5.0,
    ).saying(finding.summary, where=f"classes {names}")
    return (
        finding
        if held_out.baseline is None
        else _against_the_twin(finding, held_out, classes, spared=True, silent=silent)
    )


def _support(finding: Finding, recalls: ClassRecalls, behind: Flags) -> Finding:
    held_out = recalls.held_out
    names = ", ".join(map(str, np.flatnonzero(behind)[:5]))
    recall = [share_of(model, held_out.rows, behind) for model in (held_out.teacher, held_out.student)]
    others = [share_of(model, held_out.rows, ~behind) for model in (held_out.teacher, held_out.student)]
    finding = finding.supported_by(
        PROBE,
        "behind",
        recall[0] - recall[1],
        f"classes {names}: the teacher finds {recall[0]:.1%} of the held-out rows, the student {recall[1]:.1%}; of the "
        f"other classes {others[0]:.1%} and {others[1]:.1%}",
        threshold=FURTHER,
        origin="calibrated on digits",
        # Without a twin this is what every student that learnt too little shows on the classes that are hardest.
        weight=2.5,
    ).saying(finding.summary, where=f"classes {names}")
    if others[0] - recall[0] > FURTHER:
        finding = finding.against(
            PROBE,
            "hard",
            others[0] - recall[0],
            f"its teacher, too, finds {100 * (others[0] - recall[0]):.0f} points fewer of these than of the others: "
            "what is hardest is what a smaller student loses first",
            threshold=FURTHER,
            origin="convention",
            weight=3.0,
        )
    spared = (others[0] - others[1]) / max(1e-9, recall[0] - recall[1])
    if spared < SPARED:
        finding = finding.supported_by(
            PROBE,
            "spared",
            spared,
            "on all other classes it is as good as its teacher",
            threshold=SPARED,
            origin="calibrated on digits",
            weight=2.0,
        )
    train = recalls.train
    if train is not None:
        own, rest = (share_of(train.student, train.rows, part) for part in (behind, ~behind))
        n = int(train.rows[behind].sum())
        by_chance = float(binom.cdf(train.student[behind].sum(), n, min(rest, 1 - 1 / max(2, train.rows.sum()))))
        if n and by_chance < CHANCE and rest - own > POINTS:
            finding = finding.supported_by(
                PROBE,
                "train_recall",
                own,
                f"even of their training rows it finds {own:.1%}, of those of other classes {rest:.1%}",
                threshold=rest - POINTS,
                origin="convention",
                weight=1.0,
            )
        elif n:
            finding = finding.against(
                PROBE, "train_recall", own, f"of their training rows it finds {own:.1%}: it did learn them", weight=3.0
            )
    return _in_loop(finding, recalls, behind)


def _in_loop(finding: Finding, recalls: ClassRecalls, behind: Flags) -> Finding:
    rows, right, train = recalls.in_loop_rows, recalls.in_loop_teacher, recalls.train
    if rows is None or right is None or train is None or not rows[behind].sum():
        return finding
    inside, outside = share_of(right, rows, behind), share_of(train.teacher, train.rows, behind)
    others = [share_of(counts, each, ~behind) for counts, each in ((right, rows), (train.teacher, train.rows))]
    if others[0] < SILENCED * others[1]:
        return finding  # a teacher that fails on all classes alike is another fault
    by_chance = float(binom.cdf(right[behind].sum(), rows[behind].sum(), min(outside, 1 - 1 / rows.sum())))
    if inside < SILENCED * outside and by_chance < CERTAIN:
        return finding.supported_by(
            PROBE,
            "teacher_in_loop",
            inside,
            f"inside the loop the teacher finds {inside:.1%} of their rows, outside {outside:.1%}",
            threshold=SILENCED * outside,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=3.0,
        )
    return finding


def _of_the_loop(finding: Finding, passes: TeacherPasses | None, loss: LossForensics | None) -> Finding:
    """Where the targets are the teacher's own and the loss is the declared one, no class was treated otherwise."""
    if passes is None or loss is None or loss.declared_error is None or loss.mix is None:
        return finding
    plain = loss.declared_holds and passes.relative_difference <= REPEATABLE
    if not plain:
        return finding
    return finding.against(
        "loss-forensics",
        "declared_form_error",
        loss.declared_error,
        "the targets are the teacher's own and the loss is the declared one: neither treats classes differently",
        threshold=loss.tolerance,
        weight=3.0,
    )


def _against_the_twin(
    finding: Finding, held_out: ClassRecall, behind: Flags, *, spared: bool, silent: bool = False
) -> Finding:
    """McNemar's exact test on the rows of these classes."""
    assert held_out.baseline is not None
    assert held_out.student_only is not None
    assert held_out.baseline_only is not None
    lost, gained = int(held_out.baseline_only[behind].sum()), int(held_out.student_only[behind].sum())
    n = int(held_out.rows[behind].sum())
    text = (
        f"of {n} rows of these classes, the labels alone teach {lost} that the student misses, and miss {gained} others"
    )
    if lost > gained and not silent and _exchanged(held_out, behind, (lost - gained) / n):
        return finding.against(
            PROBE,
            "exchanged",
            (lost - gained) / n,
            f"{text}; of another class the student finds as many more: two trainings draw the line between classes "
            "that are alike at different places",
            threshold=EXCHANGED,
            origin="convention",
            weight=3.0,
        )
    if spared and (lost - gained) / n > POINTS and binom.sf(lost - 1, lost + gained, 0.5) < CHANCE:
        return finding.supported_by(
            PROBE, "lost_to_twin", (lost - gained) / n, text, threshold=POINTS, origin="taxonomy", weight=5.0
        )
    if lost <= gained:
        return finding.against(PROBE, "lost_to_twin", (lost - gained) / n, text, weight=5.0)
    return finding


def _exchanged(held_out: ClassRecall, behind: Flags, lost: float) -> bool:
    """Whether another class gained on the twin what these lost, or a good part of it. lost: points of recall."""
    assert held_out.baseline is not None
    gained = (held_out.student - held_out.baseline) / np.maximum(held_out.rows, 1)
    others = ~behind & (held_out.rows >= ROWS)
    return bool(others.any()) and float(gained[others].max()) > EXCHANGED * lost
