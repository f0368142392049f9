"""A model on disk: its file, its card, the normalization of its input, and the registry of those installed."""

DEFAULT = "lung-ct"
"""The model used when none is named."""
