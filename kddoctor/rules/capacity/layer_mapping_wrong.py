"""The feature loss pairs layers that do not belong together.

What it checks
    Where a feature term is part of the recorded loss, in a student that does not fit its training rows: whether a
    declared pair of layers (``distillation.feature_layers``) is less alike than the same student layer with another
    layer of the teacher, by debiased CKA; and whether the student's own answers resemble an inner layer of the teacher
    more than the teacher's answers, which is what pairing the last layer with an early one does; and whether the term
    jumps from epoch to epoch, as where the pairs are drawn anew and never put in order.

Why it hurts
    A layer that has to look like the teacher's embeddings cannot prepare the answer.

What it looks like
    The feature loss falls, and the accuracy does not rise. ``hidden_states[0]`` are the embeddings.

Told apart from
    KD403, where no pair fits and the term does not fall. KD208, where the term is nearly all of the loss, whatever it
    pairs. KD113, where the logits themselves are a wrong tensor.

Fix
    Map blocks evenly, without the embeddings, the last to the last.

Treat automatically
    Yes: the student is retrained without the feature term.

Read more
    Kornblith et al. 2019, arXiv:1905.00414. Davari et al. 2023, arXiv:2210.16156: what misleads CKA.
"""

import numpy as np

from kddoctor.probes.feature_levels import FeatureLevels
from kddoctor.probes.feature_term import FeatureTerm
from kddoctor.probes.measurements import Gaps, LogitSimilarity, TrainGaps
from kddoctor.rules.capacity.feature_architecture_mismatch import COUNTS, REDRAWN, STAYS, unfit, untrained_projector
from kddoctor.rules.finding import Finding
from kddoctor.rules.optimisation.harm import severity
from kddoctor.rules.pipeline.feature_level import LEARNT, projector_learns
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "layer-similarity"
#: Difference in CKA that counts (taxonomy).
MORE: Share = 0.05
LOGITS = "logits"
#: Share of the loss of a term that is a hundred times all others: its weight is what is wrong with it (KD208).
DROWNS: Share = 0.99


@rule(
    "KD404",
    name="layer-mapping-wrong",
    family="capacity",
    title="The feature loss pairs the wrong layers",
    stage=54,
    reads=(FeatureTerm, LogitSimilarity, Manifest),
    uses=(TrainGaps, Gaps, Observations, FeatureLevels),
    masks=("KD401", "KD402", "KD405", "KD502"),
)
def layer_mapping_wrong(
    term: FeatureTerm,
    similar: LogitSimilarity,
    config: Manifest,
    train: TrainGaps | None,
    held_out: Gaps | None,
    seen: Observations | None,
    levels: FeatureLevels | None = None,
) -> Finding:
    finding = _of_pairs(untrained_projector(Finding(), seen), similar, config)
    finding = _of_answers(finding, similar)
    changes = term.redrawn is not None and term.redrawn > REDRAWN
    if changes:
        finding = finding.supported_by(
            "feature-term",
            "redrawn",
            term.redrawn,
            f"from epoch to epoch the feature term changes {term.redrawn:.0f} times as much as its noise explains: it "
            "compares other layers in each",
            threshold=REDRAWN,
            origin="calibrated on digits",
            weight=4.0,
            group="mapping",
        )
    finding = _of_the_term(finding, term, fell=term.left <= STAYS or changes, learns=_learns(seen, levels))
    return (
        unfit(finding, train, held_out)
        .saying(
            "The feature term pairs layers that do not belong together.",
            where="kd_run.yaml: distillation.feature_layers",
            severity=severity(held_out),
        )
        .prescribe("blocks mapped evenly, the last to the last", treatment__feature_term="off")
    )


def _learns(seen: Observations | None, levels: FeatureLevels | None) -> bool:
    """Whether a map between the features is trained, in a student that learnt its other terms."""
    return projector_learns(seen) and levels is not None and levels.rest <= LEARNT


def _of_the_term(finding: Finding, term: FeatureTerm, *, fell: bool, learns: bool) -> Finding:
    text = f"the feature term ended at {term.left:.0%} of its first value"
    if min(term.share_first, term.share_last) >= DROWNS:
        return finding.against(
            "feature-term",
            "share",
            term.share_last,
            f"the feature term is {term.share_last:.1%} of the loss: whatever it pairs, nothing is left for the others",
            threshold=DROWNS,
            origin="a hundred times the rest",
            weight=4.0,
        )
    if not fell and learns:
        if term.share_last <= COUNTS:
            return finding
        return finding.supported_by(
            "feature-term",
            "left",
            term.left,
            f"{text} and makes up {term.share_last:.0%} of the loss, through a map that an optimizer trains: what the "
            "student knows cannot be turned into its target",
            threshold=STAYS,
            origin="calibrated on digits and language",
            weight=4.0,
            group="mapping",
        )
    add = finding.supported_by if fell else finding.against
    return add(
        "feature-term",
        "left",
        term.left,
        text,
        threshold=STAYS,
        origin="calibrated on digits and language",
        weight=1.0 if fell else 4.0,
    )


def _of_pairs(finding: Finding, similar: LogitSimilarity, config: Manifest) -> Finding:
    found = similar.layers
    for teacher, student in config.distillation.feature_layers:
        if teacher not in found.teacher_layers or student not in found.student_layers:
            continue
        column = found.cka[:, found.student_layers.index(student)].copy()
        own = float(column[found.teacher_layers.index(teacher)])
        if LOGITS in found.teacher_layers:
            column[found.teacher_layers.index(LOGITS)] = -np.inf
        best = int(column.argmax())
        if column[best] > own + MORE:
            finding = finding.supported_by(
                PROBE,
                "cka",
                own,
                f"student layer {student} is paired with {teacher} (CKA {own:.2f}) and resembles "
                f"{found.teacher_layers[best]} more ({column[best]:.2f})",
                threshold=MORE,
                origin="taxonomy",
                weight=3.0,
                group="mapping",
            )
    return finding


def _of_answers(finding: Finding, similar: LogitSimilarity) -> Finding:
    found = similar.layers
    column = found.cka[:, found.student_layers.index(LOGITS)].copy()
    last = found.teacher_layers.index(LOGITS)
    own, column[last] = float(column[last]), -np.inf
    best = int(column.argmax())
    if column[best] <= own + MORE:
        return finding
    return finding.supported_by(
        PROBE,
        "cka_of_answers",
        own,
        f"the student's answers resemble the teacher's layer {found.teacher_layers[best]} ({column[best]:.2f}) more "
        f"than its answers ({own:.2f})",
        threshold=MORE,
        origin="taxonomy",
        weight=4.0,
        group="mapping",
    )
