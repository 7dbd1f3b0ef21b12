"""The digest of a book: a short fingerprint that any language can compute.

Owns its text form: one line a level, ``Y4500=12000``, YES before NO, prices ascending.
"""

from collections.abc import Iterable
from hashlib import sha256

from book.records import Level


def digest(levels: Iterable[Level]) -> str:
    """Return the first 16 hex digits of the sha256 of a book's text.

    ``levels`` are (side, price_e4, qty_e2) in any order, one for each price, zero sizes left out by the caller.
    An empty book has the digest of the empty text. Cost: a sort and a hash of about 12 bytes a level.
    """
    lines = [f"{'N' if side else 'Y'}{price_e4}={qty_e2}\n" for side, price_e4, qty_e2 in sorted(levels)]
    return sha256("".join(lines).encode()).hexdigest()[:16]
