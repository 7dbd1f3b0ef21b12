"""What goes wrong in a simulated run, and when.

Owns the kinds of fault. Every kind is done to a running rig by its public handles; what really happened is counted.
"""

import random
from collections.abc import Callable

from book.records import Reason
from book.wire.commands import ORDERBOOK
from tests.model.rig import Rig
from tests.model.venue import Sub, Wire

Fault = Callable[[Rig], bool]


def _books(rig: Rig) -> list[tuple[Wire, Sub]]:
    """Return the book subscriptions that stand and have shown a market."""
    return [
        (wire, sub)
        for link, wire in rig.venue.wires.items()
        if rig.up and wire.up and link in rig.session.links and wire.hold_ns < rig.agenda.now_ns
        for sub in wire.books()
        if sub.tickers and sub.seq > 2
    ]


def _one(rig: Rig) -> tuple[Wire, Sub] | None:
    found = _books(rig)
    return rig.rng.choice(found) if found else None


def _any(rig: Rig) -> tuple[Wire, Sub] | None:
    """Return a subscription, at times one that carries trades or lifecycle messages."""
    others = [
        (wire, sub)
        for link, wire in rig.venue.wires.items()
        if rig.up and wire.up and link in rig.session.links and wire.hold_ns < rig.agenda.now_ns
        for sub in wire.subs.values()
        if sub.channel != ORDERBOOK and sub.seq
    ]
    return rig.rng.choice(others) if others and rig.rng.random() < 0.25 else _one(rig)


def gap(rig: Rig) -> bool:
    found = _any(rig)
    if found is None:
        return False
    found[1].swallow += rig.rng.choice((1, rig.rng.randint(1, 40), rig.rng.randint(100, 2000)))
    rig.agenda.at(rig.agenda.now_ns + 600_000_000, setattr, found[1], "swallow", 0)
    return True


def repeat(rig: Rig) -> bool:
    """The last message once more, or one before it: a number that goes back."""
    found = _any(rig)
    return found is not None and rig.venue.repeat(*found, rig.rng.choice((0, 0, 0, 1, 5)))


def resubscribe(rig: Rig) -> bool:
    found = _any(rig)
    if found is None:
        return False
    rig.session.links[found[0].id].asks.leave(rig.agenda.now_ns, found[1].sid)
    return True


def reconnect(rig: Rig) -> bool:
    """The connection breaks at the venue; we notice up to half a second later."""
    found = _any(rig)
    if found is None:
        return False
    wire = found[0]
    wire.subs.clear()
    later_ns = rig.agenda.now_ns + rig.rng.randint(0, 500) * 1_000_000
    rig.agenda.at(later_ns, rig.end, wire.id, Reason.DISCONNECT, rig.rng.randint(5, 600))
    return True


def move(rig: Rig) -> bool:
    """A second connection takes every market over; the first one goes on for a while, at times with a gap in it."""
    found = _books(rig)
    if not found or len(found) > 3:
        return False
    wire, sub = rig.rng.choice(found)
    rig.connect(rig.slots[wire.id])
    if rig.rng.random() < 0.5:
        rig.agenda.at(rig.agenda.now_ns + rig.rng.randint(0, 90) * 1_000_000, _swallow, sub)
    later_ns = rig.agenda.now_ns + rig.rng.randint(50, 2500) * 1_000_000
    rig.agenda.at(later_ns, rig.end, wire.id, Reason.SHUTDOWN, None)
    return True


def _swallow(sub: Sub) -> None:
    sub.swallow += 3


def step(rig: Rig) -> bool:
    rig.wall_off_us += rig.rng.choice((-1, 1)) * rig.rng.randint(260_000, 2_500_000)
    return True


def drift(rig: Rig) -> bool:
    """A difference of less than a step: slewed, never seen."""
    away_us = rig.rng.choice((-1, 1)) * rig.rng.randint(1_000, 200_000)
    rig.wall_off_us = away_us if rig.shown.even else rig.wall_off_us + away_us
    return True


def _stall(seconds: float) -> Fault:
    def stall(rig: Rig) -> bool:
        found = _any(rig)
        if found is None:
            return False
        found[0].hold_ns = rig.agenda.now_ns + int(seconds * 1_000_000_000)
        return True

    return stall


