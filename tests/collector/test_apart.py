"""Every sequence number stands in a table or is counted apart: each way that it can go."""

import random
from collections.abc import Callable

import pytest

from book.wire import encode
from tests.collector.intakes import BOOK, BOOKS, LIVES, TRADES, Bench, delta, life, snapshot, trade

Scene = Callable[[Bench], None]


@pytest.fixture
def bench() -> Bench:
    """Stand subscribed to A and B, both books known: seq 1 and 2."""
    bench = Bench()
    bench.put(snapshot(1, "A"), snapshot(2, "B"))
    return bench


def tabled(bench: Bench) -> dict[int, int]:
    """Return how many distinct numbers of each conn's sid stand in rows since the beginning."""
    tables = bench.spans.take()[0]
    found: dict[int, set[int]] = {}
    for table in ("orderbook", "audits"):
        batch = tables.get(table)
        rows = [] if batch is None else batch.to_pylist()
        for row in rows:
            if row.get("kind") not in (2, 3):
                found.setdefault(row["conn"], set()).add(row["seq"])
    for name in ("trades", "lifecycle"):
        for row in bench.table(name):
            if row["seq"] is not None:
                found.setdefault(row["conn"], set()).add(row["seq"])
    return {sid: len(found.get(bench.conn(sid).id, ())) for sid in (TRADES, LIVES, BOOKS)}


def unreadable(seq: int, ticker: str = "A") -> bytes:
    return delta(seq, ticker).replace(b"0.4500", b"0.45001")


def _overflow(bench: Bench) -> None:
    bench.conn().tracker.expect_any()
    bench.put(delta(9, "A"))


def _finished(bench: Bench) -> None:
    bench.put(life(1, "A", "determined", result="no"), snapshot(3, "A"), delta(4, "A"))


def _deleted(bench: Bench) -> None:
    bench.asks.drop("A")
    (command,) = bench.commands(0.1)
    bench.put(encode.ok(command.id, BOOKS, 3), delta(4, "A"))


def _left(bench: Bench) -> None:
    bench.asks.leave(bench.now_ns)
    (command,) = bench.commands()
    bench.put(encode.unsubscribed(command.id, BOOKS, 3))


CASES: list[tuple[str, Scene, int, int]] = [
    ("a change", lambda bench: bench.put(delta(3, "A")), BOOKS, 0),
    ("a change of an unknown book", lambda bench: bench.put(delta(3, "C")), BOOKS, 0),
    ("a change that cannot be", lambda bench: bench.put(delta(3, "A", -10_000)), BOOKS, 0),
    ("an equal book", lambda bench: bench.put(snapshot(3, "A")), BOOKS, 0),
    ("another book", lambda bench: bench.put(snapshot(3, "A", BOOK[:1])), BOOKS, 0),
    ("a book not asked for", lambda bench: bench.put(snapshot(3, "C")), BOOKS, 1),
    ("a book of a market that is over", _finished, BOOKS, 1),
    ("a deletion, and an orphan", _deleted, BOOKS, 1),
    ("an end", _left, BOOKS, 1),
    ("an error that ends", lambda bench: bench.put(encode.error(25, "over", sid=BOOKS, seq=3)), BOOKS, 1),
    ("an error that ends nothing", lambda bench: bench.put(encode.error(8, "no", sid=BOOKS, seq=3)), BOOKS, 1),
    ("an end after a gap", lambda bench: bench.put(encode.error(10, "over", sid=BOOKS, seq=7)), BOOKS, 5),
    ("an unreadable one", lambda bench: bench.put(unreadable(3)), BOOKS, 1),
    ("an unreadable one after a gap", lambda bench: bench.put(unreadable(5), delta(6, "A")), BOOKS, 3),
    ("a gap", lambda bench: bench.put(delta(7, "A"), delta(8, "B")), BOOKS, 4),
    ("a gap before a book", lambda bench: bench.put(snapshot(7, "A"), delta(8, "B")), BOOKS, 4),
    ("an overflow", _overflow, BOOKS, 6),
    ("a repetition", lambda bench: bench.put(delta(2, "A"), delta(3, "A")), BOOKS, 0),
    ("a number that goes back", lambda bench: bench.put(delta(3, "A"), delta(1, "A"), delta(4, "A")), BOOKS, 0),
    ("noise", lambda bench: bench.put(b'{"type":', delta(3, "A")), BOOKS, 0),
    ("trades", lambda bench: bench.put(trade(1), trade(2), trade(5)), TRADES, 2),
    ("trades without a number", lambda bench: bench.put(trade(None), trade(1)), TRADES, 0),
    ("a trade to be read slowly", lambda bench: bench.put(trade(1).replace(b'"no_price', b'"nope')), TRADES, 0),
    ("a life", lambda bench: bench.put(life(1, "A", "activated"), life(2, "Z", "created")), LIVES, 0),
    ("an unknown type", lambda bench: bench.put(b'{"type":"news","sid":2,"seq":1,"msg":{}}'), LIVES, 1),
]  # fmt: skip


@pytest.mark.parametrize(("scene", "sid", "apart"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_leaves_no_row_is_counted_and_nothing_else(bench: Bench, scene: Scene, sid: int, apart: int) -> None:
    scene(bench)
    assert bench.conn(sid).apart == apart
    counts = tabled(bench)
    for one in (TRADES, LIVES, BOOKS):
        assert counts[one] + bench.conn(one).apart == bench.conn(one).tracker.last
    assert bench.conn(sid).tracker.last > (2 if sid == BOOKS else 0)


def test_what_overtook_its_acknowledgement_is_counted_like_the_rest() -> None:
    bench = Bench(subscribe=False)
    for command, sid in zip(bench.commands(), (TRADES, LIVES), strict=True):
        bench.put(encode.subscribed(command.id, command.channels[0], sid))
    bench.asks.want(("A", "B"))
    (command,) = bench.commands(0.1)
    bench.put(snapshot(1, "A"), delta(2, "A"), snapshot(3, "C"), delta(5, "A"))
    bench.put(encode.subscribed(command.id, "orderbook_delta", BOOKS))
    assert (bench.conn().tracker.last, bench.conn().apart) == (5, 2)
    assert tabled(bench)[BOOKS] == 3


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_adds_up(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench()
    bench.put(snapshot(1, "A"), snapshot(2, "B"))
    seq = {TRADES: 0, LIVES: 0, BOOKS: 2}
    for _ in range(40):
        frames = []
        for _ in range(rng.randint(1, 12)):
            sid = rng.choice((TRADES, LIVES, BOOKS, BOOKS, BOOKS))
            seq[sid] = max(1, seq[sid] + rng.choice((1, 1, 1, 1, 1, 1, 1, 2, 9, 0, -3)))
            ticker = rng.choice("AABBC")
            frames.append(
                trade(seq[sid]) if sid == TRADES
                else life(seq[sid], ticker, "activated") if sid == LIVES
                else rng.choice((
                    delta(seq[sid], ticker), delta(seq[sid], ticker), delta(seq[sid], ticker, -60),
                    snapshot(seq[sid], ticker), snapshot(seq[sid], ticker, BOOK[:1]), unreadable(seq[sid], ticker),
                    encode.ok(None, BOOKS, seq[sid]), encode.error(8, "no", sid=BOOKS, seq=seq[sid]),
                ))
            )  # fmt: skip
        bench.put(*frames)
        if rng.random() < 0.1:
            bench.conn().tracker.expect_any()
    counts = tabled(bench)
    for sid in seq:
        assert counts[sid] + bench.conn(sid).apart == bench.conn(sid).tracker.last
        assert bench.conn(sid).apart > 0
