"""kddoctor finds out why a knowledge distillation failed, proves it, and retrains a corrected student.

Everything is imported when it is first used: ``import kddoctor`` loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kddoctor.engine import Diagnosis as Diagnosis
    from kddoctor.engine import diagnose as diagnose
    from kddoctor.loss_xray import LossXray as LossXray
    from kddoctor.loss_xray import xray as xray
    from kddoctor.preflight_checks import Preflight as Preflight
    from kddoctor.preflight_checks import preflight as preflight
    from kddoctor.run import Run as Run
    from kddoctor.run import load as load
    from kddoctor.run.recorder import Recorder as Recorder
    from kddoctor.run.recorder import record as record
    from kddoctor.treatment.treat import Treatment as Treatment
    from kddoctor.treatment.treat import treat as treat

_HOME = {
    "Diagnosis": "kddoctor.engine",
    "diagnose": "kddoctor.engine",
    "Run": "kddoctor.run",
    "load": "kddoctor.run",
    "Recorder": "kddoctor.run.recorder",
    "record": "kddoctor.run.recorder",
    "Treatment": "kddoctor.treatment.treat",
    "treat": "kddoctor.treatment.treat",
    "LossXray": "kddoctor.loss_xray",
    "xray": "kddoctor.loss_xray",
    "Preflight": "kddoctor.preflight_checks",
    "preflight": "kddoctor.preflight_checks",
}

__all__ = [
    "Diagnosis",
    "LossXray",
    "Preflight",
    "Recorder",
    "Run",
    "Treatment",
    "__version__",
    "diagnose",
    "load",
    "preflight",
    "record",
    "treat",
    "xray",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'kddoctor' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
