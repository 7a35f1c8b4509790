"""How many times longer a schedule should be that was too short."""

#: Updates of which nobody would say that they are many; convention. A schedule that stopped far before is lengthened to
#: about so many: that costs little, however many times longer it is.
FEW_UPDATES = 1000


def times_longer(updates: int | None, least: int) -> int:
    """Whole times, at least ``least``; updates: those of the schedule, None where nobody knows."""
    return max(least, FEW_UPDATES // updates) if updates else least
