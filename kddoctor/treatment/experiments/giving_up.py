"""When a trial of an experiment is given up."""

import optuna

from kddoctor.probes.proportions import noise_of_difference, standard_error

ARM, SEED, ROWS = "arm", "seed", "rows"


class ClearlyBehind(optuna.pruners.BasePruner):
    """Gives up a trial whose best epoch is clearly below what the control of the same seed had at this epoch.

    Paired by seed, since seeds may differ by more than arms do. The control itself is always trained to its end.
    """

    def __init__(self, control: str, warm_up: int) -> None:
        """control: name of the arm. warm_up: epochs before which nothing is given up."""
        self._control, self._warm_up = control, warm_up

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """After the trial's last reported epoch."""
        step = trial.last_step
        if step is None or step <= self._warm_up or trial.params[ARM] == self._control:
            return False
        for other in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            if other.params[ARM] == self._control and other.params[SEED] == trial.params[SEED]:
                reached = other.intermediate_values.get(step)
                return reached is not None and max(trial.intermediate_values.values()) < reached - _noise(
                    trial, reached
                )
        return False


def _noise(trial: optuna.trial.FrozenTrial, value: float) -> float:
    return noise_of_difference(standard_error(value, trial.user_attrs[ROWS]))
