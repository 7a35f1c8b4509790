"""What the student's size and speed cost in quality."""

from collections.abc import Mapping

import pandas as pd

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run
from kddoctor.treatment.treat import Treatment

QUESTION = "Was it worth it?"
#: Column of observations to what it is called and its unit.
RESOURCES = {"latency_ms": "latency, ms a batch", "parameters": "parameters", "cost": "cost"}


def tradeoff(run: Run, diagnosis: Diagnosis, treatment: Treatment | None = None) -> View | Missing:
    """Quality against latency, size and cost, of teacher, student, labels-only student, and student before treatment.

    frame: model, resource, amount, quality, dominated (another model is no worse in both and better in one). marks:
    points (student less teacher, in points), and times_<resource>: teacher over student. treatment: of this run.
    """
    qualities = _qualities(diagnosis, treatment)
    rows = [
        {"model": model, "resource": resource, "amount": amounts[role], "quality": quality}
        for resource, amounts in _amounts(run).items()
        for model, (role, quality) in qualities.items()
        if role in amounts
    ]
    if not rows or not {"teacher", "student"} <= {row["model"] for row in rows}:
        needs = (
            "let kddoctor.record see both models: it writes parameters: {teacher, student} and latency_ms: "
            "{teacher, student} to observations.json"
        )
        return Missing("tradeoff", QUESTION, needs)
    frame = pd.DataFrame(rows)
    frame["dominated"] = [_dominated(row, frame) for _, row in frame.iterrows()]
    marks = _marks(frame)
    notes = ["Latency and size of the labels-only student are those of the student."]
    latency = run.observations.latency_ms
    if latency is not None:
        machine = (latency.model_extra or {}).get("device")
        where = f"on {machine}" if machine else "on the machine that trained; device and batch size were not recorded"
        notes.append(f"Latency: median of one batch, {where}.")
    return View("tradeoff", QUESTION, _answer(frame, marks, diagnosis), _alt(frame, diagnosis), frame, marks, (*notes,))


def _qualities(diagnosis: Diagnosis, treatment: Treatment | None) -> dict[str, tuple[str, float]]:
    """Model to (whose resources it uses, quality)."""
    gap = diagnosis.gap
    alone = gap.baseline if gap.baseline is not None or treatment is None else treatment.labels_only
    found = {
        "teacher": ("teacher", gap.teacher),
        "student": ("student", gap.student),
        "labels only": ("student", alone),
        "before treatment": ("student", None if treatment is None else treatment.before),
    }
    return {model: (role, quality) for model, (role, quality) in found.items() if quality is not None}


def _amounts(run: Run) -> dict[str, dict[str, float]]:
    seen = run.observations
    cost = (seen.model_extra or {}).get("cost")
    found = {
        "latency_ms": {} if seen.latency_ms is None else seen.latency_ms.model_dump(),
        "parameters": {} if seen.parameters is None else seen.parameters.model_dump(),
        "cost": cost if isinstance(cost, Mapping) else {},
    }
    usable = {
        resource: {
            role: float(values[role])
            for role in ("teacher", "student")
            if isinstance(values.get(role), int | float) and values[role] > 0
        }
        for resource, values in found.items()
    }
    return {resource: amounts for resource, amounts in usable.items() if len(amounts) == 2}


def _dominated(row: "pd.Series[float]", frame: pd.DataFrame) -> bool:
    others = frame[frame["resource"] == row["resource"]]
    no_worse = (others["amount"] <= row["amount"]) & (others["quality"] >= row["quality"])
    better = (others["amount"] < row["amount"]) | (others["quality"] > row["quality"])
    return bool((no_worse & better).any())


def _marks(frame: pd.DataFrame) -> dict[str, float]:
    by_model = frame.pivot(index="resource", columns="model", values="amount")
    quality = frame.drop_duplicates("model").set_index("model")["quality"]
    marks = {"points": 100 * float(quality["student"] - quality["teacher"])}
    return marks | {f"times_{name}": float(row["teacher"] / row["student"]) for name, row in by_model.iterrows()}


def _answer(frame: pd.DataFrame, marks: dict[str, float], diagnosis: Diagnosis) -> str:
    gains = [
        f"{marks[key]:.3g} times {words}"
        for key, words in (
            ("times_latency_ms", "the speed"),
            ("times_parameters", "fewer parameters"),
            ("times_cost", "cheaper"),
        )
        if key in marks
    ]
    return f"The student has {' and '.join(gains)}, at {marks['points']:+.1f} points of {diagnosis.gap.metric}."


def _alt(frame: pd.DataFrame, diagnosis: Diagnosis) -> str:
    resources = " and ".join(RESOURCES[name] for name in dict.fromkeys(frame["resource"]))
    models = frame.drop_duplicates("model")
    listed = ", ".join(f"{row['model']} {row['quality']:.1%}" for _, row in models.iterrows())
    return f"{diagnosis.gap.metric} against {resources}: {listed}."
