"""From what was logged of an hour to what is published of it: rows, coverage, proofs. Writes nothing."""
