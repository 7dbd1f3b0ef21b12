"""The venue's format both ways: round trips, legacy forms, recorded frames, nothing finer than the unit."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.errors import FrameError
from book.wire import encode
from book.wire.batch import NO_TIME_US, decode_batch
from book.wire.decode import decode
from book.wire.messages import Delta, Lifecycle, Ok, Snapshot, Subscribed, Ticker, Trade, Unsubscribed, VenueError

T = "KXBTCD-26NOV2417-T94749.99"
levels = st.dictionaries(
    st.tuples(st.sampled_from([0, 1]), st.integers(0, 10_000)), st.integers(1, 10**10), max_size=20
).map(lambda found: sorted((s, p, q) for (s, p), q in found.items()))


@given(levels, st.booleans(), st.sampled_from([None, 7]))
def test_snapshot_round_trip(rows: list[tuple[int, int, int]], yes_price: bool, command: int | None) -> None:
    frame = encode.snapshot(3, 9, T, rows, command_id=command, use_yes_price=yes_price)
    assert decode(frame, use_yes_price=yes_price) == Snapshot(3, 9, T, tuple(rows), "", command)


@given(st.integers(0, 1), st.integers(0, 10_000), st.integers(-(10**10), 10**10), st.integers(0, 2**51), st.booleans())
def test_delta_round_trip(side: int, price_e4: int, change_e2: int, ts_us: int, yes_price: bool) -> None:
    frame = encode.delta(1, 2, T, side, price_e4, change_e2, ts_us, use_yes_price=yes_price)
    told = decode(frame, use_yes_price=yes_price)
    assert told == Delta(1, 2, T, side, price_e4, change_e2, ts_us)
    columns = decode_batch([frame], use_yes_price=yes_price).deltas
    assert [column[0] for column in columns] == [0, 1, 2, T, side, price_e4, change_e2, ts_us]


@given(st.integers(0, 1), st.integers(0, 100), st.integers(-1000, 1000))
def test_legacy_delta_and_snapshot(side: int, cents: int, contracts: int) -> None:
    frame = encode.delta(1, 2, T, side, cents * 100, contracts * 100, 5_000_000, legacy=True)
    assert decode(frame) == Delta(1, 2, T, side, cents * 100, contracts * 100, 5_000_000)
    rows = [(side, cents * 100, (abs(contracts) + 1) * 100)]
    assert decode(encode.snapshot(1, 1, T, rows, legacy=True)).levels == tuple(rows)


@pytest.mark.parametrize("legacy", [False, True])
def test_trade_round_trip(legacy: bool) -> None:
    frame = encode.trade(
        2, 41, ticker=T, trade_id="x", yes_price_e4=4400, qty_e2=1200, taker_side=1, block=False, ts_us=3_000_000,
        legacy=legacy,
    )  # fmt: skip
    assert decode(frame) == Trade(2, 41, T, "x", 4400, 1200, 1, None if legacy else False, 3_000_000)


def test_control_messages() -> None:
    assert decode(encode.subscribed(1, "trade", 2)) == Subscribed(1, "trade", 2)
    assert decode(encode.ok(2, 1, 318, ["A", "B"])) == Ok(2, 1, 318, ("A", "B"), None)
    assert decode(encode.ok(2, 1, 318)) == Ok(2, 1, 318, None, None)
    assert decode(encode.ok_list(6, [("trade", 2)])) == Ok(6, None, None, None, (("trade", 2),))
    assert decode(encode.unsubscribed(5, 1, 907)) == Unsubscribed(5, 1, 907)
    assert decode(encode.error(25, "x", sid=1, seq=4)) == VenueError(None, 1, 4, 25, "x", ())
    assert decode(b'{"id":2,"type":"ok","sid":1,"seq":3,"market_tickers":["A"]}').tickers == ("A",)
    assert decode(b'{"id":2,"type":"subscribed"}') == Subscribed(2, None, None)


FINER = ["0.45001", "0.4500000000000000001", "1.0001", "-0.0100", "abc", ""]


@pytest.mark.parametrize("price", FINER)
def test_nothing_finer_than_the_unit_passes_the_decoder(price: str) -> None:
    body = {"market_ticker": T, "price_dollars": price, "delta_fp": "1.00", "side": "yes", "ts_ms": 1795551303662}
    frame = msgspec.json.encode({"type": "orderbook_delta", "sid": 1, "seq": 2, "msg": body})
    good = encode.delta(1, 3, T, 0, 100, 100, 0)
    with pytest.raises(FrameError) as caught:
        decode(frame)
    assert (caught.value.sid, caught.value.seq, caught.value.ticker) == (1, 2, T)
    batch = decode_batch([good, frame, good])
    assert len(batch.deltas.seq) == 0
    assert [type(message) for _, message in batch.others] == [Delta, FrameError, Delta]


@pytest.mark.parametrize("size", ["1.001", "0.009999", "1e400", "99999999999999999999"])
def test_no_finer_size_passes(size: str) -> None:
    body = {"market_ticker": T, "price_dollars": "0.5", "delta_fp": size, "side": "yes"}
    frame = msgspec.json.encode({"type": "orderbook_delta", "sid": 1, "seq": 2, "msg": body})
    with pytest.raises(FrameError):
        decode(frame)
    assert isinstance(decode_batch([frame]).others[0][1], FrameError)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"[]", b"\xff", b"{", b"1", b'{"type":"new_thing","sid":1,"seq":7}', b'{"type":3}',
        b'{"type":"orderbook_delta","sid":1,"seq":7,"msg":{"market_ticker":"A"}}',
        b'{"type":"orderbook_delta","sid":true,"seq":7,"msg":{}}',
        b'{"type":"orderbook_snapshot","sid":1,"seq":7,"msg":{"market_ticker":"A","yes":[[1,2],[1,3]]}}',
        b'{"type":"orderbook_snapshot","sid":1,"seq":7,"msg":{"market_ticker":"A","yes":[[1,-2]]}}',
        b'{"type":"orderbook_snapshot","sid":1,"seq":7,"msg":{"market_ticker":"A","yes":[1]}}',
        b'{"type":"trade","sid":1,"msg":{"market_ticker":"A","trade_id":"t","count":1,"yes_price":40,"no_price":40}}',
    ],
)  # fmt: skip
def test_unreadable_frames_are_named_and_never_raise_anything_else(frame: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        decode(frame)
    assert caught.value.error
    assert isinstance(decode_batch([frame]).others[0][1], FrameError)


@given(st.binary(max_size=60) | st.from_regex(r'\{"type":"[a-z_]{0,20}","sid":1,"msg":\{.{0,30}\}\}').map(str.encode))
def test_any_bytes_decode_or_are_named(frame: bytes) -> None:
    batch = decode_batch([frame])
    assert len(batch.others) + len(batch.deltas.seq) == 1


def test_times_of_every_form() -> None:
    def told(**times: object) -> int:
        body = {"market_ticker": T, "price_dollars": "0.5", "delta_fp": "1.00", "side": "no", **times}
        frame = msgspec.json.encode({"type": "orderbook_delta", "sid": 1, "seq": 2, "msg": body})
        one, many = decode(frame).ts_exch_us, int(decode_batch([frame]).deltas.ts_exch_us[0])
        assert one == (None if many == NO_TIME_US else many)
        return one

    assert told(ts="2026-11-24T20:15:03.662364Z", ts_ms=1) == 1_795_551_303_662_364
    assert told(ts="2026-11-24T20:15:03.66236Z") == 1_795_551_303_662_360
    assert told(ts="2026-11-24T20:15:03Z") == 1_795_551_303_000_000
    assert told(ts="2026-11-24T20:15:03.123456789Z") == 1_795_551_303_123_456
    assert told(ts="2026-11-24T15:15:03.5-05:00") == 1_795_551_303_500_000
    assert told(ts=1795551303) == told(ts=1795551303000) == told(ts_ms=1795551303000) == 1_795_551_303_000_000
    assert told(ts=1795551303, ts_ms=1795551303662) == 1_795_551_303_662_000
    assert told() is None


def test_recorded_single_frames(recorded_data: Path | None) -> None:
    if recorded_data is None:
        pytest.skip("no recorded frames here")
    kinds = set()
    for line in (recorded_data / "wire-frames.jsonl").read_text().splitlines():
        frame = json.dumps(json.loads(line)["frame"]).encode()
        message = decode(frame)
        kinds.add(type(message))
        assert decode_batch([frame]).others in ([(0, message)], [])
    assert kinds == {Subscribed, Snapshot, Delta, Ticker, VenueError, Lifecycle, Trade}
    for name, kind in (("ticker", Ticker), ("trade", Trade)):
        for line in (recorded_data / f"{name}-frames-2026-02.jsonl").read_bytes().splitlines():
            assert type(decode(line)) is kind


def test_every_recorded_book_and_trade_frame(recorded_data: Path | None) -> None:
    """Both readers agree on every frame of the capture, against a reading by plain json and Decimal-free arithmetic."""
    if recorded_data is None:
        pytest.skip("no recorded frames here")
    total = 0
    for path in sorted((recorded_data / "kalshi-gold15m" / "events").glob("*/*.ndjson.gz"))[:3]:
        with gzip.open(path) as lines:
            events = [json.loads(line)["event"] for line in lines]
        frames = [json.dumps(event).encode() for event in events]
        batch = decode_batch(frames)
        assert not [message for _, message in batch.others if isinstance(message, FrameError)]
        assert {type(message) for _, message in batch.others} <= {Snapshot, Trade}
        deltas = [event for event in events if event["type"] == "orderbook_delta"]
        assert batch.deltas.seq.tolist() == [event["seq"] for event in deltas]
        assert batch.deltas.price_e4.tolist() == [int(e["msg"]["price_dollars"].replace(".", "")) for e in deltas]
        assert batch.deltas.change_e2.tolist() == [int(e["msg"]["delta_fp"].replace(".", "")) for e in deltas]
        assert (batch.deltas.ts_exch_us // 1000).tolist() == [event["msg"]["ts_ms"] for event in deltas]
        total += len(events)
    assert total > 100_000
