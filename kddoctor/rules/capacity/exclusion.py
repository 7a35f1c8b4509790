"""What speaks for a limit of the student itself: its objective is level, and nothing that was looked for holds it."""

from kddoctor.probes.layer_ranks import LayerRanks
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding
from kddoctor.rules.optimisation.way import began_well, outputs
from kddoctor.rules.settings import Factor, Share
from kddoctor.run.observations import Observations

#: Factor on the logits at which the objective is smallest, of logits that have the right scale.
RIGHT: Factor = 1.1
#: Nats for both together: broken optimizers leave logits of the right scale as well.
WEIGHT = 0.4
#: Share of the way from the best constant answer to the teacher that is left to a student which does not hold its
#: teacher's function; of sound runs of the digits at most 0.06.
LEFT: Share = 0.08
#: Share of the teacher's answers that survive in as many dimensions as the student's have, below which no student of
#: that size could give them; convention.
SURVIVING: Share = 0.95
#: Share of its objective that a linear map behind the student's outputs removes from one whose last layer has arrived.
ARRIVED: Share = 0.1
#: The same of one that was not trained as far as its own last layer reaches, and nats for it.
HALF: Share = 0.5
FAR_FROM_IT = 5.0
#: Share of the dimensions of the teacher's answers that a narrow student's answers lie in; convention.
FEW: Share = 2 / 3
#: Accuracy by which a read-out of a layer must exceed the answers for the layer to know what they lost.
READ_OUT: Share = 0.05
#: Accuracy of a read-out of the teacher's answers, below which read-outs of these rows say nothing.
READABLE: Share = 0.5
#: Nats for a student of too few dimensions that has arrived where it can; and where its dimensions alone cost it so
#: many of the teacher's answers that this shows in any of its figures (KD402 has the same limit).
AS_FAR_AS_IT_CAN, SHOWN = 3.0, 4.5
KEPT: Share = 0.9
#: Share of weights that are exactly zero, which no training leaves: they were cut.
CUT: Share = 0.5


def was_cut(seen: Observations | None) -> bool | None:
    """Whether most of the student's weights were cut away; None where nobody counted zeros."""
    return None if seen is None or seen.student_zeros is None else seen.student_zeros >= CUT


def nothing_else(finding: Finding, fit: ScaleFit | None, path: StudentPath | None) -> Finding:
    """Logits of the right scale exclude a penalty and noise (KD504); first answers, a start that nobody learns from."""
    if fit is None or path is None or not 1 / RIGHT < fit.factor < RIGHT:
        return finding
    if not began_well(path):
        return finding
    return finding.supported_by(
        "scale-fit",
        "factor",
        fit.factor,
        "its own objective is as low as any scale of its logits makes it, and its first answers were sane: neither a "
        "penalty nor its start explains that",
        threshold=RIGHT,
        origin="identity where the loss is level",
        weight=WEIGHT,
    )


def narrow(
    finding: Finding,
    output: OutputFit | None,
    ranks: LayerRanks | None,
    path: StudentPath | None,
    fit: ScaleFit | None,
    held_out: Gaps | None,
) -> Finding | None:
    """A student that lacks much of its teacher's function, arrived where its own dimensions let it; None otherwise.

    Its answers lie in fewer dimensions than its teacher's, and no layer has more, or knows more of the labels: that is
    its size, and no fault of its training, which would leave the last layer short of where the objective is lowest.
    """
    found = outputs(output, path, fit)
    if found is None or ranks is None or not ranks.student or found.gain > ARRIVED:
        return None
    widest = max(rank.rank for rank in ranks.student.values())
    answers = ranks.student_logits
    if found.left < LEFT and ranks.surviving(answers.rank) > SURVIVING:
        return None
    everywhere = widest <= answers.rank or able_layer(ranks, held_out) is False
    if not answers.exact or not (widest and everywhere) or answers.rank > FEW * ranks.teacher_logits.rank:
        return None
    if not RIGHT**-0.5 < found.scale < RIGHT or max(rank.copies for rank in ranks.student.values()) > 0:
        return None
    if any(rank.units < rank.width / 2 for rank in ranks.student.values()):
        return None
    return finding.supported_by(
        "output-fit",
        "left",
        found.left,
        f"{found.left:.0%} of the way from a constant answer to the teacher is left on training rows; no linear map of "
        f"the student's outputs shortens it, and these lie in {answers.rank} dimensions, the teacher's in "
        f"{ranks.teacher_logits.rank}: {ranks.surviving(answers.rank):.0%} of the teacher's answers survive in so few",
        threshold=LEFT,
        origin="calibrated on digits",
        weight=AS_FAR_AS_IT_CAN if ranks.surviving(answers.rank) > KEPT else SHOWN,
    )


def able_layer(ranks: LayerRanks, held_out: Gaps | None) -> bool | None:
    """Whether a layer of the student knows more of the labels, as a linear map reads them, than its answers say.

    Or uses its units evenly, as one between thin factors does not. Where none does, no single layer loses what those
    before it had. None where there was nothing to read off, or where not even the teacher's answers could be read so.
    """
    if (ranks.teacher_logits.accuracy or 0.0) < READABLE:
        return None
    found = [rank.accuracy for rank in ranks.student.values() if rank.accuracy is not None]
    own = [0.0 if held_out is None else held_out.gaps.student_accuracy, ranks.student_logits.accuracy or 0.0]
    spread = any(rank.effective >= FEW * rank.units > 0 for rank in ranks.student.values())
    return spread or max(found) >= max(own) + READ_OUT if found else None


def against_unfitted(
    finding: Finding, output: OutputFit | None, path: StudentPath | None, fit: ScaleFit | None
) -> Finding:
    """Half of the objective that the last layer alone could remove was left by the training, not by the size."""
    found = outputs(output, path, fit)
    if found is None or found.gain < HALF:
        return finding
    return finding.against(
        "output-fit",
        "gain",
        found.gain,
        f"a linear map of the student's outputs would lower its objective on other training rows by {found.gain:.0%}: "
        "it was not trained as far as it can be",
        threshold=HALF,
        origin="identity where the objective is lowest",
        weight=FAR_FROM_IT,
    )
