"""Cursors of the REST interface: opaque text around one number.

Owns their form. An empty cursor says that a page was the last one.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from exchange.errors import RefusedError

T = TypeVar("T")


def read_cursor(text: str | None, kind: str) -> int | None:
    """Return the number in a cursor of a kind of list, None where there is no cursor.

    Raises RefusedError 400 for one that was not given out for that kind.
    """
    if not text:
        return None
    try:
        found, _, number = base64.urlsafe_b64decode(text.encode()).decode().partition(":")
        if found == kind:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise RefusedError(400, "invalid_cursor", "cursor is not one that this list gave out")


def page(rows: Iterable[T], limit: int, kind: str, number_of: Callable[[T], int]) -> tuple[list[T], str]:
    """Return the first ``limit`` rows, and the cursor after them; ``rows`` begin after the cursor before."""
    found = list(islice(iter(rows), limit + 1))
    if len(found) <= limit:
        return found, ""
    last = number_of(found[limit - 1]) if limit else 0
    return found[:limit], base64.urlsafe_b64encode(f"{kind}:{last}".encode()).decode()
