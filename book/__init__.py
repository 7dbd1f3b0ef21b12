"""The domain: exact prices and sizes, records, books, sequence numbers, and the venue's wire format.

Pure: no I/O, no clock, no asyncio. Imports nothing of ours.
"""
