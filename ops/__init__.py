"""The ground of every process: settings, the clock, logs and keys. Imports nothing of ours."""
