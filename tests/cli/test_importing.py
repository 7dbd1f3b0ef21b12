"""A capture becomes hours of the lake: the books are those of its lines, and where it says nothing a gap is."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import importing
from lake.publishing.publish import publish_hours
from lake.verify import verify
from query.point import book_at
from tests.cli.captures import H0_MS, HOUR_MS, Imported, book_of, fold
from tests.query.conftest import Journal

A, B = "KXT-A", "KXT-B"
H0 = H0_MS // HOUR_MS
KNOWN = [(0, 4500, 1000)]
GOLD = "KXGOLD15M-26AUG050800-00"


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    return Imported(tmp_path)


def proved(imported: Imported) -> None:
    report = verify(imported.settings.lake_root, imported.settings.home, None, lambda _: None)
    assert report.doubts == []
    assert report.proved


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# what is published


def test_the_recorded_day_answers_as_its_lines_do(imported: Imported, recorded_data: Path | None) -> None:
    if recorded_data is None:
        pytest.skip("the recorded frames are not there: KALSHIBOOK_TEST_DATA names no folder with kalshi-gold15m")
    capture = recorded_data / "kalshi-gold15m"
    assert imported.run(GOLD, capture=capture) == 0
    assert not [line for line in imported.said if "another market" in line]
    hours = imported.shelf.hours()
    assert len(hours) == 2
    times, books = fold(sorted((capture / "events" / GOLD).glob("*.gz")), GOLD)
    rng = random.Random(5)
    for number in range(300):
        at_us = rng.randrange(times[0], times[-1] + 1) if number % 2 else rng.choice(times) + rng.choice((-1, 0, 1))
        at_us = min(max(at_us, times[0]), times[-1])
        assert book_at(imported.log, GOLD, at_us).book.levels() == book_of(times, books, at_us)
    proved(imported)
    (close,) = [row for row in imported.rows("orderbook") if row["reason"] is not None]
    assert (close["reason"], round(close["ts_recv"].timestamp() * 1e6)) == ("shutdown", times[-1] + 1)

    first, last = imported.rows("markets")
    assert round(first["valid_from"].timestamp() * 1e6) == times[0]
    assert (first["status"], first["result"], first["settled_time"]) == ("active", None, None)
    assert not {"result", "settlement_ts", "last_price_dollars"} & json.loads(first["record"]).keys()
    assert last["valid_from"] == last["settled_time"] == datetime(2026, 8, 5, 12, 0, 10, 878_759, UTC)
    assert (last["status"], last["result"]) == ("finalized", "yes")
    assert [row["event_ticker"] for row in imported.rows("events")] == ["KXGOLD15M-26AUG050800"]
    assert [row["series_ticker"] for row in imported.rows("series")] == ["KXGOLD15M"]
    assert len(imported.rows("trades")) == 399

    before = files(imported.settings.lake_root)
    imported.said.clear()
    assert imported.run(GOLD, capture=capture) == 0
    assert files(imported.settings.lake_root) == before
    assert [line for line in imported.said if line.startswith("unchanged")] == imported.said[-2:]


def test_books_of_many_markets_over_hours_and_files_are_those_of_the_lines(imported: Imported) -> None:
    """Small steps, equal times in several files, fractions and sub-cent prices, an hour's first instant."""
    rng = random.Random(4)
    names = [f"KXT-{number}" for number in range(6)]
    recorders = [imported.recorder(f"events/{name}/day.ndjson.gz") for name in names]
    books: dict[str, dict[str, int]] = {name: {} for name in names}
    ms = HOUR_MS - 40_000
    for number in range(2_000):
        ms += rng.choice((0, 0, 1, 7, 90))
        at_ms = HOUR_MS if number == 700 else ms
        ms = max(ms, at_ms)
        place = rng.randrange(len(names))
        name, recorder = names[place], recorders[place]
        book = books[name]
        if number < 12 or rng.random() < 0.01:
            if not recorder.lines:
                book.update({"0.4500": 1000, "0.0010": 37})
            sides = " ".join(f"{price}:{size / 100:.2f}" for price, size in book.items())
            recorder.book(ms, name, sides)
        elif recorder.lines:
            price = rng.choice(("0.4500", "0.3300", "0.0010", "0.9950"))
            size = max(0, book.get(price, 0) + rng.randint(-400, 500))
            change, book[price] = size - book.get(price, 0), size
            if change:
                recorder.delta(ms, name, f"{change / 100:.2f}", price)
            if not size:
                del book[price]
        if rng.random() < 0.1 and recorder.lines:
            recorder.trade(ms, name, f"t{number}")
    for recorder in recorders:
        recorder.write()
    assert imported.run() == 0
    assert imported.shelf.hours() == [H0, H0 + 1]
    proved(imported)
    for name, recorder in zip(names, recorders, strict=True):
        times, told = fold([recorder.path], name)
        end_ms = recorder.lines[-1]["recv_ms"] - H0_MS
        for at_us in sorted({*rng.sample(times, 25), times[0], times[-1], times[-1] - 1}):
            assert imported.ask(name, (at_us - 1000 * H0_MS) / 1000) == book_of(times, told, at_us)
        assert imported.ask(name, end_ms + 0.001) == ("data_gap", "shutdown", end_ms + 0.001)
    trades = sum(line["event"]["type"] == "trade" for recorder in recorders for line in recorder.lines)
    assert len(imported.rows("trades")) == trades
    assert {row["shard"] for hour in (H0, H0 + 1) for row in imported.shelf.standing_rows(hour).to_pylist()} == {
        1000,
        None,
    }
    reasons = {row["reason"] for hour in (H0, H0 + 1) for row in imported.shelf.standing_rows(hour).to_pylist()}
    assert reasons == {"import"}


