"""``assert_loss_sound``: the X-ray of a loss as one assertion."""

from collections.abc import Callable
from typing import Any

from kddoctor.testing.hiding import ending_at_the_caller


@ending_at_the_caller
def assert_loss_sound(loss_fn: Callable[..., Any], **declared: Any) -> None:
    """Fail where a distillation loss is not what it is meant to be, or not sound.

    loss_fn and declared (loss, temperature, alpha, …): as :func:`kddoctor.xray` takes them; what is not declared is not
    judged. Raises UsageError, in one line, where the loss cannot be called.
    """
    from kddoctor.loss_xray import xray

    found = xray(loss_fn, **declared)
    if found.problems:
        explained = [f"  kddoctor explain {code}" for code in dict.fromkeys(found.codes)]
        raise AssertionError("\n".join([f"{found.name} is no sound distillation loss", str(found), *explained]))
