"""Pieces of an optimizer step, each usable on its own: schedules, clipping, early stopping, precision."""
