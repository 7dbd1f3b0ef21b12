"""A recording as a source: every frame, in order, with its content; listings, closes and results around it."""

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from book.ladder import Book
from book.wire import encode
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot, Trade
from exchange.capture import Capture
from exchange.config import ExchangeConfig
from exchange.errors import SourceError
from exchange.main import make_source
from exchange.steps import BookSet, Changed, Listed, Milestone, Step, Traded
from exchange.timeline import Timeline

A, B = "KXTEST-26AUG101800-00", "KXTEST-26AUG101815-15"
BASE_MS = 1_786_400_000_000


def line(recv_ms: int, frame: bytes) -> str:
    return f'{{"recv_ms":{recv_ms},"event":{frame.decode()}}}\n'


def metadata(ticker: str, event: str) -> dict[str, Any]:
    market = {
        "ticker": ticker, "event_ticker": event, "status": "finalized", "result": "yes", "title": "t",
        "open_time": "2026-08-10T22:13:00Z", "close_time": "2026-08-10T22:13:30Z", "settlement_value_dollars": "1.0000",
        "settlement_ts": "2026-08-10T22:13:31.5Z", "expiration_value": "4189.00",
        "price_level_structure": "linear_cent", "floor_strike": 4184.96, "created_time": "2026-08-08T17:08:55.574159Z",
    }  # fmt: skip
    body = {"event": {"event_ticker": event, "series_ticker": "KXTEST", "title": "Test"}, "markets": [market]}
    return {"fetched_at_ms": 1, "status": 200, "response": body}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two markets: A alone in its folder with metadata, compressed; B in a file of its own without metadata."""
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "a.json").write_text(json.dumps(metadata(A, "KXTEST-26AUG101800")))
    frames = [
        (BASE_MS + 10, encode.snapshot(1, 50, A, [(0, 4200, 100), (1, 5000, 150)], market_id="id-a")),
        (BASE_MS + 20, encode.delta(1, 53, A, 0, 4200, -100, (BASE_MS + 19) * 1000 + 7, market_id="id-a")),
        (BASE_MS + 20, encode.delta(1, 54, A, 1, 5000, 50, (BASE_MS + 25) * 1000, market_id="id-a")),
        (BASE_MS + 40, encode.snapshot(1, 90, A, [], market_id="id-a")),
    ]
    file = tmp_path / "events" / A / "2026-08-10.ndjson.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress("".join(line(*frame) for frame in frames).encode()))
    trade = encode.trade(
        2, 7, ticker=B, trade_id="x", yes_price_e4=4200, qty_e2=71, taker_side=1, block=None, ts_us=BASE_MS * 1000
    )
    others = [
        (BASE_MS + 15, encode.snapshot(1, 51, B, [(0, 100, 1)])),
        (BASE_MS + 20, trade),
        (BASE_MS + 21, b'{"type":"news","sid":1}'),
        (BASE_MS + 22, encode.ticker(
            3, ticker=B, price_e4=0, yes_bid_e4=0, yes_ask_e4=0, yes_bid_qty_e2=0, yes_ask_qty_e2=0,
            last_trade_qty_e2=0, volume_e2=0, open_interest_e2=0, ts_us=0,
        )),
    ]  # fmt: skip
    (tmp_path / "b.ndjson").write_text("".join(line(*frame) for frame in others))
    return tmp_path


def played(folder: Path, timeline: Timeline | None = None, *tickers: str) -> list[Step]:
    return list(Capture(folder, tickers).steps(timeline or Timeline()))


def test_files_are_merged_by_time_with_listings_and_results(folder: Path) -> None:
    steps = played(folder)
    rows = [(type(s).__name__, s.market.ticker if isinstance(s, Listed) else s.ticker, s.at_us) for s in steps]
    assert [(kind, ticker, at_us // 1000 - BASE_MS) for kind, ticker, at_us in rows] == [
        ("Listed", A, -20_000), ("BookSet", A, 10), ("Listed", B, 15), ("BookSet", B, 15), ("Traded", B, 20),
        ("Changed", A, 20), ("Changed", A, 20), ("BookSet", A, 40), ("Milestone", A, 10_000), ("Milestone", A, 11_500),
        ("Milestone", A, 11_500),
    ]  # fmt: skip
    assert steps[5] == Changed((BASE_MS + 20) * 1000, A, 0, 4200, -100, (BASE_MS + 19) * 1000 + 7)
    assert steps[4] == Traded((BASE_MS + 20) * 1000, B, "x", 4200, 71, 1, None, BASE_MS * 1000)


def test_a_market_is_listed_active_empty_and_without_its_result(folder: Path) -> None:
    listed = played(folder)[0]
    assert isinstance(listed, Listed)
    assert (listed.market.status, listed.market.result, listed.market.settlement_us, listed.levels) == (
        "active",
        "",
        None,
        (),
    )
    assert (listed.market_id, listed.announce, listed.market.floor_strike) == ("id-a", True, "4184.96")
    assert (listed.event.title, listed.series.ticker) == ("Test", "KXTEST")
    closed, determined, settled = played(folder)[-3:]
    assert isinstance(closed, Milestone)
    assert (closed.status, closed.message) == ("closed", None)
    assert isinstance(determined, Milestone)
    assert (determined.status, determined.result, determined.settlement_value_e4) == ("determined", "yes", 10_000)
    assert determined.message is not None
    assert determined.message["determination_ts"] == 1_786_400_011
    assert isinstance(settled, Milestone)
    assert (settled.status, settled.settlement_us) == ("finalized", (BASE_MS + 11_500) * 1000)


def test_without_a_rehearsal_clock_everything_moves_to_ten_seconds_from_now(folder: Path) -> None:
    now_us = 10**15
    config = ExchangeConfig(public_keys={"k": "p"}, source=str(folder), speed=2.0)
    steps = make_source(config, now_us).advance(2**62, 10**6)
    book = next(s for s in steps if isinstance(s, BookSet))
    assert book.at_us == now_us + 10_000_000
    change = next(s for s in steps if isinstance(s, Changed))
    assert (change.at_us, change.ts_us) == (now_us + 10_005_000, now_us + 10_004_503)
    listed = steps[0]
    assert isinstance(listed, Listed)
    assert listed.at_us == listed.market.open_us == now_us + 10_000_000 - 10_005_000
    assert isinstance(steps[-1], Milestone)
    assert steps[-1].settlement_us == now_us + 10_000_000 + 5_745_000


def test_some_markets_only(folder: Path) -> None:
    assert {getattr(s, "ticker", A) for s in played(folder, None, A)} == {A}
    assert {getattr(s, "ticker", B) for s in played(folder, None, B)} == {B}
    with pytest.raises(SourceError, match="no frame of KXNO-1"):
        Capture(folder, ("KXNO-1",))


def test_captures_that_cannot_be_played(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match=r"no \*\.ndjson"):
        Capture(empty)
    (folder / "b.ndjson").write_text("{}\n")
    with pytest.raises(SourceError, match=r"b\.ndjson:1"):
        Capture(folder)
    (folder / "b.ndjson").unlink()
    (folder / "metadata" / "a.json").write_text('{"response":{}}')
    with pytest.raises(SourceError, match=r"a\.json"):
        Capture(folder)


def recorded(path: Path) -> Iterator[tuple[int, Any]]:
    with gzip.open(path) as file:
        for text in file:
            row = json.loads(text)
            yield row["recv_ms"], decode(json.dumps(row["event"]))


def test_every_recorded_frame_of_a_real_market_in_order(capture_folder: Path) -> None:
    ticker = "KXGOLD15M-26AUG101800-00"
    steps = [s for s in played(capture_folder, None, ticker) if isinstance(s, BookSet | Changed | Traded)]
    [path] = (capture_folder / "events" / ticker).glob("*.gz")
    book = Book()
    for step, (recv_ms, message) in itertools.zip_longest(steps, recorded(path)):
        assert step is not None
        assert step.at_us == recv_ms * 1000
        if isinstance(message, Delta):
            expected: Step = Changed(
                step.at_us, ticker, message.side, message.price_e4, message.change_e2, message.ts_exch_us or 0
            )
            book.apply(message.side, message.price_e4, message.change_e2)
        elif isinstance(message, Snapshot):
            expected = BookSet(step.at_us, ticker, message.levels)
            book = Book(message.levels)
        else:
            assert isinstance(message, Trade)
            expected = Traded(
                step.at_us, ticker, message.trade_id, message.yes_price_e4, message.qty_e2, message.taker_side or 0,
                None, message.ts_exch_us or 0,
            )  # fmt: skip
        assert step == expected


def test_ten_recorded_markets_merge_in_order(capture_folder: Path) -> None:
    last_us, listed = 0, []
    for step in itertools.islice(Capture(capture_folder).steps(Timeline()), 60_000):
        assert step.at_us >= last_us
        last_us = step.at_us
        if isinstance(step, Listed):
            listed.append(step.market.ticker)
            assert step.at_us == step.market.open_us
    assert listed[:2] == ["KXGOLD15M-26AUG050800-00", "KXGOLD15M-26AUG071300-00"]
