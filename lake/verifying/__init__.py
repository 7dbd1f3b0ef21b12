"""The parts of an offline proof: the log, the chain of manifests, the tables, an hour's files, an hour's rows."""
