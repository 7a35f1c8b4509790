"""Trials beside each other, as many as the cluster has processors, by Ray Tune."""

import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from kddoctor.errors import KDDoctorError, UsageError
from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import Trained
from kddoctor.treatment.ray_engine.place import Place
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.trial import AfterEpoch, Trial, Trials, run_trial, silent

#: How often one trial may lose its worker or its node before it is given up as impossible.
LOSSES = 3
#: Keys of what a trial reports.
NUMBER, EPOCH, SCORE, TRAINED, FAILED = "number", "epoch", "score", "trained", "failed"


def side_by_side(run: Run, storage: Path) -> Trials:
    """On the cluster that this process is connected to.

    storage: for Ray Tune's own files. A trial that loses its worker goes on elsewhere from its last epoch, since its
    folder is on a file system that all nodes share; its result is bit for bit that of ``one_by_one``.
    """
    place = Place.of(run)

    def carry_out(
        trials: Sequence[Trial], finished: Callable[[int, Trained], object], after_epoch: AfterEpoch = silent
    ) -> None:
        if not trials:
            return
        telling = _Telling(finished, after_epoch)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_train, trials=list(trials), place=place), {"cpu": 1}),
            param_space={NUMBER: tune.grid_search(list(range(len(trials))))},
            # A worker that is free takes the next trial: loading all that one needs takes seconds.
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name=f"trials-{uuid.uuid4().hex[:8]}",
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=LOSSES),
                callbacks=[telling],
                verbose=0,
            ),
        )
        try:
            lost = tuner.fit().errors
        except tune.TuneError:
            # It stands for whatever a callback raised.
            if telling.failure is None:
                raise
            raise telling.failure from None
        if lost:
            why = str(lost[0]).strip().splitlines()[-1]
            raise UsageError(f"{len(lost)} trials were lost more than {LOSSES} times, the first by: {why}")

    return carry_out


def _train(config: Mapping[str, int], *, trials: Sequence[Trial], place: Place) -> None:
    """One trial, in a worker."""
    try:
        with place.entered() as (run, code):
            trained = run_trial(run, code, trials[config[NUMBER]], _report_epoch)
    except KDDoctorError as error:
        # Raised, it would be tried again, in vain.
        tune.report({FAILED: error})
    else:
        tune.report({TRAINED: asdict(trained)})


def _report_epoch(epoch: int, score: Score) -> None:
    tune.report({EPOCH: epoch, SCORE: asdict(score)})


class _Telling(tune.Callback):  # type: ignore[misc]
    """Tells this process what workers report, and the user who was lost. Raises what they failed with."""

    def __init__(self, finished: Callable[[int, Trained], object], after_epoch: AfterEpoch) -> None:
        self._finished, self._after_epoch = finished, after_epoch
        self.failure: Exception | None = None

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        sys.stderr.write("ray: a worker was lost; its trial goes on elsewhere, from its last epoch\n")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        try:
            self._tell(trial.config[NUMBER], result)
        except Exception as error:
            self.failure = error
            raise

    def _tell(self, number: int, result: dict[str, Any]) -> None:
        if FAILED in result:
            raise result[FAILED]
        if TRAINED in result:
            self._finished(number, Trained.from_json(result[TRAINED]))
        elif EPOCH in result:
            self._after_epoch(number, result[EPOCH], Score(**result[SCORE]))
