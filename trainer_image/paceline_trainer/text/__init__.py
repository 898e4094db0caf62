"""Text: packaged data sets, a pretrained encoder and the ways to tune it, augmentation, adversarial embeddings."""
