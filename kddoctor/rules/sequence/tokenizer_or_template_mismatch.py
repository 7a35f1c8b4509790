"""The teacher reads token numbers that mean something else to it: another tokenizer, or another template.

What it checks
    Whether what the teacher expects to follow a token is what, in the data, follows *another* token; whether it is
    surer than it is right, outside the loop or in it alone; whether teacher and student were handed different numbers;
    and what you recorded of both tokenizers (observations.json, sequences: tokenizer_agreement, teacher_nll,
    teacher_nll_own_tokenizer).

Why it hurts
    The teacher continues a text that nobody wrote. It does so with confidence, and the student is pulled towards it.

What it looks like
    The teacher's loss on the labels is absurd although it is a good model elsewhere; plain training beats distillation.

Told apart from
    KD101 and KD102, where a teacher that knows little is unsure: its loss is its entropy. KD105, where a permutation of
    its *outputs* makes it right. KD803, where each output is that of a neighbouring position. KD605, where the labels
    are wrong, and each token is still read as itself. KD811, where the teacher knows more and not less. KD106 and
    KD108, which are what foreign numbers look like as well.

Fix
    - teacher(student_tokenizer(text).input_ids)
    + teacher(teacher_tokenizer(text).input_ids)
    Where vocabularies differ, learn from the teacher's texts, or align the two by characters. Assert that every number
    stands for the same string in both.

Treat automatically
    No: the right encoding has to come from you.

Read more
    Boizard et al. 2024, arXiv:2402.12030: distillation across tokenizers. Taxonomy of reported failures, number 54.
"""

from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.token_reading import ReadingInLoop, TokenReading
from kddoctor.probes.token_shift import TokenShift
from kddoctor.probes.user_facts import Tokenizers
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Nats, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "token-reading"
#: Share of the occurrences that are read as another token. Of teachers that read what they were given it was at most
#: 0.02 on the language task, a single token.
READ_AS_ANOTHER: Share = 0.03
#: Share that is read as itself, from which no renumbering is left to look for.
READ_AS_ITSELF: Share = 0.9
#: Share of positions at which targets are the teacher's own of another position, from which that is the explanation.
STRAYS: Share = 0.05
#: Nats by which the loss after those tokens exceeds the teacher's entropy. The two are equal for a teacher that knows
#: how much it knows; untrained ones and ones that had learnt little were within 0.2 of it.
TOO_SURE: Nats = 0.3
#: The same, and the fall of its loss after encoding the text anew, from which the taxonomy calls it a mismatch.
ONE_NAT: Nats = 1.0
#: Share of numbers that have to stand for the same text.
SAME_TEXT: Share = 0.99
#: Share of what a token says in the data that it has to say to the teacher, for this to read tokens at all.
READS: Share = 0.25
#: Factor on its accuracy by which a teacher repeats the last token if outputs and labels are a position apart; by
#: chance the two are alike.
ECHOES: Factor = 2.0
#: Accuracy after a permutation of the outputs, from which that is the explanation.
MATCHED: Share = 0.6


@rule(
    "KD805",
    name="tokenizer-or-template-mismatch",
    family="sequence-LM",
    title="The teacher reads token numbers that mean something else to it",
    stage=11,
    only=("tokens",),
    reads=(Manifest,),
    uses=(TeacherViews, TokenReading, Tokenizers, Gaps, Observations, ReadingInLoop, TokenShift),
    masks=("KD101", "KD102", "KD106", "KD108", "KD113", "KD208", "KD301", "KD402", "KD502"),
)
def tokenizer_or_template_mismatch(
    config: Manifest,
    teacher: TeacherViews | None,
    reading: TokenReading | None,
    tokenizers: Tokenizers | None,
    held_out: Gaps | None,
    seen: Observations | None,
    in_loop: ReadingInLoop | None = None,
    shift: TokenShift | None = None,
) -> Finding | NotExamined:
    if config.task != "tokens" or (reading is None and tokenizers is None and in_loop is None):
        return NotExamined(
            ("predictions of a task of tokens", "observations.sequences.tokenizer_agreement"),
            "record the teacher's whole logits of a split of tokens, or write sequences: {tokenizer_agreement, "
            "teacher_nll, teacher_nll_own_tokenizer} to observations.json",
        )
    finding = _of_tokenizers(Finding(), tokenizers)
    if in_loop is not None and _renumbered_in_loop(in_loop.reading, reading, shift):
        finding = _of_loop(finding, in_loop.reading, reading)
    elif reading is not None and teacher is not None:
        finding = _of_reading(finding, reading, teacher, seen)
    ahead = held_out is not None and held_out.gaps.teacher_accuracy > held_out.gaps.student_accuracy
    return finding.saying(
        "The teacher reads other tokens than those that the text consists of.",
        where="the training loop: encoding of the teacher's inputs",
        severity="warning" if ahead else "error",
    ).prescribe("encode the text with the teacher's own tokenizer and template", automatic=False, safety="manual")


