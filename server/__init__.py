"""The HTTP surface: renders what query answers; owns no data."""
