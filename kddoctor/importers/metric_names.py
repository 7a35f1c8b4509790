"""What loggers call the scalars that kddoctor knows: ``train/kd_loss``, ``eval_accuracy``, ``val_acc1``, ``lr-SGD``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kddoctor.run.metrics import Row, Scalar

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "evaluation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
#: kddoctor's key by what loggers call it, in lower case with underscores.
KEYS = {
    name: key
    for key, names in {
        "loss": "loss losses total_loss loss_total",
        "kd_loss": "kd_loss loss_kd kl_loss loss_kl distill_loss distillation_loss loss_distill soft_loss",
        "ce_loss": "ce_loss loss_ce hard_loss label_loss task_loss cross_entropy cross_entropy_loss",
        "feature_loss": "feature_loss feat_loss loss_feat loss_feature hint_loss",
        "lr": "lr learning_rate current_lr",
        "grad_norm": "grad_norm gradient_norm grad_2.0_norm_total",
        "student_accuracy": "student_accuracy student_acc accuracy acc acc1 acc_1 top1 top_1 top1_acc top1_accuracy",
        "agreement": "agreement teacher_agreement",
        "auc": "auc auroc roc_auc",
        "ndcg": "ndcg",
        "epoch": "epoch",
    }.items()
    for name in names.split()
}
ACCURACY = "student_accuracy"
#: Logged by learning rate monitors, one for each optimizer: lr-SGD, lr-AdamW/pg1.
_RATE = re.compile(r"lr-[\w]+(/pg\d+)?(-momentum)?$")


@dataclass(frozen=True)
class Meaning:
    """Where a logged value goes.

    key: kddoctor's, or the logger's own where kddoctor has none. rank: of several names for one thing the lowest is
    taken.
    """

    split: str
    key: str
    rank: int = 0


def meanings(names: Iterable[str], split: str | None = None) -> dict[str, Meaning]:
    """What each name of one log means. split: of names that say none themselves (train where left out).

    Where several names mean the same, as train_loss_step and train_loss_epoch do, one gets kddoctor's key and the
    others keep their own.
    """
    taken: dict[tuple[str, str], str] = {}
    found = {name: meaning(name, split) for name in sorted(names)}
    for name in sorted(found, key=lambda n: (found[n].rank, n)):
        one = found[name]
        place = (one.split, one.key)
        if taken.setdefault(place, name) != name:
            found[name] = Meaning(one.split, _own(name))
    return found


def meaning(name: str, split: str | None = None) -> Meaning:
    """What one name means, by itself."""
    if _RATE.match(name) and not name.endswith("-momentum"):
        return Meaning("train", "lr", rank=2 if "/pg" in name and not name.endswith("/pg1") else 1)
    parts = [part for part in re.split(r"[/_\-. ]+", name.strip().lower()) if part]
    where = next((SPLITS[part] for part in parts if part in SPLITS), None)
    rest = [part for part in parts if part not in SPLITS]
    rank = 1
    if len(rest) > 1 and rest[-1] in ("step", "epoch"):
        # Means over an epoch are smoother, and the only ones of held-out rows; training is looked at step by step.
        fine = (where or split or "train") == "train"
        rank = 2 if (rest[-1] == "step") == fine else 3
        rest = rest[:-1]
    if len(rest) > 1 and rest[0] == "epoch":  # Keras: epoch_loss
        rest = rest[1:]
    key = KEYS.get("_".join(rest))
    return Meaning(where or split or "train", key or _own(name), 0 if key == name else rank)


def rows_of(values: Mapping[str, Scalar], names: Mapping[str, Meaning], **place: Scalar) -> list[Row]:
    """The values that were logged at one place, as a row for each split. place: step and epoch, as far as known."""
    rows: dict[str, Row] = {}
    epoch = {}
    for name, value in values.items():
        one = names[name]
        if one.key == "epoch":
            epoch = {"epoch": value}
        else:
            rows.setdefault(one.split, {})[one.key] = value
    known = {key: value for key, value in {**place, **epoch}.items() if value is not None}
    return [{"split": split, **known, **row} for split, row in rows.items()]


def accuracy_as_share(rows: Sequence[Row]) -> tuple[tuple[Row, ...], str | None]:
    """Accuracy from 0 to 1: where any value is above 1, they are percents. Returns the rows, and a line where so."""
    finite = [value for row in rows if (value := number(row.get(ACCURACY))) is not None and math.isfinite(value)]
    if not finite or not 1 < max(finite) <= 100:
        return tuple(rows), None
    return from_percent(rows), "accuracy was logged in percent, and is kept as a share"


def from_percent(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows whose accuracy is in percent, with accuracy from 0 to 1."""
    return tuple(
        {**row, ACCURACY: value / 100} if (value := number(row.get(ACCURACY))) is not None else row for row in rows
    )


def number(value: object) -> float | None:
    """A logged value as a number, None where it is none. NaN and infinities are numbers here."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def summary(rows: Sequence[Row]) -> str:
    """What was logged, for people."""
    if not rows:
        return "nothing was logged"
    keys = sorted({key for row in rows for key in row if key not in ("split", "step", "epoch")} & set(KEYS.values()))
    own = len({key for row in rows for key in row} - set(KEYS.values()) - {"split", "step"})
    more = f" and {own} more" if own else ""
    return f"{counted(len(rows), 'row')} of metrics: {', '.join(keys) or 'none that kddoctor knows'}{more}"


def counted(number: int, thing: str) -> str:
    """One row, 2,000 rows."""
    return f"one {thing}" if number == 1 else f"{number:,} {thing}s"


def _own(name: str) -> str:
    # A logger's own step must not take the place of kddoctor's.
    return f"logged {name}" if name in ("split", "step") else name
