"""An X-ray of a live loss function, from outside: what it computes, and what is wrong with it.

Nothing is read from its source. The loss is called on synthetic tensors, differentiated by autograd, and what it
returns is matched with the formulas of loss forensics and of well-known distillation losses.
"""

from kddoctor.loss_xray.examine import xray
from kddoctor.loss_xray.result import LossXray, Problem

__all__ = ["LossXray", "Problem", "xray"]
