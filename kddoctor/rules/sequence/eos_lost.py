"""The end token is not learnt, so that the student never stops writing.

What it checks
    Whether the training rows that are shorter than the longest end in the end token, and whether teacher and student
    have the same number for it (observations.json, sequences: eos_token_id, teacher_eos_token_id; without them this
    code cannot be seen); and whether what the student writes grows longer (completion_length in metrics.jsonl).

Why it hurts
    Where padding and end token share a number, masking the padding masks the end as well. The student learns to
    go on, whatever it has said.

What it looks like
    Right answers followed by endless text; every generation hits the length limit.

Told apart from
    KD806, where a limit cuts the ends: rows at the longest length are left out here. KD808, where the end is learnt
    and then unlearnt. Packed rows, which are all of one length.

Fix
    - labels[input_ids == pad_token_id] = -100
    + labels[attention_mask == 0] = -100
    With a padding token of its own, and the same end token for both models.

Treat automatically
    No: the labels have to be made anew.

Read more
    Taxonomy of reported failures, number 51. Hugging Face documentation of chat templates.
"""

from kddoctor.probes.row_ends import RowEnds
from kddoctor.probes.sampled_texts import SampledTexts
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Count, Factor, Share

PROBE = "row-ends"
#: Share of rows that end in the end token below which it is lost (taxonomy), and from which it is not.
LOST: Share = 0.5
KEPT: Share = 0.9
#: Rows without which a share says nothing.
FEWEST_ROWS: Count = 20
#: Factor by which texts grow that do not end any more, and rank correlation that makes it a trend.
LONGER: Factor = 2.0
TREND: Correlation = 0.5


@rule(
    "KD802",
    name="eos-lost",
    family="sequence-LM",
    title="The end token is not among what is learnt",
    stage=36,
    only=("tokens",),
    reads=(RowEnds,),
    uses=(SampledTexts,),
    masks=("KD808",),
)
def eos_lost(ends: RowEnds, texts: SampledTexts | None) -> Finding | NotExamined:
    differ = ends.teacher_eos is not None and ends.teacher_eos != ends.eos
    if ends.rows < FEWEST_ROWS and not differ:
        return NotExamined(*RECORD["RowEnds"])
    finding = Finding()
    if ends.rows >= FEWEST_ROWS:
        text = f"{ends.ended:.1%} of {ends.rows} training rows end in token {ends.eos}, the end token"
        if ends.ended < LOST:
            # A row may be a piece of a text. That none of them holds the token anywhere is no accident.
            finding = finding.supported_by(
                PROBE,
                "ended",
                ends.ended,
                text if ends.anywhere else f"{text}, and no label is that token",
                threshold=LOST,
                origin="taxonomy",
                grade=Grade.STATISTICAL if ends.anywhere else Grade.INTERVENTIONAL,
                weight=4.0 if ends.anywhere else 7.0,
            )
        elif ends.ended > KEPT:
            finding = finding.against(PROBE, "ended", ends.ended, text, threshold=KEPT, origin="taxonomy", weight=8.0)
    if differ:
        finding = finding.supported_by(
            PROBE,
            "teacher_eos",
            float(ends.teacher_eos or 0),
            f"the teacher ends with token {ends.teacher_eos}, the student with {ends.eos}",
            threshold=float(ends.eos),
            grade=Grade.INTERVENTIONAL,
            weight=5.0,
        )
    length = texts.length if texts is not None else None
    if length is not None and length.ratio > LONGER and length.trend > TREND and finding.supporting:
        finding = finding.supported_by(
            "sampled-texts",
            "completion_length",
            length.last,
            f"what the student writes grew from {length.first:.0f} to {length.last:.0f} tokens",
            threshold=LONGER,
            origin="taxonomy",
            weight=2.0,
        )
    return finding.saying(
        "The end token is not learnt: the student is not told where to stop.",
        where="the collator: masking of labels",
    ).prescribe("mask padding by position and not by number", automatic=False, safety="manual")
