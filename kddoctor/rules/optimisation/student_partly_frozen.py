"""Part of the student never learns, although it is meant to.

What it checks
    Whether parameters that ask for gradients are in no optimizer; and whether parameters are frozen, never had a
    gradient although they are not, or ended exactly as they began although they had one, in a student that fits its
    training rows worse than its teacher, or worse than its labels-only twin.

Why it hurts
    Layers that keep their first, random weights pass noise to those that learn. A student of ten layers that trains
    three is a student of three layers.

What it looks like
    The loss falls and levels off too high, as if the student were too small.

Told apart from
    KD402 and KD405, where every parameter learns. KD112, where it is a projector that no optimizer holds. KD111 and
    KD110, where no gradient of the teacher's term arrives at all. Adapters and pretrained layers that are frozen on
    purpose: frozen parameters alone are no fault.

Fix
    - optimizer = SGD(student.head.parameters(), lr)
    + optimizer = SGD(student.parameters(), lr)
    + student.requires_grad_(True)

Treat automatically
    Yes: the student is retrained with all its parameters in the optimizer.

Read more
    Howard & Ruder 2018, arXiv:1801.06146: gradual unfreezing.
"""

from kddoctor.probes.feature_levels import FeatureLevels
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.stored_student import StoredStudent
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.optimisation.harm import severity
from kddoctor.rules.optimisation.way import ALIVE
from kddoctor.rules.pipeline.feature_level import projector_parameters
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "observations"
#: Points of training accuracy below the teacher from which a student does not fit.
UNFIT: Share = 0.03
#: The same of a student none of whose parameters is frozen: a loss may leave some of them out on purpose.
LAGS: Share = 0.1
#: Nats for a student that does not fit its training rows, and for one that does.
FALLS_SHORT, KEEPS_UP = 3.0, 4.0
#: What the learning parameters of a student are called that is frozen on purpose.
ADAPTERS = ("lora", "adapter", "prompt", "prefix", "ia3")
#: Most names that are written out.
NAMED = 3


@rule(
    "KD506",
    name="student-partly-frozen",
    family="optimisation",
    title="Part of the student never learns",
    stage=49,
    reads=(Observations,),
    uses=(Gaps, TrainGaps, Manifest, FeatureLevels, StoredStudent, StudentPath),
    masks=("KD402", "KD502", "KD401", "KD405", "KD501", "KD504"),
)
def student_partly_frozen(
    seen: Observations,
    held_out: Gaps | None,
    train: TrainGaps | None,
    config: Manifest | None = None,
    levels: FeatureLevels | None = None,
    stored: StoredStudent | None = None,
    path: StudentPath | None = None,
) -> Finding | NotExamined:
    missing, still = seen.parameters_not_in_optimizer, seen.parameters_without_gradient
    frozen = seen.frozen_parameters
    if frozen is None and missing is not None and still is not None:
        # Neither a gradient nor an optimizer: whoever wrote that down need not say that it is frozen as well.
        frozen = [name for name in missing if name in still]
    if missing is None and frozen is None and still is None:
        return NotExamined(
            ("observations.parameters_not_in_optimizer",), "give the optimizer to kddoctor.record(optimizer=…)"
        )
    finding = Finding()
    others = projector_parameters(seen, config, levels, stored)
    reached = [name for name in missing or () if name not in (still or ()) and name not in others]
    if reached:
        finding = finding.supported_by(
            PROBE,
            "parameters_not_in_optimizer",
            float(len(reached)),
            f"{len(reached)} of the student's parameters get a gradient and are in no optimizer: {_named(reached)}",
            threshold=0,
            grade=Grade.PROOF,
            group="missing",
        )
    if frozen:
        finding = _of_frozen(finding, frozen, held_out, train)
    idle = [name for name in still or () if name not in (frozen or ())]
    if idle and not reached:
        finding = finding.supported_by(
            PROBE,
            "parameters_without_gradient",
            float(len(idle)),
            f"{len(idle)} of the student's parameters never had a gradient: {_named(idle)}",
            threshold=0,
            weight=2.5,
        )
        # Frozen or cut off from the graph: in a student that lags either is what holds it, in one that does not, the
        # loss has no use for them.
        finding = finding if frozen else _of_fit(finding, held_out, train, UNFIT if frozen is None else LAGS)
    stuck = _stuck(seen, {*(missing or ()), *(frozen or ()), *(still or ())}, path)
    if stuck:
        finding = _of_stuck(finding, stuck)
        # What is frozen, or has no gradient, has asked already.
        finding = finding if frozen or (idle and not reached) else _of_fit(finding, held_out, train, LAGS)
    elif missing == [] and frozen == [] and still == []:
        finding = finding.against(
            PROBE,
            "parameters_without_gradient",
            0.0,
            "every parameter of the student had a gradient and is in an optimizer",
            grade=Grade.PROOF,
        )
    return finding.saying(
        "Part of the student keeps its first weights: it is frozen, or no optimizer holds it.",
        where="the training loop: parameters given to the optimizer",
        severity=severity(held_out),
    ).prescribe("give every parameter of the student to the optimizer", treatment__parameters="all")