def test_named_markets_alone_are_taken(imported: Imported) -> None:
    imported.recorder().book(10, A, "0.4500:10").book(11, B, "0.4500:20").delta(12, A, "1").delta(13, B, "1").write()
    assert imported.run(B) == 0
    assert imported.ask(B, 13) == [(0, 4500, 2100)]
    assert imported.ask(A, 13)[0] == "market_not_found"
    assert {row["ticker"] for row in imported.rows("orderbook")} == {B}


def test_nothing_of_the_way_is_left_behind(imported: Imported) -> None:
    imported.recorder().book(10, A, "0.4500:10").write()
    assert imported.run() == 0
    assert [path.name for path in imported.settings.home.iterdir()] == ["lake"]


def test_an_import_that_was_interrupted_goes_on_when_it_is_run_again(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = imported.recorder()
    for hour in range(3):
        one.book(hour * HOUR_MS + 10, A, "0.4500:10").delta(hour * HOUR_MS + 20, A, "1", seq=9 * hour + 9)
    one.write()
    real = importing.publish_settled

    def mortal(*args: Any, **more: Any) -> Any:
        if imported.shelf.hours():
            raise KeyboardInterrupt
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(importing, "publish_settled", mortal)
        with pytest.raises(KeyboardInterrupt):
            imported.run()
    assert imported.shelf.hours() == [H0]
    assert [path.name for path in imported.settings.home.iterdir()] == ["lake"]
    imported.said.clear()
    assert imported.run() == 0
    assert [line.split()[0] for line in imported.said[-3:]] == ["unchanged", "published", "published"]
    assert imported.shelf.hours() == [H0, H0 + 1, H0 + 2]
    assert imported.ask(A, 2 * HOUR_MS + 10) == KNOWN
    proved(imported)


# where the capture says nothing


def test_a_subscription_begun_anew_is_a_gap_from_the_last_line_to_its_book(imported: Imported) -> None:
    one = imported.recorder()
    one.book(10, A, "0.4500:10", seq=50).book(11, B, "0.4500:20").delta(500, B, "1")
    one.book(4000, B, "0.4500:33", seq=1).delta(4001, A, "5", seq=2).book(4002, A, "0.4500:44").write()
    assert imported.run() == 0
    assert imported.ask(A, 500) == KNOWN
    for ms in (500.001, 4000, 4001):
        assert imported.ask(A, ms) == ("data_gap", "disconnect", 500.001)
    assert imported.ask(A, 4002) == [(0, 4500, 4400)]
    assert imported.ask(B, 500) == [(0, 4500, 2100)]
    assert imported.ask(B, 500.001) == ("data_gap", "disconnect", 500.001)
    assert imported.ask(B, 4000) == [(0, 4500, 3300)]
    proved(imported)


def test_a_hole_in_a_whole_file_is_a_loss_and_in_a_cut_one_it_is_not(imported: Imported) -> None:
    whole, cut = imported.recorder("whole.ndjson"), imported.recorder("cut.ndjson")
    whole.book(10, A, "0.4500:10")
    cut.book(10, B, "0.4500:10")
    for number in range(150):
        whole.delta(20 + number, A, "1")
        cut.delta(20 + number, B, "1", seq=cut.seqs[1] + 1 + number % 2)
    whole.delta(300, A, "1", seq=whole.seqs[1] + 2).delta(310, A, "1").book(400, A, "0.4500:7").write()
    cut.delta(400, B, "1").write()
    assert imported.run() == 0
    assert imported.ask(A, 169) == [(0, 4500, 1000 + 15_000)]
    assert imported.ask(A, 169.001) == imported.ask(A, 310) == ("data_gap", "seq_gap", 169.001)
    assert imported.ask(A, 400) == [(0, 4500, 700)]
    assert imported.ask(B, 400) == [(0, 4500, 1000 + 15_100)]


def test_a_line_received_twice_counts_once(imported: Imported) -> None:
    one = imported.recorder().book(10, A, "0.4500:10").delta(20, A, "1").delta(20, A, "1", seq=2)
    one.trade(30, A, "t").write()
    assert imported.run() == 0
    assert imported.ask(A, 30) == [(0, 4500, 1100)]
    assert "left out  1 lines: received twice" in imported.said


def test_another_book_than_ours_withdraws_back_to_the_last_that_was_equal(imported: Imported) -> None:
    one = imported.recorder().book(10, A, "0.4500:10").delta(20, A, "1").book(30, A, "0.4500:11")
    one.delta(40, A, "1").book(50, A, "0.4500:99").write()
    assert imported.run() == 0
    assert imported.ask(A, 30) == [(0, 4500, 1100)]
    assert imported.ask(A, 40) == ("data_gap", "audit_mismatch", 30.001)
    assert imported.ask(A, 50) == [(0, 4500, 9900)]
    assert [row["equal"] for row in imported.rows("audits")] == [True, False]


@pytest.mark.parametrize(
    ("kind", "msg", "reason"),
    [
        ("orderbook_delta", {"market_ticker": A, "price_dollars": "0.45001", "delta_fp": "1", "side": "yes"}, None),
        ("orderbook_delta", {"price_dollars": "0.4500", "delta_fp": "1", "side": "yes"}, "unrepresentable"),
        ("orderbook_delta", 7, "unrepresentable"),
        (None, {}, "unrepresentable"),
        ("error", {"code": 25, "msg": "Subscription buffer overflow"}, "channel_error"),
        ("unsubscribed", {}, "channel_error"),
    ],
)
def test_a_line_that_cannot_be_read_costs_what_it_may_have_changed(
    imported: Imported, kind: Any, msg: Any, reason: str | None
) -> None:
    """With a market's name it is that market's alone; without one, every book of the file."""
    other = imported.recorder("other.ndjson").book(10, "KXT-C", "0.4500:1").delta(400, "KXT-C", "1")
    other.write()
    one = imported.recorder().book(10, A, "0.4500:10").book(11, B, "0.4500:20").say(100, kind, msg, sid=1)
    one.delta(200, B, "1").delta(300, A, "1").write()
    assert imported.run() == 0
    assert imported.ask("KXT-C", 300) == [(0, 4500, 100)]
    if reason is None:
        assert imported.ask(A, 300) == ("data_gap", "unrepresentable", 10.001)
        assert imported.ask(B, 300) == [(0, 4500, 2100)]
        assert len(imported.rows("quarantine")) == 1
    else:
        assert imported.ask(A, 300) == imported.ask(B, 200) == ("data_gap", reason, 11.001)
    proved(imported)


def test_a_long_pause_is_a_silence_and_hours_without_a_line_say_so(imported: Imported) -> None:
    end_ms = 3 * HOUR_MS + 20
    imported.recorder().book(10, A, "0.4500:10").delta(10_000, A, "1").delta(end_ms, A, "1").write()
    assert imported.run() == 0
    assert imported.shelf.hours() == [H0, H0 + 1, H0 + 2, H0 + 3]
    assert imported.ask(A, 5_000) == KNOWN, "a pause within the watchdog's time is none"
    for ms in (10_000.001, HOUR_MS, 2.5 * HOUR_MS, end_ms - 0.001):
        assert imported.ask(A, ms)[:2] == ("data_gap", "stall")
    assert imported.ask(A, end_ms) == [(0, 4500, 1200)]
    proved(imported)


def test_after_days_without_a_line_the_books_are_given_up(imported: Imported) -> None:
    later_ms = 60 * HOUR_MS
    one = imported.recorder().book(10, A, "0.4500:10").delta(later_ms, A, "1").book(later_ms + 10, A, "0.4500:5")
    one.write()
    assert imported.run() == 0
    assert imported.shelf.hours() == [H0, H0 + 60]
    assert imported.ask(A, 10) == KNOWN
    assert imported.closes()[0] == (A, "stall", 10.001)
    assert imported.ask(A, later_ms + 5)[0] == "data_gap"
    assert imported.ask(A, later_ms + 10) == [(0, 4500, 500)]
    proved(imported)


def test_a_markets_book_is_known_to_the_end_of_its_file_not_of_the_capture(imported: Imported) -> None:
    imported.recorder("a.ndjson").book(10, A, "0.4500:10").trade(900, A, "t").write()
    imported.recorder("b.ndjson").book(20, B, "0.4500:10").delta(5_000, B, "1").write()
    assert imported.run() == 0
    assert imported.ask(A, 900) == KNOWN
    assert imported.ask(A, 900.001) == ("data_gap", "shutdown", 900.001)
    assert imported.closes() == [(A, "shutdown", 900.001), (B, "shutdown", 5_000.001)]


def test_a_file_that_goes_on_where_another_ended_is_the_same_record(imported: Imported) -> None:
    first = imported.recorder("1.ndjson").book(10, A, "0.4500:10").book(11, B, "0.4500:10").delta(900, B, "1")
    second = imported.recorder("2.ndjson")
    second.seqs = first.seqs.copy()
    second.delta(2_000, A, "1").book(2_001, B, "0.4500:11").delta(2_002, A, "1")
    first.write()
    second.write()
    assert imported.run() == 0
    assert imported.ask(A, 1_500) == KNOWN
    assert imported.ask(A, 2_002) == [(0, 4500, 1200)]
    assert imported.ask(B, 1_500) == ("data_gap", "shutdown", 900.001)
    assert imported.ask(B, 2_001) == [(0, 4500, 1100)]


def test_a_market_that_ends_with_an_empty_book_has_closed_there(imported: Imported) -> None:
    imported.recorder().book(10, A, "0.4500:10").delta(20, A, "1").book(30, A).book(31, A).delta(40, B, "1").write()
    assert imported.run() == 0
    assert imported.ask(A, 29) == [(0, 4500, 1100)]
    assert imported.ask(A, 30) == imported.ask(A, 40) == []


# what is refused


def test_an_hour_that_is_recorded_here_is_refused_and_nothing_is_published(
    imported: Imported, capsys: pytest.CaptureFixture[str]
) -> None:
    imported.recorder().book(10, A, "0.4500:10").delta(HOUR_MS, A, "1").write()
    home = imported.settings.home
    log = Journal(home)
    log.snapshot(B, 1000 * (H0_MS + HOUR_MS) + 1, 1024, 1, [(0, 4500, 100)])
    log.heard(1024, 1000 * (H0_MS + HOUR_MS) + 5, 1)
    log.flush()
    day = datetime.fromtimestamp((H0_MS + HOUR_MS) // 1000, UTC)
    for state in ("is recorded here", "is recorded here"):
        assert imported.run() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"kalshibook: hour {day:%Y-%m-%dT%H} {state}; ")
        assert "KALSHIBOOK_LAKE" in line
        assert imported.shelf.hours() in ([], [H0 + 1])
        publish_hours(imported.settings.lake_root, home, [H0 + 1], now_us=lambda: 1000 * (H0_MS + 9 * HOUR_MS))


def test_an_hour_published_by_a_recorder_elsewhere_is_refused(
    imported: Imported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported.recorder().book(10, A, "0.4500:10").write()
    log = Journal(tmp_path / "other")
    log.snapshot(B, 1000 * H0_MS + 1, 1024, 1, [(0, 4500, 100)])
    log.heard(1024, 1000 * H0_MS + 5, 1)
    log.flush()
    now_us = 1000 * (H0_MS + 9 * HOUR_MS)
    publish_hours(imported.settings.lake_root, tmp_path / "other", [H0], now_us=lambda: now_us)
    before = files(imported.settings.lake_root)
    assert imported.run() == 2
    assert "is published already, from what was recorded" in capsys.readouterr().err
    assert files(imported.settings.lake_root) == before


def test_an_hour_imported_from_other_lines_is_refused(imported: Imported, capsys: pytest.CaptureFixture[str]) -> None:
    one = imported.recorder().book(10, A, "0.4500:10")
    one.write()
    assert imported.run() == 0
    before = files(imported.settings.lake_root)
    one.delta(20, A, "1").write()
    assert imported.run() == 2
    assert "it is published with other rows" in capsys.readouterr().err
    assert files(imported.settings.lake_root) == before


def test_an_hour_that_is_not_over_is_refused(imported: Imported, capsys: pytest.CaptureFixture[str]) -> None:
    now_ms = imported.settings.clock.now_us() // 1000 - H0_MS
    imported.recorder().book(now_ms, A, "0.4500:10").write()
    assert imported.run() == 2
    assert "is not over yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no frame of a market in it"),
        ('{"recv_ms":1', "day.ndjson:1"),
        ('{"event":{}}', "day.ndjson:1"),
        ('{"recv_ms":1785930336512000,"event":{}}', "day.ndjson:1"),
        ('{"recv_ms":1,"event":{"type":"ticker","sid":1,"msg":{}}}', "there is no frame of a market in it"),
    ],
)
def test_what_is_no_capture_is_refused(
    imported: Imported, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    imported.capture.mkdir()
    (imported.capture / "day.ndjson").write_text(text)
    assert imported.run() == 2
    assert says in capsys.readouterr().err
    assert not imported.settings.home.exists()


def test_a_market_that_is_not_there_is_refused(imported: Imported, capsys: pytest.CaptureFixture[str]) -> None:
    imported.recorder().book(10, A, "0.4500:10").write()
    assert imported.run(B) == 2
    assert f"it has no frame of {B}" in capsys.readouterr().err


def test_a_book_that_stands_in_two_files_at_once_is_refused(
    imported: Imported, capsys: pytest.CaptureFixture[str]
) -> None:
    imported.recorder("1.ndjson").book(10, A, "0.4500:10").delta(50, A, "1").write()
    imported.recorder("2.ndjson").book(20, A, "0.4500:10").delta(60, A, "1").write()
    assert imported.run() == 2
    assert "at the same time" in capsys.readouterr().err


# documents


def document(imported: Imported, **more: Any) -> None:
    market = {
        "ticker": A, "event_ticker": "KXT", "status": "finalized", "title": "A", "open_time": "2020-01-01T00:00:00Z",
        "close_time": datetime.fromtimestamp((H0_MS + 60_000) / 1000, UTC).isoformat(), "result": "yes",
        "settlement_ts": datetime.fromtimestamp((H0_MS + HOUR_MS + 500) / 1000, UTC).isoformat(),
        "settlement_value_dollars": "1.0000", "last_price_dollars": "0.9900", **more,
    }  # fmt: skip
    event = {"event_ticker": "KXT", "series_ticker": "KX", "title": "T", "category": "C"}
    folder = imported.capture / "metadata"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "KXT.json").write_text(json.dumps({"event": event, "markets": [market]}))


