"""The engine: measures what rules need, weighs their findings, explains symptoms away, settles on a verdict."""

from kddoctor.engine.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
