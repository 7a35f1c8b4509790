"""Codes for which no fault is made, because no edit of a loop in one process makes the mistake."""

from collections.abc import Mapping

#: Code to the reason, and to the evidence that would show the mistake.
UNMADE: Mapping[str, str] = {
    "KD114": (
        "The comparison is at fault and not the distillation: it would show in a labels-only run of other epochs, "
        "augmentation or seeds, or in a gain within two standard deviations over seeds, all of which need several runs."
    ),
}
