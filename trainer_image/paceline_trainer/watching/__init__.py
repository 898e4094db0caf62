"""Seeing what a run does: TensorBoard, Weights & Biases, a profiler, and anomalies."""