def silent(rig: Rig) -> bool:
    found = _one(rig)
    if found is None:
        return False
    found[1].lose += 1
    return True


def negative(rig: Rig) -> bool:
    """Lose an increase: what takes it away again leads below zero."""
    found = _one(rig)
    if found is None:
        return False
    found[1].lose_increase += rig.rng.randint(1, 3)
    return True


def unsolicited(rig: Rig) -> bool:
    """The venue sends a whole book, at times right after a change that it lost, at times an empty one."""
    found = _one(rig)
    if found is None:
        return False
    wire, sub = found
    ticker = rig.rng.choice(sorted(sub.tickers))
    if ticker not in rig.venue.truth:
        return False
    levels = rig.venue.truth[ticker].levels()
    chance = rig.rng.random()
    if chance < 0.15:
        levels = []
    elif chance < 0.4:
        sub.lose += 1
        rig.agenda.at(rig.agenda.now_ns + 700_000_000, rig.venue.send_book, wire, sub, ticker, levels)
        return True
    rig.venue.send_book(wire, sub, ticker, levels)
    return True


def overflow(rig: Rig) -> bool:
    found = _any(rig)
    if found is None:
        return False
    rig.drop_next(found[0].id, rig.rng.randint(1, 40))
    return True


def crash(rig: Rig) -> bool:
    if not rig.up:
        return False
    if not rig.shown.even and rig.rng.random() < 0.3:  # an even clock is compared with the exchange's: it stays near
        rig.wall_off_us -= rig.rng.randint(0, 3_000_000)
    rig.crash(rig.rng.randint(50, 3000))
    return True


def channel_error(rig: Rig) -> bool:
    found = _any(rig)
    if found is None:
        return False
    rig.venue.channel_error(*found, rig.rng.choice((10, 25)))
    return True


def unreadable(rig: Rig) -> bool:
    found = _one(rig)
    if found is None:
        return False
    wire, sub = found
    which = rig.rng.choice(("named", "named", "nameless", "noise"))
    if which == "noise":
        rig.venue.noise(wire, b'{"type":')
    else:
        sub.garble = which
    return True


def late_ack(rig: Rig) -> bool:
    """The subscription's data overtakes its acknowledgement."""
    found = _books(rig)
    for wire in rig.venue.wires.values():
        wire.acks_late = True
    return bool(found) and rig.rng.choice((resubscribe, channel_error, move))(rig)


FAULTS: dict[str, tuple[Fault, int]] = {
    "gap": (gap, 700),
    "repeat": (repeat, 900),
    "resubscribe": (resubscribe, 1500),
    "reconnect": (reconnect, 1500),
    "move": (move, 2500),
    "step": (step, 2000),
    "drift": (drift, 1000),
    "stall_5": (_stall(5.0), 9000),
    "stall_20": (_stall(20.0), 25000),
    "silent": (silent, 1500),
    "negative": (negative, 1500),
    "unsolicited": (unsolicited, 700),
    "overflow": (overflow, 1500),
    "crash": (crash, 5000),
    "channel_error": (channel_error, 1500),
    "unreadable": (unreadable, 1000),
    "late_ack": (late_ack, 2000),
}
"""Each kind of fault and its mean distance in machine milliseconds when it comes alone."""


def schedule(rig: Rig, kinds: tuple[str, ...], from_ns: int, to_ns: int, rng: random.Random) -> None:
    """Let faults of these kinds happen from one moment of the run to another, at random."""
    for kind in kinds:
        fault, apart_ms = FAULTS[kind]
        apart_ms = apart_ms if len(kinds) == 1 else 2 * apart_ms + 1500 * min(len(kinds), 4)
        at_ns = from_ns + rng.randint(0, apart_ms) * 1_000_000
        while at_ns < to_ns:
            rig.agenda.at(at_ns, _do, rig, kind, fault)
            at_ns += rng.randint(apart_ms // 4, 2 * apart_ms) * 1_000_000


def _do(rig: Rig, kind: str, fault: Fault) -> None:
    if fault(rig):
        rig.happened[kind] += 1
