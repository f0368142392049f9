"""A run is a folder, and the folder is the truth: its state, its history, its lock, its trainers."""
