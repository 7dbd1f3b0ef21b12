"""The venue, live: signing, session, connection, discovery, journal.

Turns the venue's frames into records, every hole written down from its true beginning.
"""
