"""Recorders for other libraries' trainers: Hugging Face Trainer, Lightning, Keras. Each is imported when it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kddoctor.errors import KDDoctorError

if TYPE_CHECKING:
    from kddoctor.integrations.huggingface import KDDoctorCallback as KDDoctorCallback
    from kddoctor.integrations.keras import KerasRecorder as KerasRecorder
    from kddoctor.integrations.lightning import LightningRecorder as LightningRecorder

#: Where each recorder lies, and the library that it belongs to.
_HOME = {
    "KDDoctorCallback": ("kddoctor.integrations.huggingface", "transformers"),
    "LightningRecorder": ("kddoctor.integrations.lightning", "lightning"),
    "KerasRecorder": ("kddoctor.integrations.keras", "keras"),
}

__all__ = ["KDDoctorCallback", "KerasRecorder", "LightningRecorder", "MissingLibraryError"]


class MissingLibraryError(KDDoctorError, ImportError):
    """A recorder was asked for whose library is not installed."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kddoctor.integrations' has no attribute '{name}'")
    module, library = _HOME[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        # Keras is there and its backend is not, say: then its own message is the better one.
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        advice = "install it with: pip install kddoctor[integrations]"
        raise MissingLibraryError(f"kddoctor.integrations.{name} needs {library}; {advice}") from None


def __dir__() -> list[str]:
    return sorted(__all__)
