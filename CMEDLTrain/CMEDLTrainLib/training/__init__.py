"""Training: one loop, its checkpoints, what watches it and what tells of it."""
