"""How many points does each of several causes cost? Told by leaving its treatment out."""

from kddoctor.treatment.experiments.experiment import Arm, Experiment, Verdict
from kddoctor.treatment.prescription import Prescription

NAME = "leave-one-out"


def ablation(prescription: Prescription) -> Experiment | None:
    """One arm for each code, without its changes; None where there are fewer than two. The control is the treatment."""
    codes = prescription.codes
    if len(codes) < 2:
        return None
    arms = [Arm(f"without {code}", leaves_out=code) for code in codes]
    return Experiment(NAME, "Is any of the treatments needless?", (), Arm("all treatments"), lambda _run: arms)


def costs(verdict: Verdict) -> dict[str, dict[int, float]]:
    """By code, what its treatment brought, seed by seed."""
    control = verdict.control
    return {
        arm.name.removeprefix("without "): {
            seed: control.values[seed] - value for seed, value in arm.values.items() if seed in control.values
        }
        for arm in verdict.arms
        if control is not None
    }