def _stuck(seen: Observations, known: set[str], path: StudentPath | None) -> list[str]:
    """Parameters that ended as they began for no reason that is known already; none where all of them did, or where
    something was written to them after training: that is another student. Nor where its answers do not depend on the
    input: gradients that vanish leave parameters where they are as well.
    """
    unmoved = seen.parameters_unmoved or []
    changed = set(seen.parameters_changed_after_training or ())
    dead = path is not None and path.late("dependence") < ALIVE
    if not seen.parameters_moved or changed & set(unmoved) or dead:
        return []
    # A normalisation behind it takes a bias out again: its gradient is rounding, in sound students as well.
    return [name for name in unmoved if name not in known and not name.endswith("bias")]


def _of_stuck(finding: Finding, stuck: list[str]) -> Finding:
    return finding.supported_by(
        PROBE,
        "parameters_unmoved",
        float(len(stuck)),
        f"{len(stuck)} of the student's parameters get gradients and ended exactly as they began: {_named(stuck)}",
        threshold=0,
        weight=3.0,
        group="frozen",
    )


def _of_frozen(finding: Finding, frozen: list[str], held_out: Gaps | None, train: TrainGaps | None) -> Finding:
    finding = finding.supported_by(
        PROBE,
        "frozen_parameters",
        float(len(frozen)),
        f"{len(frozen)} of the student's parameters are frozen: {_named(frozen)}",
        threshold=0,
        weight=3.0,
    )
    if any(word in name.lower() for name in frozen for word in ("base_model", "base_layer", *ADAPTERS)):
        finding = finding.against(
            PROBE,
            "frozen_parameters",
            float(len(frozen)),
            "their names are those of a base that adapters are put on",
            weight=5.0,
            group="adapters",
        )
    return _of_fit(finding, held_out, train)


def _of_fit(finding: Finding, held_out: Gaps | None, train: TrainGaps | None, unfit: float = UNFIT) -> Finding:
    """Whether a student with parameters that do not learn pays for it. unfit: points from which it does for certain."""
    gaps = None if train is None else train.gaps
    if gaps is not None:
        below = gaps.teacher_accuracy - gaps.student_accuracy
        text = f"training rows: student {gaps.student_accuracy:.1%}, teacher {gaps.teacher_accuracy:.1%}"
        add, weight = (finding.supported_by, FALLS_SHORT) if below > unfit else (finding.against, KEEPS_UP)
        if not UNFIT < below <= unfit:
            finding = add(
                "example-gaps", "train_accuracy", gaps.student_accuracy, text, threshold=unfit, origin="convention",
                weight=weight,
            )  # fmt: skip
    if held_out is None or held_out.gaps.baseline_accuracy is None:
        return finding
    ahead = held_out.gaps.baseline_accuracy - held_out.gaps.student_accuracy
    if ahead > noise_of_difference(standard_error(held_out.gaps.student_accuracy, held_out.gaps.n)):
        finding = finding.supported_by(
            "example-gaps",
            "baseline_accuracy",
            held_out.gaps.baseline_accuracy,
            f"the same student, trained on labels alone, is {100 * ahead:.1f} points better",
            threshold=0,
            grade=Grade.INTERVENTIONAL,
            weight=2.0,
        )
    return finding


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
