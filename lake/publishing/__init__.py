"""The published lake: files, manifests, Delta commits, and the way in for readers."""