def versions(imported: Imported) -> list[tuple[int, str, str | None]]:
    rows = imported.rows("markets")
    return [(round(row["valid_from"].timestamp() * 1000) - H0_MS, row["status"], row["result"]) for row in rows]


def test_a_result_is_told_when_it_was_there_even_in_an_hour_of_its_own(imported: Imported) -> None:
    document(imported)
    imported.recorder().book(10, A, "0.4500:10").delta(60_500, A, "1").write()
    assert imported.run() == 0
    assert versions(imported) == [(10, "active", None), (HOUR_MS + 500, "finalized", "yes")]
    assert imported.shelf.hours() == [H0, H0 + 1]
    assert imported.run() == 0
    proved(imported)


def test_a_result_whose_hour_is_recorded_here_is_left_out_and_said_to_be(imported: Imported) -> None:
    document(imported)
    imported.recorder().book(10, A, "0.4500:10").write()
    log = Journal(imported.settings.home)
    log.snapshot(B, 1000 * (H0_MS + HOUR_MS) + 1, 1024, 1, [(0, 4500, 100)])
    log.flush()
    assert imported.run() == 0
    assert versions(imported) == [(10, "active", None)]
    assert imported.shelf.hours() == [H0]
    assert any("1 results" in line for line in imported.said)


def test_a_market_without_a_result_yet_has_one_version(imported: Imported) -> None:
    document(imported, status="active", result="", settlement_ts=None)
    imported.recorder().book(10, A, "0.4500:10").write()
    assert imported.run() == 0
    assert versions(imported) == [(10, "active", None)]
    assert json.loads(imported.rows("markets")[0]["record"])["last_price_dollars"] == "0.9900"
