"""One file an endpoint: its question, its answer, and how the one becomes the other."""
