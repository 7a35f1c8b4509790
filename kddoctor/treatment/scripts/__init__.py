"""Treatment of a run by its own training script: settings overridden, the script run again, its new record judged."""
