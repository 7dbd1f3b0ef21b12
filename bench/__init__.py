"""Measurements: each bench prints the ratio of two things measured in turn in one run. Never a test."""
