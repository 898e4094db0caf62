"""Conversions of trained models (pruning, quantization), what they are measured by, and their exports.

python -m paceline_trainer.compress --request '{"do": "stage", …}'
"""
