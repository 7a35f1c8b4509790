"""Vocabularies of different length are made to fit, by padding or by cropping.

What it checks
    Whether the recorded distillation loss is reproduced with further logits of zero on both sides, or over the first
    tokens alone; whether the last logits of a model are zero in every row; and, where the manifest names the
    tokenizer_size, how much probability lies beyond it.

Why it hurts
    A logit of zero is no probability of zero: tokens that do not exist take a share of every target, the larger the
    hotter the softmax. A crop never teaches the tokens that it cuts off.

What it looks like
    One tokenizer, two embedding sizes (rounded up to a multiple of 64 or 128), and a helper that aligns the logits.

Told apart from
    KD805, where the vocabularies themselves differ. KD306, which keeps the likeliest tokens and not the first ones.
    Padding of minus infinity, and rows of an embedding that were never trained and have learnt to be unlikely: sound.

Fix
    - student = F.pad(student, (0, missing))
    + shared = min(student.shape[-1], teacher.shape[-1], len(tokenizer))
    + student, teacher = student[..., :shared], teacher[..., :shared]

Treat automatically
    Yes: the student is retrained with the divergence over the tokens that were recorded.

Read more
    Qwen documentation on vocabulary sizes: 151,936 or 152,064 embeddings for one tokenizer.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.vocabulary import VocabularyTail
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import as_declared, distils, excluded, mistaken
from kddoctor.rules.registry import Verdict, rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest

#: Probability on tokens that do not exist from which targets are spoilt (catalogue).
LOST_MASS: Share = 1e-3


@rule(
    "KD804",
    name="vocab-padding-mismatch",
    family="sequence-LM",
    title="Vocabularies are padded or cropped to one length",
    stage=28,
    only=("tokens",),
    reads=(Manifest,),
    uses=(LossForensics, LossMistakes, VocabularyTail),
    masks=("KD102", "KD208", "KD211", "KD301", "KD402", "KD502"),
)
def vocab_padding_mismatch(
    config: Manifest, loss: LossForensics | None, mistakes: LossMistakes | None, tail: VocabularyTail | None
) -> Verdict:
    if config.task != "tokens":
        return NotExamined(("task tokens",), "only tasks of tokens have a vocabulary")
    if mistakes is None and tail is None:
        return NotExamined(
            ("steps",), "call run.step(loss=…, kd_loss=…) with student_logits and teacher_logits [B, L, V] in the loop"
        )
    finding = Finding() if loss is None else as_declared(Finding(), loss)
    if not distils(config):
        return finding
    if tail is not None and tail.tokens and tail.mass > LOST_MASS:
        seen = f"the last {tail.tokens} logits of the {tail.model} are {tail.why} in every recorded row"
        finding = Finding().supported_by(
            "vocabulary",
            "mass",
            tail.mass,
            f"{seen}, and get {tail.mass:.2%} of the targets' probability",
            threshold=LOST_MASS,
            origin="catalogue",
            grade=Grade.PROOF,
            group="tail",
        )
        return _said(finding, f"{tail.mass:.1%} of the targets' probability lies on tokens that do not exist.")
    found = None if mistakes is None else mistakes.of("KD804")
    if found is None or mistakes is None:
        return finding if loss is None or (mistakes is not None and mistakes.found) else excluded(finding, loss)
    return _said(mistaken(finding, mistakes, found), f"The distillation loss is {found.text}.")


def _said(finding: Finding, summary: str) -> Finding:
    return finding.saying(
        summary, where="the training loop: how logits of two vocabulary sizes are made to fit"
    ).prescribe("both models cut to the tokens of the tokenizer", loss__vocabulary="shared")
