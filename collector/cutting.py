"""What arrived, cut into parts that can be taken whole.

Owns the cuts only: at hours, where a silence of a link ends, and around what is neither frame nor pong.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from collector.links import Item, Mark

Ints = npt.NDArray[np.int64]


def stretches(keys: Ints) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of equal keys."""
    cuts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    yield from pairwise(cuts)


def unbroken(
    items: Sequence[Item], mono_ns: Ints, start: int, end: int, heard_ns: Mapping[int, int], silence_ns: int
) -> Iterator[tuple[int, int]]:
    """Yield the parts of [start, end): frames and pongs, of which only a link's first may end a silence, or one mark.

    ``heard_ns`` says when each link was heard before.
    """
    links = np.array([item[0] for item in items[start:end]], np.int64)
    cuts = {start}
    for link, before_ns in heard_ns.items():
        places = np.flatnonzero(links == link)
        if len(places):
            apart = np.diff(mono_ns[start + places], prepend=before_ns)
            cuts.update((start + places[apart > silence_ns]).tolist())
    for place in range(start, end):
        payload = items[place][2]
        if type(payload) is not bytes and payload is not Mark.PONG:
            cuts |= {place, place + 1}
    ordered = sorted(cut for cut in cuts if cut < end)
    yield from zip(ordered, [*ordered[1:], end], strict=True)
