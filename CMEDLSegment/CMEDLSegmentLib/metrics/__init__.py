"""Measures of two masks: surface distances, overlap, lesions, and their statistics."""
