"""CompressionJobs: pure decisions over stages and trials. Stages are made of TrainingJobs, whose results are all that counts."""
