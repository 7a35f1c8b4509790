"""One layer of the student lets almost nothing through.

What it checks
    The exact rank of every recorded student layer and of the logits: a layer whose outputs lie in fewer dimensions than
    half of its own units and half of the teacher's narrowest layer; or logits of a lower rank than the layer below them
    and than the number of classes allows, together with how many of the teacher's answers survive an approximation of
    that rank, where a layer uses its units evenly or a linear read-out of it knows more of the labels than the answers
    say; or far fewer different answers than the layer below has different rows; or a waist: a layer of less than half
    the width of another one of the student's, and of fewer units than most of the teacher's answers need dimensions,
    where the student's own answers do not use these dimensions either.

Why it hurts
    What one layer loses no later layer brings back. A head of rank r can order classes in r dimensions only.

What it looks like
    An able student, by its size, that levels off too high; a wider one does not help, as long as that layer stays.

Told apart from
    KD402, whose student is narrow everywhere: there no layer below is wider, or knows more, or most weights of all
    layers are exactly zero. KD506, whose layers keep their first weights. KD504 and KD501: dead units lower the rank of
    a layer as well, and are not counted as its units; only where first answers and steps were sane is a layer said to
    have been cut. KD503, whose units are copies of each other.

Fix
    - head = Sequential(Linear(256, 4), Linear(4, 100))
    + head = Linear(256, 100)

Treat automatically
    No: the architecture has to come from you.

Read more
    Yang et al. 2018, arXiv:1711.03953: the softmax bottleneck. Roy & Vetterli 2007: effective rank.
"""

from kddoctor.probes.layer_ranks import LayerRanks, Rank
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.capacity.exclusion import CUT, able_layer, was_cut
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.optimisation.harm import behind, severity
from kddoctor.rules.optimisation.way import began_well, efficiency
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "layer-ranks"
#: Share of a layer's units that are left of one that was cut; of sound runs of the digits at least 0.7 vary.
PRUNED: Share = 0.35
#: Share of units that are copies of others, which no squeeze makes: they started alike.
COPIES: Share = 0.5
#: Early fall of the loss over what its gradients promise, below which steps are so long that they silence units.
LONG: Share = 0.05
#: Share of units, and of the teacher's narrowest layer, that a strangled layer's rank does not exceed.
HALF: Share = 0.5
#: Share of the rank below the head that the logits' rank does not exceed.
NARROWER: Share = 0.6
#: Share of the layer's different rows that the answers are, where something in between has few values of its own.
FEW: Share = 0.25
#: Share of the variance of the answers that rows near by in a layer may leave, and times what rows near by in the
#: answers themselves leave: of waists up to 0.05, of channels averaged over their places 0.3 (strangers' runs).
MISSING: Share = 0.1
TIMES: Factor = 3.0
#: Share of the teacher's answers that a rank has to keep, or the student is bound to lose some.
KEPT: Share = 0.9
#: Rows per unit that an exact rank needs.
ROWS: Count = 2
#: Share of the variance between rows of answers that have all but collapsed to one: of training, not of a layer.
COLLAPSED: Share = 0.05


