"""What competent people do when they distil, by authors who had seen no rule: sound, and nothing was tuned on it.

The second two authors wrote theirs when rules had been mended by what the first two had made.
"""

from kddoctor.bench.practices import of_losses, of_losses_again, of_training, of_training_again
from kddoctor.bench.variant import Variant

PRACTICES: tuple[Variant, ...] = (
    *of_losses.VARIANTS,
    *of_training.VARIANTS,
    *of_losses_again.VARIANTS,
    *of_training_again.VARIANTS,
)
