"""Records at rest: schemas, paths, segments, the flush file, recovery, and reading them back."""
