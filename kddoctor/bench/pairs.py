"""Two faults in one script, both of which a careful reader could find."""

from dataclasses import fields, replace

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe

#: In each pair one fault sits where the other does not: the teacher, its outputs, the loss, its weights, the schedule.
PAIRS: tuple[tuple[str, str], ...] = (
    # The teacher is wrong, and the loss is too.
    ("KD101", "KD201"),
    ("KD101", "KD207"),
    ("KD102", "KD202"),
    ("KD103", "KD201"),
    ("KD103", "KD202"),
    ("KD103", "KD203"),
    ("KD103", "KD207"),
    ("KD103", "KD211"),
    # Its outputs are attached to the wrong classes or rows, and the loss is wrong too.
    ("KD105", "KD201"),
    ("KD105", "KD204"),
    ("KD105", "KD207"),
    ("KD105", "KD208"),
    ("KD106", "KD201"),
    ("KD106", "KD202"),
    ("KD106", "KD207"),
    # Form and weight of the loss.
    ("KD202", "KD207"),
    ("KD204", "KD207"),
    # One hides the other: a teacher that is not listened to, a loss that has exploded, a student that learns nothing.
    ("KD110", "KD103"),
    ("KD110", "KD105"),
    ("KD505", "KD105"),
    ("KD402", "KD201"),
    ("KD402", "KD103"),
    # The schedule is wrong too.
    ("KD502", "KD103"),
    ("KD502", "KD202"),
    ("KD502", "KD205"),
)


def combined(first: Edit, second: Edit) -> Edit:
    """Both mistakes in one script. ValueError where one would undo a line of the other."""

    def edit(recipe: Recipe, level: Level) -> Recipe:
        one, other = first(recipe, level), second(recipe, level)
        shared = _changed(recipe, one) & _changed(recipe, other)
        if shared:
            raise ValueError(f"{first.__name__} and {second.__name__} both change {', '.join(sorted(shared))}")
        lines = {name: getattr(other, name) for name in _changed(recipe, other)}
        return replace(one, **lines)

    return edit


def _changed(before: Recipe, after: Recipe) -> set[str]:
    names = {field.name for field in fields(Recipe)}
    return {name for name in names if getattr(before, name) != getattr(after, name)}