@rule(
    "KD405",
    name="representation-bottleneck",
    family="capacity",
    title="One layer of the student lets almost nothing through",
    stage=58,
    reads=(LayerRanks,),
    uses=(Gaps, StudentPath, RateSigns, Manifest, Observations),
    masks=("KD402", "KD401", "KD502"),
)
def representation_bottleneck(
    ranks: LayerRanks,
    held_out: Gaps | None,
    path: StudentPath | None,
    signs: RateSigns | None,
    config: Manifest | None,
    seen: Observations | None = None,
) -> Finding:
    alive = path is None or path.late("dependence") > COLLAPSED
    finding, where = Finding(), None
    least = min((rank.rank for rank in (*ranks.teacher.values(), ranks.teacher_logits)), default=0)
    for name, rank in ranks.student.items():
        enough = rank.exact and rank.distinct >= ROWS * rank.units
        if enough and rank.rank <= HALF * least and _cut(rank, path, signs, config):
            where = f"the student's layer {name}"
            finding = finding.supported_by(
                PROBE,
                "units",
                float(rank.units),
                f"layer {name}: {rank.units} of {rank.width} units ever vary, in a student that began well and learned "
                f"in steps that are none too long; the teacher's narrowest layer has {least} dimensions",
                threshold=PRUNED * rank.width,
                origin="calibrated on digits",
                grade=Grade.INTERVENTIONAL,
                group="rank",
            )
        if 0 < rank.rank <= HALF * min(rank.units, least) and enough and rank.copies < COPIES:
            where = f"the student's layer {name}"
            finding = finding.supported_by(
                PROBE,
                "rank",
                float(rank.rank),
                f"layer {name}: outputs of {rank.units} units lie in {rank.rank} dimensions exactly; the teacher's "
                f"narrowest layer has {least}",
                threshold=HALF * min(rank.units, least),
                origin="convention",
                grade=Grade.INTERVENTIONAL,
            )
    # A token's embedding is narrow by design: the layer behind it reads those of many.
    waist = _waist(ranks) if alive and (config is None or config.task != "tokens") else None
    if waist is not None:
        width = ranks.student[waist].width
        where = f"the student's layer {waist}"
        finding = finding.supported_by(
            PROBE,
            "rank",
            float(width),
            f"layer {waist} has {width} units, a layer beside it {_widest(ranks)} dimensions; "
            f"{ranks.surviving(width):.0%} of the teacher's answers survive an approximation of "
            f"that rank, and the student's own use {ranks.student_logits.effective:.1f} dimensions",
            threshold=HALF * _widest(ranks),
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        )
    logits, below = ranks.student_logits, max((rank.rank for rank in ranks.student.values()), default=0)
    possible = min(below, ranks.teacher_logits.rank)
    # A head of its own leaves all the dimensions of the layer below, unless its weights were cut.
    lost = was_cut(seen) is False or able_layer(ranks, held_out) is not False
    if alive and lost and logits.exact and 0 < logits.rank <= NARROWER * possible:
        kept = ranks.surviving(logits.rank)
        where = where or "the student's head"
        finding = finding.supported_by(
            PROBE,
            "rank",
            float(logits.rank),
            f"the student's logits have rank {logits.rank} exactly, the layer below {below}; of the teacher's answers "
            f"{kept:.0%} survive an approximation of that rank",
            threshold=NARROWER * possible,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=6.0 if kept < KEPT else 5.0,
        )
    different = max((rank.distinct for rank in ranks.student.values() if rank.units), default=0)
    if alive and 1 < logits.distinct <= FEW * min(different, ranks.teacher_logits.distinct):
        where = where or "the student's head"
        finding = finding.supported_by(
            PROBE,
            "distinct",
            float(logits.distinct),
            f"the student has {logits.distinct} different answers, where the layer below has {different} different "
            f"rows and the teacher {ranks.teacher_logits.distinct} answers",
            threshold=FEW * different,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        )
    if not finding.evidence:
        finding = finding.against(
            PROBE,
            "rank",
            float(logits.rank),
            f"no recorded layer is narrower than those around it; the student's logits have rank {logits.rank}",
            weight=4.0,
        )
    if finding.supporting and seen is not None and was_cut(seen):
        finding = finding.against(
            "observations",
            "student_zeros",
            seen.student_zeros,
            f"{seen.student_zeros:.0%} of the student's weights are exactly zero: it was made small in every layer",
            threshold=CUT,
            origin="convention",
            weight=6.0,
        )
    if finding.supporting and behind(held_out) is False:
        finding = finding.against(PROBE, "rank", float(logits.rank), "and the student keeps up", group="harm")
    return finding.saying(
        "One layer of the student is a bottleneck: its outputs lie in very few dimensions.",
        where=where,
        severity=severity(held_out, "warning"),
    ).prescribe("a wider layer in its place", automatic=False, safety="manual")


def _waist(ranks: LayerRanks) -> str | None:
    """The narrowest layer by its architecture, where the answers hang on it alone.

    A narrow branch beside a wide path is no waist, nor is one of several that are read together, as embeddings are, nor
    one that has its units at several places: the answers are not made from it alone, so that rows which it hardly tells
    apart differ in their answers.
    """
    name = ranks.narrowest
    if name is None or ranks.carried is None:
        return None
    width = ranks.student[name].width
    narrow = width <= HALF * _widest(ranks) and ranks.surviving(width) < KEPT
    by_layer, by_answers = ranks.carried
    alone = 1 - by_layer <= max(MISSING, TIMES * (1 - by_answers))
    return name if narrow and alone else None


def _widest(ranks: LayerRanks) -> int:
    return max(rank.rank for rank in ranks.student.values())


def _cut(rank: Rank, path: StudentPath | None, signs: RateSigns | None, config: Manifest | None) -> bool:
    """Units that never vary, where neither the first weights nor the steps have silenced them."""
    if not 0 < rank.units <= PRUNED * rank.width or path is None or signs is None or config is None:
        return False
    found = efficiency(signs, config)
    return began_well(path) and not signs.overshoots and found is not None and found >= LONG
