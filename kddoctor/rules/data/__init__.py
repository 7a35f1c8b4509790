"""Rules of the family KD6."""
