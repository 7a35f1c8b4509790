"""Rules of the family KD7."""
