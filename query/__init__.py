"""Questions: a book at an instant, changes and trades by range, spans and gaps, markets.

Imports book and lake. Never knows HTTP, keys or credits; times in and out are microseconds since the epoch.
"""
