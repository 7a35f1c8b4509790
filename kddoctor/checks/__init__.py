"""Health checks of recorded runs: one check a rule, as pytest items and as a command."""
