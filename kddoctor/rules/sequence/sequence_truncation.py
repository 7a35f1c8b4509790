"""A length limit cuts the training rows, so that what comes after it is never learnt.

What it checks
    The lengths of the labelled part of training rows and of held-out rows: whether training rows pile up at one length
    that held-out rows exceed; what the teacher and the student are worth before and after it. Also what you recorded
    yourself (observations.json, sequences: truncated_share, the share of rows that the limit cut, and max_length).

Why it hurts
    Answers, conclusions and end tokens stand at the ends of rows. A default limit of 512 removes them without a word,
    and leaves rows whose prompt fills the limit without any label at all.

What it looks like
    Training goes well. Long texts are bad from some position on, or the student never finishes.

Told apart from
    Packed rows, all of which have the same length in both splits: there nothing is cut. KD602, where rows are few and
    whole. KD802, where rows are whole and lack the end token. A limit that cuts both splits alike cannot be
    seen in lengths: there only truncated_share tells.

Fix
    - tokenizer(text, truncation=True, max_length=512)
    + tokenizer(text)
    Leave out the few rows that are too long, or cut the prompt and keep the answer.

Treat automatically
    No: what was cut away is not in the record.

Read more
    Taxonomy of reported failures, number 55. Hugging Face documentation of padding and truncation.
"""

from kddoctor.probes.row_lengths import TrainedLengths
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share

PROBE = "row-lengths"
#: Share of rows from which a limit is no matter of single rows (taxonomy).
SHARE_OF_ROWS: Share = 0.05
#: Rows without which the longest one says nothing of a limit.
FEWEST_ROWS: Count = 30
#: Factor by which more held-out rows than training rows have to stand beyond, or at, the longest training row.
WITHOUT_LABELS: Factor = 2.0


@rule(
    "KD806",
    name="sequence-truncation",
    family="sequence-LM",
    title="A length limit cuts the training rows",
    stage=36,
    only=("tokens",),
    reads=(TrainedLengths,),
    masks=(
        "KD102",
        "KD301",
        "KD401",
        "KD402",
        "KD502",
        "KD602",
        "KD603",
        "KD606",
    ),
)
def sequence_truncation(lengths: TrainedLengths) -> Finding | NotExamined:
    train, held_out = lengths.train, lengths.held_out
    finding = Finding()
    if lengths.cut is not None:
        add = finding.supported_by if lengths.cut > SHARE_OF_ROWS else finding.against
        finding = add(
            "observations",
            "truncated_share",
            lengths.cut,
            f"{lengths.cut:.1%} of the training rows were cut at the limit, by your own count",
            threshold=SHARE_OF_ROWS,
            origin="taxonomy",
            grade=Grade.PROOF,
        )
    if min(train.rows, held_out.rows) < FEWEST_ROWS or not train.counted:
        return finding if finding.evidence else NotExamined(*RECORD["TrainedLengths"])
    beyond = held_out.beyond(train.longest)
    at_limit = train.at_longest
    if beyond > SHARE_OF_ROWS and at_limit > SHARE_OF_ROWS:
        finding = finding.supported_by(
            PROBE,
            "at_longest",
            at_limit,
            f"{lengths.source}: {at_limit:.0%} of the labelled rows end at exactly {train.longest} tokens, which "
            f"{beyond:.0%} of the held-out rows exceed (the longest has {held_out.longest})",
            threshold=SHARE_OF_ROWS,
            origin="taxonomy",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
    elif beyond <= SHARE_OF_ROWS / 10 and lengths.cut is None:
        finding = finding.against(
            PROBE,
            "beyond",
            beyond,
            f"{beyond:.1%} of the held-out rows are longer than the longest training row",
            threshold=SHARE_OF_ROWS,
            origin="taxonomy",
            weight=4.0,
        )
    if train.empty > SHARE_OF_ROWS and train.empty > WITHOUT_LABELS * held_out.empty:
        finding = finding.supported_by(
            PROBE,
            "empty",
            train.empty,
            f"{train.empty:.0%} of the training rows have no label left, {held_out.empty:.0%} of the held-out rows",
            threshold=SHARE_OF_ROWS,
            origin="taxonomy",
            weight=3.0,
        )
    limit = lengths.declared or train.longest
    return finding.saying(
        f"Training rows are cut at {limit} tokens; what comes after that is never learnt.",
        where="the data set: the tokenizer's max_length",
    ).prescribe("a higher limit, or rows that fit into it whole", automatic=False, safety="manual")
