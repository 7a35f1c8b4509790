"""How often the gate against a baseline fails a re-run, and how often it catches a real regression."""
