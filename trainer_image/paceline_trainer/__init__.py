"""Paceline's trainer: recipes that run under torchrun, and the pieces that they are made of."""

__version__ = "0.1.0"
