"""Keras chooses its backend when it is imported: torch, which every environment of this project has."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
