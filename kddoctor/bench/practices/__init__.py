"""What competent people do when they distil, by authors who had seen no rule: sound, and nothing was tuned on it."""

from kddoctor.bench.practices import of_losses, of_training
from kddoctor.bench.variant import Variant

PRACTICES: tuple[Variant, ...] = (*of_losses.VARIANTS, *of_training.VARIANTS)
