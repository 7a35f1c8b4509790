"""Which experiments a run's own script can be asked, by other values of its settings; what the others would need."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from kddoctor.run.directory import Run
from kddoctor.run.entry import is_argument
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.treatment.experiments import assistant, dose_response, more_data
from kddoctor.treatment.experiments.experiment import Arm, Experiment, as_it_is
from kddoctor.treatment.scripts.arguments import argument
from kddoctor.treatment.scripts.overriding import doubts
from kddoctor.treatment.scripts.script import SEED, Script
from kddoctor.treatment.scripts.settings import parse_settings, value_at

EPOCHS, ROWS, ASSISTANT = "training.epochs", "treatment.transfer_rows", "treatment.assistant"
AS_FUNCTIONS = "models and data as functions (code.teacher, code.student, code.train_data, code.val_data), not a script"


def as_asked(run: Run, script: Script) -> Callable[[Experiment], Experiment | str]:
    """From an experiment to the one that this script can be asked, or to what it would need for that."""

    def asked(experiment: Experiment) -> Experiment | str:
        found = _OTHERWISE.get(experiment.name, _unchanged)(experiment, run, script)
        if isinstance(found, str):
            return found
        arms = (found.control, *found.arms(run))
        if any(arm.prepared is not as_it_is for arm in arms):
            return AS_FUNCTIONS
        keys = {SEED, *(key for arm in arms for key in arm.changes)}
        keys |= {EPOCHS} if any(arm.epochs != 1 for arm in arms) else set()
        missing = sorted(keys - set(script.keys))
        if missing:
            return _keys(*missing)
        if EPOCHS in keys and run.manifest.training.epochs is None:
            return f"{EPOCHS} in {MANIFEST_FILE}"
        # A weight that the script understands the other way round would answer another question.
        doubtful = doubts(script, run.manifest, _changed(arms))
        return f"a setting that means what {MANIFEST_FILE} says: {doubtful[0]}" if doubtful else found

    return asked


def _keys(*missing: str) -> str:
    return f"{' and '.join(missing)} in code.keys of {MANIFEST_FILE}"


def _changed(arms: tuple[Arm, ...]) -> Mapping[str, object]:
    """Every key that some arm changes, to whichever value."""
    return {key: value for arm in arms for key, value in arm.changes.items()}


def _unchanged(experiment: Experiment, _run: Run, _script: Script) -> Experiment | str:
    return experiment


def _one_dose(experiment: Experiment, _run: Run, script: Script) -> Experiment | str:
    """Temperature or weight alone, where the script has a place for one of them."""
    able = [key for key in (dose_response.TEMPERATURE, dose_response.ALPHA) if key in script.keys]
    if not able:
        return _keys(dose_response.TEMPERATURE)
    return (
        replace(experiment, arms=lambda run: dose_response.arms_of_one(run, able[0])) if len(able) == 1 else experiment
    )


def _by_its_own_assistant(experiment: Experiment, _run: Run, _script: Script) -> Experiment | str:
    """The script knows what its assistant is; it needs a place that says whether to use one."""
    return replace(experiment, arms=lambda _run: [Arm("assistant", {ASSISTANT: "distilled"})])


def _fewer_rows(experiment: Experiment, run: Run, script: Script) -> Experiment | str:
    """All rows against half of them, by the script's own number of rows."""
    if ROWS not in script.keys:
        return _keys(ROWS)
    rows = _number_of_rows(script)
    if rows is None:
        return f"the number of rows at {script.keys[ROWS]}, where code.keys says that the script takes it from"
    return replace(experiment, control=Arm("half of the rows", {ROWS: rows // 2}, epochs=2.0))


def _number_of_rows(script: Script) -> int | None:
    place = script.keys[ROWS]
    if is_argument(place):
        said = argument(script.words, place)
        return int(said) if said is not None and said.isdigit() and int(said) > 1 else None
    if script.config is None:
        return None
    found = value_at(parse_settings(script.settings, script.config), place, script.config)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 1 else None


def _not_of_a_script(_experiment: Experiment, _run: Run, _script: Script) -> Experiment | str:
    return AS_FUNCTIONS


_OTHERWISE: Mapping[str, Callable[[Experiment, Run, Script], Experiment | str]] = {
    dose_response.EXPERIMENT.name: _one_dose,
    assistant.EXPERIMENT.name: _by_its_own_assistant,
    more_data.EXPERIMENT.name: _fewer_rows,
    "one-batch": _not_of_a_script,
    "plain-loop": _not_of_a_script,
    "wider-student": _not_of_a_script,
}
