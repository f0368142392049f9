"""Experiments: cohort, folds, methods and seeds in a small file; what is finished becomes its results."""
