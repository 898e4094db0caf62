"""Ways in over HTTP: progress from the trainers, metrics and health for the cluster."""
