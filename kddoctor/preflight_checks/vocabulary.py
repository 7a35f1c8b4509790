"""Tokens: do tokenizers, logits, padding and ignored positions belong together?"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from kddoctor.preflight_checks.judged import VOCABULARY, Judgement
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.sample import first_batch
from kddoctor.preflight_checks.setting import Setting
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.batches import Batch

NAME = VOCABULARY[0]


def tokenizer_facts(setting: Setting) -> dict[str, Any]:
    """What the rules read of the tokenizers, as observations have it; empty where there are not two."""
    own, others = _vocabulary(setting.tokenizer), _vocabulary(setting.teacher_tokenizer)
    if own is None or others is None:
        return {}
    same = sum(others.get(text) == number for text, number in own.items())
    return {"tokenizer_agreement": same / max(1, len(own), len(others))}


def check_vocabulary(setting: Setting, judgement: Judgement) -> Check:
    """The tokenizers against the logits, the labels against the padding, then what the rules see in the sample."""
    batch = first_batch(setting, "train")
    width = setting.manifest.num_classes or 0
    if batch is None or batch.labels is None:
        return Check(NAME, "not checked", "there are no labels")
    problem = next(_problems(setting, batch, width), None)
    if problem is not None:
        code, text, fix = problem
        return Check(NAME, "fail", text, (code,), fix=fix)
    said = "; ".join(_sound(setting, batch.labels, width))
    return judgement.check(VOCABULARY, said)


def _problems(setting: Setting, batch: Batch, width: int) -> Iterator[tuple[str, str, str]]:
    for role, tokenizer in (("student", setting.tokenizer), ("teacher", setting.teacher_tokenizer)):
        words = _vocabulary(tokenizer)
        if words and max(words.values()) >= width:
            text = f"the {role}'s tokenizer has the token number {max(words.values())}, and there are {width} logits"
            yield "KD804", text, "resize the models' embeddings, or use the tokenizer that they were trained with"
    labels = batch.labels
    assert labels is not None
    padding = _padding(setting, batch)
    counted = padding is not None and bool((padding & (labels != IGNORED)).any())
    if padding is not None and counted:
        share = float((padding & (labels != IGNORED)).sum() / (labels != IGNORED).sum())
        text = f"{share:.1%} of the positions that count are padding"
        yield "KD801", text, f"set the labels of padding to {IGNORED}"
    if not bool((labels != IGNORED).any()):
        yield "KD801", "no position of the first batch counts: all labels are ignored", "mend the mask of the labels"


def _padding(setting: Setting, batch: Batch) -> Tensor | None:
    """Positions that hold no text, of the labels' shape; None where that is not known."""
    labels = batch.labels
    assert labels is not None
    if isinstance(batch.inputs, Mapping) and isinstance(batch.inputs.get("attention_mask"), Tensor):
        mask: Tensor = batch.inputs["attention_mask"]
        return mask == 0 if mask.shape == labels.shape else None
    number = getattr(setting.tokenizer, "pad_token_id", None)
    # A text may end with the token that fills it up: only where padding has a token of its own can it be told.
    if number is None or number == getattr(setting.tokenizer, "eos_token_id", None):
        return None
    filled: Tensor = labels == number
    return filled


def _sound(setting: Setting, labels: Tensor, width: int) -> Iterator[str]:
    yield f"labels lie within the {width} logits, {float((labels == IGNORED).float().mean()):.0%} are ignored"
    words = _vocabulary(setting.tokenizer)
    if words:
        spare = width - max(words.values()) - 1
        yield f"the tokenizer has {len(words)} tokens" + (f", {spare} logits have none" if spare else "")


def _vocabulary(tokenizer: Any) -> dict[str, int] | None:
    """Token to number, of a tokenizer of transformers or tokenizers, or of a mapping."""
    if tokenizer is None:
        return None
    found = tokenizer if isinstance(tokenizer, Mapping) else tokenizer.get_vocab()
    return {str(text): int(number) for text, number in found.items()}
