"""Frames that were recorded from the venue, of all types and eras: a row, a control effect that is counted, or kept."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TICKER, TRADE
from tests.collector.sessions import Bench

CHANNELS = {
    "orderbook_snapshot": ORDERBOOK,
    "orderbook_delta": ORDERBOOK,
    "trade": TRADE,
    "ticker": TICKER,
    "market_lifecycle_v2": LIFECYCLE,
}
FILES = {"wire-frames.jsonl": 21, "ticker-frames-2026-02.jsonl": 10, "trade-frames-2026-02.jsonl": 10}
TABLED = ("orderbook", "audits", "trades", "tickers", "lifecycle", "quarantine")


def frames_of(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [one.get("frame", one) for one in found]


def fate(frame: dict[str, Any]) -> tuple[str, dict[str, int]]:
    """Feed one frame, as it is, to a session with a fitting subscription; return its kind and what became of it."""
    bench = Bench()
    bench.open()
    sid, channel = frame.get("sid"), CHANNELS.get(frame["type"])
    link = bench.session.links[1]
    bench.feed()
    if sid is not None and channel is not None:
        link.conns.pop(sid, None)
        bench.frame(encode.subscribed(900, channel, sid))
    ticker = frame.get("msg", {}).get("market_ticker")
    if ticker is not None:
        link.asks.roster.added.add(ticker)
    bench.take()
    conn = link.conns.get(sid or 0)
    if conn is not None and frame.get("seq") is not None:
        conn.tracker.last = frame["seq"] - 1
    if frame["type"] == "orderbook_delta":
        bench.frame(encode.snapshot(sid or 0, frame["seq"] - 1, ticker, ((0, 1000, 100_000),)))
        conn.tracker.last -= 1 if conn is not None else 0
        bench.take()
    before = bench.session.figures()
    bench.frame(json.dumps(frame, separators=(",", ":")).encode())
    taken = bench.take()
    after = bench.session.figures()
    counted = Counter(after.messages)
    counted.subtract(before.messages)
    rows = {
        name: len({*zip(batch["conn"].to_pylist(), batch["seq"].to_pylist(), strict=True)})
        if name == "orderbook"
        else batch.num_rows
        for name, batch in taken.tables.items()
        if name in TABLED
    }
    kinds = [kind for kind, count in counted.items() if count]
    assert len(kinds) == 1
    assert counted[kinds[0]] == 1
    return kinds[0], rows


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_frame_is_a_row_or_counted(name: str, recorded_data: Path | None) -> None:
    if recorded_data is None:
        pytest.skip("no recorded frames here; tests/book reads frames of every form written by hand")
    frames = frames_of(recorded_data / name)
    assert len(frames) == FILES[name]
    fates = [fate(frame) for frame in frames]
    for frame, (kind, rows) in zip(frames, fates, strict=True):
        if kind in ("subscribed", "error", "ok", "unsubscribed"):
            assert rows == {}, frame
        else:
            assert sum(rows.values()) == 1, (frame, kind, rows)
    assert "quarantined" not in [kind for kind, _ in fates]


@pytest.mark.parametrize("sid", [None, 3, 77])
def test_a_message_of_an_unknown_type_is_kept(sid: int | None) -> None:
    bench = Bench()
    bench.open()
    bench.record("A")
    bench.take()
    frame = {"type": "something_new", "msg": {"market_ticker": "A"}} | ({"sid": sid} if sid else {})
    bench.frame(json.dumps(frame).encode())
    taken = bench.take()
    assert taken.tables["quarantine"]["bytes"].to_pylist() == [json.dumps(frame).encode()]
    assert bench.session.figures().messages["quarantined"] == 1
