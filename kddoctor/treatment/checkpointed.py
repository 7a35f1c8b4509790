"""A session trained to its end: checkpointed on the way, stopped when it is hopeless, kept at its best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kddoctor.errors import UsageError
from kddoctor.run.recorder import Recorder
from kddoctor.treatment.best import Best
from kddoctor.treatment.checkpoint import Checkpoint, Stateful
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.session import Session, Step

#: Epoch that was finished, from 1, and how the student then did.
AfterEpoch = Callable[[int, Score], object]
#: From the metric after every epoch so far, those before an interruption among them: whether to stop the training.
GivingUp = Callable[[Sequence[float]], bool]


def never(_values: Sequence[float]) -> bool:
    """Trained to its end."""
    return False


@dataclass(frozen=True)
class Trained:
    """How it went. epochs, steps: that were trained; score: of the student that was kept, of epoch ``kept``, from 1.

    values: the metric after every epoch. stopped: given up before its end.
    """

    epochs: int
    steps: int
    kept: int
    score: Score
    values: tuple[float, ...]
    stopped: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Trained":
        """From what ``dataclasses.asdict`` and JSON made of one."""
        return cls(**{**data, "score": Score(**data["score"]), "values": tuple(data["values"])})


def train(
    session: Session,
    work: Path,
    signature: str,
    after_epoch: AfterEpoch,
    recorder: Recorder | None = None,
    give_up: GivingUp = never,
) -> Trained:
    """Train the session's student, and leave it at the epoch that is kept.

    work: holds a checkpoint of an epoch that ended not long ago. Where one is there already it is gone on from, with
    the same result, bit for bit, as without the interruption; signature: what has to be the same for that. A student
    that fell clearly below an earlier epoch is put back to it, and not trained on once that has lasted.
    """
    schedule = session.schedule
    best = Best(session.student, schedule.epochs)
    checkpoint = Checkpoint(work, signature, _parts(session, best, recorder))
    epoch = checkpoint.restore()
    _check_same(session, work, epoch)
    while epoch < schedule.epochs and not best.hopeless and not give_up(best.values):
        session.train_epoch(epoch, _recording(recorder, epoch))
        found = session.score()
        if recorder is not None:
            recorder.log(split="val", epoch=epoch, student_accuracy=found.accuracy, agreement=found.agreement)
        best.offer(found)
        epoch += 1
        if session.team.leads:
            checkpoint.offer(epoch, of=schedule.epochs)
        after_epoch(epoch, found)
    kept = epoch - best.since if best.fell else epoch
    steps, values = epoch * session.steps // schedule.epochs, tuple(best.values)
    return Trained(epoch, steps, kept, best.settle(), values, stopped=give_up(values))


def _check_same(session: Session, work: Path, epoch: int) -> None:
    """Raises UsageError where this process found another checkpoint than the one that leads."""
    there = session.team.from_leader(lambda: epoch)
    if there != epoch:
        raise UsageError(
            f"{work}: one worker finds {epoch} epochs finished there, another {there}; expected one directory that all "
            "workers share"
        )


def _parts(session: Session, best: Best, recorder: Recorder | None) -> dict[str, Stateful]:
    parts: dict[str, Stateful] = {
        "student": session.student,
        "optimizer": session.optimizer,
        "scheduler": session.scheduler,
        "best": best,
    }
    if recorder is not None:
        parts["recorder"] = recorder
    if session.hinting is not None:
        parts["hinting"] = session.hinting
    return parts


def _recording(recorder: Recorder | None, epoch: int) -> Callable[[Step], object]:
    if recorder is None:
        return lambda _step: None
    return lambda step: recorder.step(
        loss=step.total,
        student_logits=step.student_logits,
        teacher_logits=step.teacher_logits,
        labels=step.labels,
        epoch=epoch,
        kd_loss=step.terms.get("kd_loss"),
        ce_loss=step.terms.get("ce_loss"),
        feature_loss=step.terms.get("feature_loss"),
    )
