"""What all rooms stand on: errors, files, progress, words, colors. Imports nothing of ours."""
