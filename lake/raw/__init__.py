"""The archive of raw frames: its files, its entries, and an hour of it made whole again."""
