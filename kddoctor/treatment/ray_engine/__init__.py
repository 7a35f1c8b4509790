"""Trainings on a Ray cluster: trials beside each other by Ray Tune, the retraining by Ray Train."""
