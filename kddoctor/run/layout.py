"""Which axes the arrays of a task have, and whether those of one file agree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kddoctor.errors import RunError
from kddoctor.run.arrays import LazyArray
from kddoctor.run.manifest import MANIFEST_FILE, TASKS_WITH_CLASSES, Manifest

Axes = tuple[str, ...]


@dataclass
class Layout:
    """The axes of one file's arrays; lengths are learnt from the first array that has the axis.

    rows: the axes that count examples, ("N",) in predictions and ("K", "B") in steps. Tokens runs have a
    further axis L. C is the number of classes, the size of the vocabulary in tokens runs.
    """

    manifest: Manifest
    file: str
    rows: Axes
    _lengths: dict[str, tuple[int, LazyArray]] = field(default_factory=dict)

    @property
    def positions(self) -> Axes:
        """The axes that every prediction has: one entry for each decision of the model."""
        return (*self.rows, "L") if self.manifest.task == "tokens" else self.rows

    @property
    def logits(self) -> Axes:
        return (*self.positions, "C") if self.manifest.task in TASKS_WITH_CLASSES else self.positions

    @property
    def labels(self) -> Axes:
        return (*self.positions, "C") if self.manifest.task == "multilabel" else self.positions

    def length(self, axis: str) -> int:
        return self._lengths[axis][0]

    def fit(self, array: LazyArray, axes: Axes) -> LazyArray:
        """The array, as one that has these axes. Raises RunError where it does not, or not their lengths.

        Binary and ranking arrays may carry a last axis of length one, which is left out.
        """
        may_squeeze = self.manifest.task in ("binary", "ranking") and array.ndim == len(axes) + 1
        if may_squeeze and array.shape[-1] == 1:
            array = replace(array, squeezed=True)
        if array.ndim != len(axes):
            raise RunError(self.file, array.name, brackets(array.shape), self._expected(axes), self._advice(array))
        for axis, length in zip(axes, array.shape, strict=True):
            known, source = self._lengths.setdefault(axis, (length, array))
            if length != known:
                raise RunError.plain(
                    f"{self.file}: {array.name} is {brackets(array.shape)} but {source.name} is "
                    f"{brackets(source.shape)}; they must agree."
                )
            if length == 0:
                raise RunError.plain(f"{self.file}: {array.name} is {brackets(array.shape)}; it holds no rows.")
        return array

    def fit_logits(self, array: LazyArray) -> LazyArray:
        """As fit, for floating point logits."""
        if not array.is_float:
            raise RunError(self.file, array.name, f"of dtype {array.dtype}", "floating point logits")
        return self.fit(array, self.logits)

    def check_classes(self) -> None:
        """Raises RunError where the arrays have another number of classes than the manifest."""
        declared, (found, source) = self.manifest.num_classes, self._lengths.get("C", (None, None))
        if source is not None and found != declared and "C" in self.logits:
            raise RunError.plain(
                f"{self.file}: {source.name} is {brackets(source.shape)} but num_classes is {declared} in "
                f"{MANIFEST_FILE}; they must agree."
            )

    def _expected(self, axes: Axes) -> str:
        known = {axis: str(length) for axis, (length, _) in self._lengths.items()}
        if self.manifest.num_classes is not None:
            known.setdefault("C", str(self.manifest.num_classes))
        return f"[{', '.join(known.get(axis, axis) for axis in axes)}], as task is {self.manifest.task}"

    def _advice(self, array: LazyArray) -> str | None:
        extra_classes = array.ndim > 1 and array.shape[-1] == self.manifest.num_classes
        if array.name == "labels" and self.manifest.task in ("multiclass", "tokens") and extra_classes:
            return "store the index of the class, not a one-hot row"
        if self.manifest.task in ("binary", "ranking") and array.name.endswith("logits"):
            return "one logit for each row; for two columns, store the second minus the first"
        return None


def brackets(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
