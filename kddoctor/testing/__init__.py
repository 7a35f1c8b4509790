"""Assertions for users' own tests, whose AssertionError says what was measured, wanted, where, and what to do.

They judge by the rules and probes of the diagnosis, and take a recorded run, its path, or what a test has at hand.
"""

from kddoctor.testing.health import assert_healthy
from kddoctor.testing.leakage import assert_no_leakage
from kddoctor.testing.loss import assert_loss_sound
from kddoctor.testing.retention import UnsureWarning, assert_retention
from kddoctor.testing.soft_targets import assert_soft_targets_informative
from kddoctor.testing.teacher import assert_teacher_valid

__all__ = [
    "UnsureWarning",
    "assert_healthy",
    "assert_loss_sound",
    "assert_no_leakage",
    "assert_retention",
    "assert_soft_targets_informative",
    "assert_teacher_valid",
]
