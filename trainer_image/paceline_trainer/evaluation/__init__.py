"""What a model is worth on data that it has not seen: predictions gathered from all processes, metrics, plots, report."""
