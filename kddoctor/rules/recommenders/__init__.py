"""Rules of the family KD9."""
