"""Rules of the family KD8."""
