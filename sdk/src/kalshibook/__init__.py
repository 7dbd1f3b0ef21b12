"""The published package of KalshiBook: today the command of that name, and nothing else."""
