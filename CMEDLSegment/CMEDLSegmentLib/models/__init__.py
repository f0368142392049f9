"""A model on disk: its file, its card, the normalization of its input, and the registry of those installed."""