def _of_tokenizers(finding: Finding, found: Tokenizers | None) -> Finding:
    if found is None:
        return finding
    if found.agreement is not None:
        text = f"{found.agreement:.1%} of the token numbers stand for the same text in both tokenizers"
        add = finding.supported_by if found.agreement < SAME_TEXT else finding.against
        finding = add(
            "observations",
            "tokenizer_agreement",
            found.agreement,
            text,
            threshold=SAME_TEXT,
            origin="taxonomy",
            grade=Grade.PROOF,
        )
    if found.teacher_nll is not None and found.own_teacher_nll is not None:
        drop = found.teacher_nll - found.own_teacher_nll
        text = (
            f"the teacher's loss is {found.teacher_nll:.2f} nats a token as it is called, and "
            f"{found.own_teacher_nll:.2f} on the same text in its own encoding"
        )
        if drop > ONE_NAT:
            finding = finding.supported_by(
                "observations", "teacher_nll", drop, text, threshold=ONE_NAT, origin="taxonomy", grade=Grade.PROOF
            )
        elif drop < ONE_NAT / 10:
            finding = finding.against(
                "observations", "teacher_nll", drop, text, threshold=ONE_NAT, origin="taxonomy", weight=8.0
            )
    return finding


def _renumbered_in_loop(loop: TokenReading, own: TokenReading | None, shift: TokenShift | None) -> bool:
    """Whether other tokens were read in the loop alone: not wherever the teacher was asked, and not a position off."""
    anywhere = own is not None and own.as_another >= READ_AS_ANOTHER
    elsewhere = shift is not None and max(sum((shift.moved or {}).values()), shift.displaced) > STRAYS
    reads_another = loop.as_another >= READ_AS_ANOTHER and loop.as_itself <= READ_AS_ITSELF
    knows_tokens = loop.own_information >= READS * loop.information and loop.excess > ONE_NAT
    return reads_another and knows_tokens and not anywhere and not elsewhere and loop.echo <= ECHOES * loop.accuracy


def _of_loop(finding: Finding, loop: TokenReading, own: TokenReading | None) -> Finding:
    usual = "" if own is None else f", and after {own.as_another:.0%} of them where it was asked outside the loop"
    return finding.supported_by(
        PROBE,
        "in_loop.as_another",
        loop.as_another,
        f"in the loop, after {loop.as_another:.0%} of the tokens the targets expect what follows another token in the "
        f"data{usual}; their loss there is {loop.excess:.2f} nats a token more than they expect themselves",
        threshold=READ_AS_ANOTHER,
        origin="calibrated on the language task",
        grade=Grade.INTERVENTIONAL,
        weight=9.0,
    )


def _of_reading(finding: Finding, reading: TokenReading, teacher: TeacherViews, seen: Observations | None) -> Finding:
    view = teacher.own or teacher.in_loop
    assert view is not None
    found = view.validity
    if reading.as_another < READ_AS_ANOTHER:
        if reading.as_itself > READ_AS_ITSELF:
            finding = finding.against(
                PROBE,
                "as_itself",
                reading.as_itself,
                f"after {reading.as_itself:.0%} of the tokens the teacher expects what follows them in the data",
                threshold=READ_AS_ITSELF,
                origin="calibrated on the language task",
                weight=8.0,
            )
        return finding
    if reading.own_information < READS * reading.information:
        return finding.against(
            PROBE,
            "own_information",
            reading.own_information,
            f"what it expects after a token is {reading.own_information:.2f} nats from what it expects on average, "
            f"where the data have {reading.information:.2f}: it hardly reads tokens at all",
            threshold=READS * reading.information,
            origin="convention",
            weight=6.0,
        )
    if not reading.excess > TOO_SURE:
        return finding.against(
            PROBE,
            "excess",
            reading.excess,
            f"where it seems to read another token, its loss is within {max(0.0, reading.excess):.2f} nats of what it "
            "expects itself: it knows little, and knows that",
            threshold=TOO_SURE,
            origin="calibrated on the language task",
            weight=6.0,
        )
    matched = found.hungarian_accuracy
    if matched is not None and matched >= MATCHED:
        return finding.against(
            "teacher-validity",
            "hungarian_accuracy",
            matched,
            f"after a permutation of its outputs it is right on {matched:.1%}",
            threshold=MATCHED,
            weight=8.0,
        )
    if reading.echo > ECHOES * reading.accuracy:
        return finding.against(
            PROBE,
            "echo",
            reading.echo,
            "it rather repeats the last token than expects the next one: outputs and labels are one position apart",
            threshold=ECHOES * reading.accuracy,
            weight=8.0,
        )
    finding = finding.supported_by(
        PROBE,
        "as_another",
        reading.as_another,
        f"after {reading.as_another:.0%} of the tokens the teacher expects what follows another token in the data "
        f"({reading.divergence_best:.2f} nats off, {reading.divergence_itself:.2f} from what follows that very token)",
        threshold=READ_AS_ANOTHER,
        origin="calibrated on the language task",
        grade=Grade.INTERVENTIONAL,
        weight=7.0,
    ).supported_by(
        PROBE,
        "excess",
        reading.excess,
        f"its loss there is {reading.excess:.2f} nats a token more than it expects itself",
        threshold=ONE_NAT,
        origin="taxonomy",
        weight=3.0 if reading.excess > ONE_NAT else 1.0,
    )
    if _other_numbers(seen):
        finding = finding.supported_by(
            "observations",
            "same_inputs",
            0.0,
            "in the loop, teacher and student were handed different numbers in inputs of the same shape",
            grade=Grade.INTERVENTIONAL,
            weight=3.0,
        )
    return finding


def _other_numbers(seen: Observations | None) -> bool:
    inputs = (seen.inputs if seen is not None else None) or {}
    student, teacher = inputs.get("loop_student"), inputs.get("loop_teacher")
    if seen is None or seen.same_inputs is not False or student is None or teacher is None:
        return False
    return student.shape == teacher.shape and student.zeros == teacher.zeros and student.mean != teacher.mean
