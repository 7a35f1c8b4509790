"""What happened during a training: losses that broke or jumped, schedules that changed, a warm-up that ended."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.learning_curve import series
from kddoctor.report.views.view import Event
from kddoctor.run.directory import Run
from kddoctor.run.metrics import Row
from kddoctor.run.recording.trouble import LossWatch

#: Sign of each kind in a picture, and what it means.
GLYPHS: Mapping[str, tuple[str, str]] = {
    "not finite": ("✗", "loss not finite"),
    "jump": ("▲", "loss jumped"),
    "warm-up": ("◆", "warm-up ended"),
    "schedule": ("▼", "schedule changed"),
}
#: Key of metrics.jsonl to what it is called, of what a schedule may change.
SCHEDULED: Mapping[str, str] = {"lr": "learning rate", "temperature": "temperature", "alpha": "alpha"}
#: Changes from which on a schedule is a smooth one, whose every value is no event.
SMOOTH = 8
#: How many times a smooth schedule has to rise from one logged value to the next for it to be a restart.
RESTART = 2.0
#: Share of the largest rate that the first one may have for the way up to be a warm-up.
WARM = 0.9
#: Events of one kind that are told.
MOST = 12
Floats = NDArray[np.float64]


def training_events(run: Run, rows: Sequence[Row] | None = None) -> tuple[Event, ...]:
    """By step; of each kind the first 12. rows: metrics on one clock, those of the run where left out.

    A loss jumps where it is more than three times the largest of the twenty before, as the recorder sees it.
    """
    train = [row for row in (run.metrics if rows is None else rows) if row.get("split", "train") == "train"]
    found = [*_broken(run, train), *_jumps(run, train)]
    for key, name in SCHEDULED.items():
        found += _schedule(name, *series(train, key), is_rate=key == "lr")
    kept = [event for kind in GLYPHS for event in [e for e in sorted(set(found)) if e.kind == kind][:MOST]]
    return tuple(sorted(kept))


def events_note(events: Sequence[Event]) -> str:
    """All of them in one line, for those who do not see the marks."""
    return f"Marked: {'; '.join(f'step {event.step:g}, {event.text}' for event in events)}."


def _broken(run: Run, train: Sequence[Row]) -> Iterator[Event]:
    """One event for each stretch of logged steps whose loss is not finite."""
    steps, losses = series(train, "loss")
    fine = dict(zip(steps, np.isfinite(losses), strict=True))
    broken = run.observations.nonfinite_steps
    fine |= {float(step): False for step in (broken if isinstance(broken, list) else ())}
    ordered = sorted(fine.items())
    for finite, group in groupby(ordered, key=lambda item: bool(item[1])):
        stretch = [step for step, _ in group]
        if not finite:
            to_the_end = len(stretch) > 1 and stretch[-1] == ordered[-1][0]
            until = " and from then on" if to_the_end else f" to step {stretch[-1]:g}" if len(stretch) > 1 else ""
            yield Event(stretch[0], "not finite", f"loss not finite{until}")


def _jumps(run: Run, train: Sequence[Row]) -> Iterator[Event]:
    steps, losses = series(train, "loss")
    watch = LossWatch()
    pairs = [(step, loss) for step, loss in zip(steps, losses, strict=True) if np.isfinite(loss)]
    seen = [(step, loss) for step, loss in pairs if watch.trouble(int(step), float(loss)) == "spike"]
    recorded = run.steps
    if recorded is not None and recorded.jumped is not None:
        jumped = recorded.jumped == 1
        seen += zip(recorded.step[jumped].astype(float), recorded.loss[jumped], strict=True)
    for step, loss in dict(seen).items():
        yield Event(float(step), "jump", f"loss jumped to {loss:.3g}")


def _schedule(name: str, steps: Floats, values: Floats, *, is_rate: bool) -> Iterator[Event]:
    keep = np.isfinite(values)
    steps, values = steps[keep], values[keep]
    if len(values) < 2:
        return
    start = 0
    peak = int(values.argmax())
    if is_rate and peak and values[0] < WARM * values[peak] and (np.diff(values[: peak + 1]) >= 0).all():
        yield Event(float(steps[peak]), "warm-up", f"warm-up ended at a {name} of {values[peak]:.3g}")
        start = peak
    changed = [i for i in range(start + 1, len(values)) if values[i] != values[i - 1]]
    if len(changed) > SMOOTH:
        changed = [i for i in changed if values[i] > RESTART * values[i - 1] > 0]
    for i in changed:
        yield Event(float(steps[i]), "schedule", f"{name} from {values[i - 1]:.3g} to {values[i]:.3g}")
