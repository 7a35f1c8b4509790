"""``assert_soft_targets_informative``: do the soft targets say more than the labels?"""

import numpy as np

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.engine.reading import class_rows, classes
from kddoctor.errors import UsageError
from kddoctor.probes.measurements import TargetSoftness
from kddoctor.probes.soft_targets import DEFAULT_TEMPERATURES, SoftTargetsProbe
from kddoctor.rules.soft_targets.temperature_too_high import FLAT
from kddoctor.testing.given import RunOrPath, as_array, manifest_of, opened
from kddoctor.testing.hiding import ending_at_the_caller
from kddoctor.testing.verdicts import failing, judged, silent, told

#: Nearly one-hot; so flat that they starve; smoothed so that the other classes are alike.
BY_RUN: tuple[str, ...] = ("KD301", "KD302", "KD303")
#: What logits and a temperature alone can show.
BY_LOGITS = ("KD301", "KD302")


@ending_at_the_caller
def assert_soft_targets_informative(
    run: RunOrPath | None = None, *, teacher_logits: object = None, temperature: float | None = None
) -> None:
    """Fail where the teacher's soft targets say no more than the labels, or nothing at all.

    One of: a run or its directory; teacher_logits [N, C] (an array or tensor) and the temperature of training.
    """
    if run is not None:
        recorded = opened(run)
        name, diagnosis, codes = f"the soft targets of {recorded.name}", diagnose(recorded), BY_RUN
    elif teacher_logits is not None and temperature is not None:
        name, diagnosis, codes = "the soft targets", _of_logits(teacher_logits, temperature), BY_LOGITS
    else:
        raise UsageError("give assert_soft_targets_informative a run, or teacher_logits= and temperature=")
    wrong = [result for result in failing(diagnosis) if result.code in codes]
    if wrong:
        raise AssertionError(told(f"{name} are not informative", wrong, placed=run is not None))
    unjudged = silent(diagnosis, codes)
    if unjudged is not None:
        raise AssertionError(f"{name} cannot be judged: {unjudged}")


def _of_logits(teacher_logits: object, temperature: float) -> Diagnosis:
    logits = as_array(teacher_logits, "teacher_logits")
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise UsageError(f"teacher_logits are {list(logits.shape)}; expected [N, C]")
    if not 0 < temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; expected a number above 0")
    labels = logits.argmax(axis=1)
    manifest = manifest_of(logits, labels, loss="kl", temperature=float(temperature))
    probe = SoftTargetsProbe(sorted({*map(float, DEFAULT_TEMPERATURES), float(temperature)}), classes(manifest))
    probe.update(*class_rows(manifest, logits.astype(np.float32), labels))
    softness = TargetSoftness(float(temperature), probe.compute(), None)
    _refuse_uniform(softness)
    return judged(manifest, len(logits), softness, BY_LOGITS)


def _refuse_uniform(softness: TargetSoftness) -> None:
    # No temperature is to blame for these, so KD302, which blames it, rules itself out.
    targets = softness.targets
    entropy = float(targets.entropy_ratio_mean[softness.at(targets, 1.0)])
    if entropy > FLAT:
        raise AssertionError(
            "the soft targets are not informative: without any temperature they are nearly uniform; measured "
            f"entropy_ratio {entropy:.3g} at T = 1, wanted at most {FLAT:g}"
        )
