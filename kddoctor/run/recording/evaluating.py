"""Both models over all splits: once training is over, or over a few rows of each in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kddoctor.run.recording.batches import Source, first_rows
from kddoctor.run.recording.calling import latency_ms
from kddoctor.run.recording.complaints import Complaints
from kddoctor.run.recording.predicting import Predicting, SplitRecord
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.views import augmented_views

TIMED_BATCH = 32
#: Rows of each split that a record has which is written in between.
FEW_EXAMPLES = 512


@dataclass
class Evaluated:
    """splits: by name. facts: keys of observations.json. interruption: what cut the evaluation short."""

    splits: dict[str, SplitRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    interruption: BaseException | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is run, and over which data."""

    predicting: Predicting
    sources: Mapping[str, Source]
    complaints: Complaints

    def of_few_rows(self) -> Evaluated:
        """Over the first rows of each split, without anything that takes long."""
        examples = min(FEW_EXAMPLES, self.predicting.max_examples)
        few = replace(self.predicting, max_examples=examples, hashed_examples=examples, save_inputs=False)
        return self._over_splits(few)

    def of_all_rows(self) -> Evaluated:
        """Over the splits as far as max_examples goes, with latencies and what random augmentation does."""
        done = self._over_splits(self.predicting)
        if done.interruption is not None:
            return done
        models = self.predicting.models
        with self.complaints.harmless("time the models"), undisturbed(*models.values()):
            done.facts["latency_ms"] = self._latency()
        if "train" in self.sources:
            with self.complaints.harmless("look at augmented views"), undisturbed(*models.values()):
                views = augmented_views(models, self.sources["train"], self.predicting.transform)
                done.facts |= {} if views is None else {"augmented_views": views}
        return done

    def _over_splits(self, predicting: Predicting) -> Evaluated:
        done = Evaluated()
        for split, source in self.sources.items():
            with (
                self.complaints.harmless(f"run the models over {split}_data"),
                undisturbed(*predicting.models.values()),
            ):
                record = predicting.record(split, source)
                done.interruption = record.interruption
                if record.predictions:
                    done.splits[split] = record
                    done.facts.setdefault("inputs", {})[split] = record.statistics
            if done.interruption is not None:
                break
        return done

    def _latency(self) -> dict[str, float]:
        source = next(iter(self.sources.values()))
        batch = next(source.batches(TIMED_BATCH))
        inputs = first_rows(batch.inputs, TIMED_BATCH, batch.size)
        transform = self.predicting.transform
        return {
            name: latency_ms(
                self.predicting.models[name],
                transform(inputs) if name == "teacher" and transform is not None else inputs,
            )
            for name in ("teacher", "student")
            if name in self.predicting.models
        }
