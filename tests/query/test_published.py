"""Published hours and the log as one: the cases by hand."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest

from book.errors import ApiError, CorruptError
from lake import paths
from lake.publishing import manifest
from lake.publishing.shelf import Shelf
from query.coverage import coverage, gaps
from query.log import Log
from query.markets import market, markets
from query.part_files import PartFiles
from query.point import book_at
from query.ranges import deltas, trades

HOUR = 3_600_000_000
H0 = 496_000
MIDNIGHT = H0 + 8
T0 = H0 * HOUR + HOUR // 2
S = 1_000_000
CONN = (T0 // 1000 - 1000) * 1024
LATER = CONN + 5 * 1024
TRADES = CONN + 1024
A, B = "KXGOLD-26AUG10-T1", "KXGOLD-26AUG10-T2"


def levels(log: Log, ts: int | None, ticker: str = A, **options: Any) -> list[tuple[int, int, int]]:
    return book_at(log, ticker, ts, **options).book.levels()


def refused(log: Log, ts: int | None, ticker: str = A, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        book_at(log, ticker, ts, **options)
    return caught.value


@contextmanager
def counted() -> Iterator[Counter[Any]]:
    """Count which hours' coverage is read, and how often row groups of the order book are decoded."""
    seen: Counter[Any] = Counter()
    standing, group = Shelf.standing_rows, PartFiles._group

    def rows(self: Shelf, hour: int, *args: Any) -> Any:
        seen[hour] += 1
        return standing(self, hour, *args)

    def decoded(self: PartFiles, *args: Any, **options: Any) -> Any:
        seen["groups"] += 1
        return group(self, *args, **options)

    with patch.object(Shelf, "standing_rows", rows), patch.object(PartFiles, "_group", decoded):
        yield seen


def test_a_book_is_the_same_before_and_after_its_hour_is_published(journal: Any, press: Any) -> None:
    log = press.log()
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100), (1, 5000, 200)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 4500, 50)
    journal.snapshot(B, T0 + 15, CONN, 3, [])
    journal.delta(A, T0 + 20, CONN, 4, 0, 4400, 7)
    journal.audit(A, T0 + 30, CONN, 5)
    journal.heard(CONN, T0 + 100, 5)
    journal.flush()
    before = [book_at(log, A, T0 + at) for at in (0, 9, 10, 19, 20, 99)]
    press.finish(journal, H0)
    assert log.shards[0].folder_hours() == [H0]
    after = [book_at(log, A, T0 + at) for at in (0, 9, 10, 19, 20, 99)]
    assert log.shards[0].folder_hours() == []
    assert after == before
    assert (after[-1].basis, after[-1].basis_at_us, after[-1].deltas_applied, after[-1].seq) == ("snapshot", T0, 2, 4)
    assert after[-1].last_audit_us == T0 + 30
    assert levels(log, T0 + 50, B) == []
    assert refused(log, T0 + 101).fields == {"known_until": T0 + 100}


def test_the_join_at_the_hours_end(journal: Any, press: Any) -> None:
    end = (H0 + 1) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.snapshot(B, T0, CONN, 2, [(0, 100, 8)])
    journal.delta(A, end - 1, CONN, 3, 0, 100, 1)
    journal.heard(CONN, end + 5)
    journal.flush(H0)
    journal.checkpoint(A, end, CONN, 3, [(0, 100, 2)])
    journal.delta(A, end, CONN, 4, 0, 100, 1)
    journal.delta(A, end + 20, CONN, 5, 0, 100, 1)
    journal.flush()
    press.finish(journal, H0)
    log = press.log()
    assert [levels(log, end + at) for at in (-2, -1, 0, 19, 20)] == [
        [(0, 100, 1)],
        [(0, 100, 2)],
        [(0, 100, 3)],
        [(0, 100, 3)],
        [(0, 100, 4)],
    ]
    assert [levels(log, end + at, B) for at in (-1, 0, 20)] == [[(0, 100, 8)]] * 3
    assert book_at(log, B, end + 20).last_change_us == T0
    assert book_at(log, A, end - 1).known_until_us == end + 20
    press.finish(journal, H0 + 1)
    assert [levels(log, end + at)[0][2] for at in (-1, 0, 20)] == [2, 3, 4]
    assert book_at(log, B, end + 20).last_change_us == T0


def test_a_quiet_market_is_found_without_a_look_at_the_hours_between(journal: Any, press: Any) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.snapshot(B, T0, CONN, 2, [(0, 100, 1)])
    journal.flush()
    for hour in range(1, 8):
        journal.delta(B, T0 + hour * HOUR, CONN, 2 + hour, 0, 100, 1)
        journal.checkpoint(B, (H0 + hour) * HOUR, CONN, 1 + hour, [(0, 100, hour)])
        journal.flush()
    press.finish(journal, *range(H0, H0 + 8))
    log = press.log()
    with counted() as seen:
        answer = book_at(log, A, T0 + 7 * HOUR)
    assert (answer.book.levels(), answer.basis_at_us) == ([(0, 100, 1)], T0)
    assert {key for key in seen if key != "groups"} == {H0, H0 + 7}
    assert seen["groups"] == 1
    with counted() as seen:
        assert book_at(log, B, T0 + 6 * HOUR).book.levels() == [(0, 100, 7)]
    assert {key for key in seen if key != "groups"} == {H0 + 6}


def test_over_midnight_and_days(journal: Any, press: Any) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.snapshot(B, T0, CONN, 2, [])
    journal.flush()
    for hour in (MIDNIGHT, MIDNIGHT + 24, MIDNIGHT + 48):
        journal.checkpoint(A, hour * HOUR, CONN, 1, [(0, 100, 1)])
        journal.checkpoint(B, hour * HOUR, CONN, 2, [])
        journal.heard(CONN, hour * HOUR + S, 2)
        journal.flush(hour)
    journal.delta(A, (MIDNIGHT + 48) * HOUR + 2 * S, CONN, 3, 0, 100, 4)
    journal.flush()
    hours = [H0, MIDNIGHT, MIDNIGHT + 24, MIDNIGHT + 48]
    press.finish(journal, *hours)
    log = press.log()
    assert levels(log, MIDNIGHT * HOUR - 1) == levels(log, MIDNIGHT * HOUR) == [(0, 100, 1)]
    answer = book_at(log, A, (MIDNIGHT + 30) * HOUR)
    assert (answer.basis_at_us, answer.last_change_us) == ((MIDNIGHT + 24) * HOUR, T0)
    assert levels(log, (MIDNIGHT + 48) * HOUR + 2 * S) == [(0, 100, 5)]


def test_a_folder_not_published_yet_withdraws_in_published_hours(journal: Any, press: Any) -> None:
    """The close is logged two hours later, and stamped in the first: it withdraws there and in the hour between."""
    second, third = (H0 + 1) * HOUR, (H0 + 2) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.delta(A, T0 + 20, CONN, 3, 0, 100, 1)
    journal.heard(CONN, second + 1, 3)
    journal.flush(H0)
    journal.checkpoint(A, second, CONN, 3, [(0, 100, 3)])
    journal.delta(A, second + 10, CONN, 4, 0, 100, 1)
    journal.heard(CONN, third, 4)
    journal.flush()
    press.finish(journal, H0, H0 + 1)
    log = press.log()
    assert levels(log, second + 10) == [(0, 100, 4)]
    journal.close(A, T0 + 11, CONN, 2, "audit_mismatch")
    journal.snapshot(A, third + 50, CONN, 9, [(0, 100, 7)])
    journal.flush()
    assert levels(log, T0 + 10) == [(0, 100, 2)]
    assert log.shards[0].folder_hours() == [H0 + 2]
    for ts in (T0 + 11, T0 + 20, second, second + 10, third + 49):
        assert refused(log, ts).fields == {
            "from": T0 + 11,
            "to": third + 50,
            "reason": "audit_mismatch",
            "last_known": T0 + 10,
            "next_known": third + 50,
        }
    rows = deltas(log, A, T0, third, orphans=True).rows
    assert [(row.seq, row.kind) for row in rows] == [(2, 1), (3, 4), (4, 4)]
    assert [row.seq for row in deltas(log, A, T0, third).rows] == [2]
    lone = Log(press.home, log.now_us)
    assert deltas(lone, A, T0, third, orphans=True) == deltas(log, A, T0, third, orphans=True)
    journal.end(H0 + 2)
    press.publish(H0, H0 + 1, H0 + 2, reason="correction")
    assert refused(log, second + 10).fields["from"] == T0 + 11
    assert log.shards[0].folder_hours() == []
    assert [log.shards[0].book(hour).version for hour in (H0, H0 + 1, H0 + 2)] == [2, 2, 1]
    assert deltas(lone, A, T0, third, orphans=True) == deltas(log, A, T0, third, orphans=True)


def test_an_hour_is_read_from_its_folder_though_a_later_one_is_published(journal: Any, press: Any) -> None:
    second = (H0 + 1) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.heard(CONN, second + 1, 2)
    journal.flush(H0)
    journal.close(A, T0 + 5, CONN, 1, "audit_mismatch")
    journal.snapshot(A, second + 50, CONN, 3, [(0, 100, 7)])
    journal.heard(CONN, second + HOUR, 3)
    journal.flush()
    press.finish(journal, H0 + 1)
    log = press.log()
    assert levels(log, T0 + 4) == [(0, 100, 1)]
    assert [log.shards[0].book(hour).version for hour in log.shards[0].hour_numbers()] == [0, 1]
    for ts in (T0 + 5, T0 + 10, second + 49):
        assert (refused(log, ts).fields["from"], refused(log, ts).fields["to"]) == (T0 + 5, second + 50)
    assert levels(log, second + 50) == [(0, 100, 7)]
    assert [gap.from_us for gap in coverage(log, A).gaps] == [T0 + 5]


def test_an_hour_that_is_published_after_the_one_that_follows_it(journal: Any, press: Any) -> None:
    """What the second hour tells, once it is published, is not passed over on the way from the third to the first."""
    second, third = (H0 + 1) * HOUR, (H0 + 2) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, second + 50, 3)
    journal.flush(H0)
    journal.checkpoint(A, second, CONN, 1, [(0, 100, 1)])
    journal.delta(A, second + 5, CONN, 2, 0, 100, 1)
    journal.close(A, second + 7, CONN, 2, "disconnect")
    journal.flush(H0 + 1)
    journal.heard(LATER, third)
    journal.snapshot(A, third + 50, LATER, 1, [(0, 100, 7)])
    journal.heard(LATER, third + HOUR)
    journal.flush()
    journal.end(H0, H0 + 1, H0 + 2)
    alone, log = Log(press.home, lambda: (H0 + 1000) * HOUR), press.log()
    for published in (H0, H0 + 2, H0 + 1):
        press.publish(published)
        for reader in (log, press.log()):
            assert [levels(reader, second + at) for at in (-1, 4, 6)] == [[(0, 100, 1)], [(0, 100, 1)], [(0, 100, 2)]]
            for ts in (second + 7, third, third + 49):
                assert refused(reader, ts).fields == refused(alone, ts).fields
                assert refused(reader, ts).fields["from"] == second + 7
            assert coverage(reader, A).gaps == coverage(alone, A).gaps
    assert log.shards[0].folder_hours() == []


def corrected(journal: Any, press: Any) -> tuple[int, int]:
    """Publish an hour, then again with a close in it; return when each was published."""
    end = (H0 + 1) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    for seq in range(2, 12):
        journal.delta(A, T0 + seq, CONN, seq, 0, 100, 1)
    journal.heard(CONN, end + 1, 11)
    journal.flush(H0)
    press.finish(journal, H0)
    first = press.now_us
    journal.close(A, T0 + 6, CONN, 5, "audit_mismatch")
    journal.snapshot(A, end + 10, CONN, 20, [(0, 100, 9)])
    journal.flush()
    press.now_us += 10 * S
    press.publish(H0, reason="correction")
    return first, press.now_us


def test_as_of_reads_the_version_that_stood(journal: Any, press: Any) -> None:
    first, second = corrected(journal, press)
    log = press.log()
    assert refused(log, T0 + 8).code == "data_gap"
    for ts in (first, second - 1):
        assert levels(log, T0 + 8, as_of_us=ts) == [(0, 100, 8)]
    for ts in (second, second + HOUR):
        assert refused(log, T0 + 8, as_of_us=ts).fields["from"] == T0 + 6
        assert levels(log, T0 + 5, as_of_us=ts) == [(0, 100, 5)]
    for at in (T0 + 8, (H0 + 1) * HOUR + 10):
        error = refused(log, at, as_of_us=first - 1)
        assert (error.code, error.fields) == ("no_data_available", {"reason": "not_published", "earliest": None})
    error = refused(log, (H0 + 1) * HOUR + 10, as_of_us=second)
    assert (error.code, error.fields["reason"]) == ("no_data_available", "not_published")
    assert levels(log, (H0 + 1) * HOUR + 10) == [(0, 100, 9)]
    assert book_at(log, A, as_of_us=first).at_us == (H0 + 1) * HOUR
    assert refused(log, None, as_of_us=first - 1).fields["reason"] == "not_published"
    assert refused(log, T0, "NOSUCH", as_of_us=second).code == "market_not_found"
    shelf = Shelf(press.lake)
    shelf.refresh()
    for ts in (first - 1, first, second - 1, second):
        with log.asked():
            (shard,) = log.as_of(ts)
            versions = {shard.book(hour).version for hour in shard.hour_numbers()}
        assert versions == set(shelf.standing_rows(H0, ts)["version"].to_pylist())
    bare = Log(press.home, log.now_us)
    assert refused(bare, T0, as_of_us=second).fields["reason"] == "not_published"


def test_a_page_goes_on_in_the_version_that_its_first_page_read(journal: Any, press: Any) -> None:
    end = (H0 + 1) * HOUR
    log = press.log()
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    for seq in range(2, 12):
        journal.delta(A, T0 + seq, CONN, seq, 0, 100, 1)
    journal.heard(CONN, end + 1, 11)
    journal.flush(H0)
    over_folder = [deltas(log, A, T0, end, 3, orphans=orphans) for orphans in (False, True)]
    press.finish(journal, H0)
    over_first = [deltas(log, A, T0, end, 3, orphans=orphans) for orphans in (False, True)]
    assert [page.rows for page in over_first] == [page.rows for page in over_folder]
    journal.close(A, T0 + 6, CONN, 5, "audit_mismatch")
    journal.snapshot(A, end + 10, CONN, 20, [(0, 100, 9)])
    journal.flush()
    press.publish(H0, reason="correction")
    journal.end(H0 + 1)
    press.publish(H0 + 1)

    def rest(page: Any, **options: Any) -> list[tuple[int, int]]:
        found = [(row.seq, row.kind) for row in page.rows]
        while page.next_cursor:
            page = deltas(log, A, T0, end, 3, page.next_cursor, **options)
            found += [(row.seq, row.kind) for row in page.rows]
        return found

    assert rest(over_first[0]) == [(seq, 1) for seq in range(2, 12)]
    assert rest(over_first[1], orphans=True) == [(seq, 1) for seq in range(2, 12)]
    # The hour was not published then: it goes on as it stands, without what was withdrawn.
    assert rest(over_folder[0]) == [(2, 1), (3, 1), (4, 1), (5, 1)]
    assert rest(over_folder[1], orphans=True) == [(seq, 1 if seq < 6 else 4) for seq in range(2, 12)]
    assert rest(deltas(log, A, T0, end, 3)) == [(2, 1), (3, 1), (4, 1), (5, 1)]


def test_a_change_that_is_withdrawn_between_pages_is_not_listed_twice(journal: Any, press: Any) -> None:
    log = press.log()
    journal.snapshot(A, T0, CONN, 1, [])
    for seq in range(2, 6):
        journal.delta(A, T0 + seq, CONN, seq, 0, 100, 1)
    journal.heard(CONN, T0 + S)
    journal.flush()
    first = deltas(log, A, T0, T0 + S, 2, orphans=True)
    assert [(row.seq, row.kind) for row in first.rows] == [(2, 1), (3, 1)]
    journal.close(A, T0 + 3, CONN, 2, "audit_mismatch")
    journal.flush()
    assert [row.seq for row in deltas(log, A, T0, T0 + S, 9, first.next_cursor, orphans=True).rows] == [4, 5]
    press.finish(journal, H0)
    assert [row.seq for row in deltas(log, A, T0, T0 + S, 9, first.next_cursor, orphans=True).rows] == [4, 5]


def test_gaps_go_on_in_the_version_that_the_first_page_read(journal: Any, press: Any) -> None:
    end = (H0 + 1) * HOUR
    for place, ticker in enumerate("CDE"):
        journal.snapshot(ticker, T0, CONN, 1 + place, [])
        journal.close(ticker, T0 + 50 + place, CONN, 3, "seq_gap")
        journal.snapshot(ticker, T0 + 100 + place, CONN, 4 + place, [])
    journal.heard(CONN, end + 1, 6)
    journal.flush(H0)
    press.finish(journal, H0)
    log = press.log()
    page = gaps(log, T0, end, limit=1)
    assert [gap.ticker for gap in page.gaps] == ["C"]
    journal.close("D", T0 + 10, CONN, 2, "audit_mismatch")
    journal.snapshot("D", end + 10, CONN, 20, [])
    journal.flush()
    press.publish(H0, reason="correction")
    journal.end(H0 + 1)
    press.publish(H0 + 1)
    rest = gaps(log, T0, end, limit=9, cursor=page.next_cursor).gaps
    assert [(gap.ticker, gap.from_us - T0) for gap in rest] == [("D", 51), ("E", 52)]
    now = gaps(log, T0, end, limit=9).gaps
    assert [(gap.ticker, gap.from_us - T0) for gap in now] == [("D", 10), ("C", 50), ("E", 52)]


def story(journal: Any) -> list[int]:
    """Write three hours with everything in them; return those that are over."""
    journal.market(A, T0, open_time=T0 - 100, close_time=T0 + 9 * HOUR)
    journal.row("series", series_ticker="KXGOLD", valid_from=T0, title="Gold", category="Commodities", record="{}")
    journal.row("events", event_ticker="KXGOLD-26AUG10", valid_from=T0, title="Gold", record="{}")
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 5)], exch=T0)
    journal.delta(A, T0 + 3, CONN, 2, 0, 100, 1, exch=T0 + 2)
    journal.audit(A, T0 + 4, CONN, 3)
    journal.trade(A, T0 + 5, TRADES, 1, "x")
    journal.trade(B, T0 + 5, TRADES, 2, "y")
    journal.silence(CONN, T0 + 5 * S, T0 + 9 * S)
    journal.heard(CONN, T0 + 10 * S, 3)
    journal.flush()
    second = (H0 + 1) * HOUR
    journal.market(A, second + 3, title="Again", open_time=T0 - 100, close_time=T0 + 9 * HOUR)
    journal.market(B, second + 3)
    journal.checkpoint(A, second, CONN, 2, [(0, 100, 6)], exch=T0 + 2)
    journal.delta(A, second + 5, CONN, 4, 0, 100, 1, exch=second + 5)
    journal.trade(A, second + 5, TRADES, 3, "z")
    journal.trade(A, second + 6, TRADES + 1024, 1, "z")
    journal.close(A, second + 7, CONN, 4, "disconnect")
    journal.snapshot(A, second + 20, LATER, 1, [(0, 100, 3)], exch=second + 19)
    journal.delta(A, second + 30, LATER, 2, 0, 100, 4, exch=second + 40)
    journal.heard(LATER, second + HOUR, 2)
    journal.flush()
    third = (H0 + 2) * HOUR
    journal.checkpoint(A, third, LATER, 2, [(0, 100, 7)], exch=second + 40)
    journal.delta(A, third + 5, LATER, 3, 0, 100, 1, exch=third + 5)
    journal.heard(LATER, third + 9, 3)
    journal.flush()
    return [H0, H0 + 1]


def everything(log: Log) -> list[Any]:
    """Ask a little of everything."""
    found: list[Any] = []
    second = (H0 + 1) * HOUR
    for clock in ("received", "exchange"):
        for ts in (T0 - 1, T0, T0 + 3, T0 + 6 * S, second + 5, second + 8, second + 21, second + 35, second + HOUR - 1):
            try:
                answer = book_at(log, A, ts, clock=clock)  # type: ignore[arg-type]
                found.append(
                    (answer.digest, answer.seq, answer.known_until_us, answer.last_audit_us, answer.last_change_us)
                )
            except ApiError as error:
                found.append((error.code, error.fields))
    found += [deltas(log, A, T0, second + HOUR, orphans=True), trades(log, A, T0, second + HOUR)]
    story_of = coverage(log, A)
    found += [story_of.spans[:2], story_of.gaps, story_of.audits, story_of.stats.first_data_us]
    found += [gaps(log, T0, second + HOUR), [view.ticker for view in markets(log).markets], market(log, A).market]
    return found


def test_every_question_over_hours_and_folders(journal: Any, press: Any) -> None:
    hours = story(journal)
    alone = everything(Log(press.home, lambda: (H0 + 1000) * HOUR))
    log = press.log()
    assert everything(log) == alone
    for hour in hours:
        press.finish(journal, hour)
        assert everything(log) == alone
        assert everything(press.log()) == alone
        assert everything(press.log(row_bytes=0, index_bytes=0)) == alone


def test_a_lake_without_a_journal(journal: Any, press: Any, tmp_path: Path) -> None:
    """A copy of the lake alone; its last hour ends where the next one, which is not there, would tell more."""
    hours = story(journal)
    press.finish(journal, *hours)
    journal.end(H0 + 2)
    press.publish(H0 + 2)
    alone = everything(Log(press.home, lambda: (H0 + 1000) * HOUR))
    shutil.copytree(press.lake, tmp_path / "copy")
    log = Log(tmp_path / "nothing", lambda: (H0 + 1000) * HOUR, lake=tmp_path / "copy")
    assert everything(log) == alone
    assert log.known_until_us() == (H0 + 2) * HOUR + 9
    assert levels(log, None) == [(0, 100, 8)]
    assert [shard.shard for shard in log.shards] == [0]


def test_a_manifest_that_cannot_be_read_is_done_without(journal: Any, press: Any) -> None:
    first, second = corrected(journal, press)
    journal.end(H0 + 1)
    press.publish(H0 + 1)
    told = [deltas(press.log(), A, T0, T0 + HOUR, orphans=True), coverage(press.log(), A)]
    (paths.manifest_dir(press.lake) / paths.manifest_name(2)).write_bytes(b"{}\n")
    with pytest.raises(CorruptError):
        manifest.read(press.lake, 2)
    log = press.log()
    assert [deltas(log, A, T0, T0 + HOUR, orphans=True), coverage(log, A)] == told
    assert levels(log, T0 + 8, as_of_us=first) == [(0, 100, 8)]
    assert refused(log, T0 + 8, as_of_us=second).code == "data_gap"
    assert [shard.shard for shard in log.shards] == [0]


def test_a_silence_over_hours_in_which_nobody_wrote(journal: Any, press: Any) -> None:
    """The recorder stood still: the hours between have no folder, and are silent all the same."""
    until = (H0 + 4) * HOUR + 50
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, T0 + 10)
    journal.flush()
    journal.silence(CONN, T0 + 11, until)
    journal.checkpoint(A, (H0 + 4) * HOUR, CONN, 1, [(0, 100, 1)])
    journal.delta(A, until, CONN, 2, 0, 100, 1)
    journal.flush(H0 + 4)
    alone = Log(press.home, lambda: (H0 + 1000) * HOUR)
    instants = (T0 + 10, T0 + 11, (H0 + 1) * HOUR, (H0 + 2) * HOUR + 7, (H0 + 4) * HOUR, until - 1, until)
    told = [levels(alone, ts) if ts in (T0 + 10, until) else refused(alone, ts).fields for ts in instants]
    assert (told[3]["from"], told[3]["to"]) == (T0 + 11, until)
    press.finish(journal, H0, H0 + 4)
    lake_alone = Log(press.home / "nothing", lambda: (H0 + 1000) * HOUR, lake=press.lake)
    for log in (press.log(), lake_alone):
        assert [levels(log, ts) if ts in (T0 + 10, until) else refused(log, ts).fields for ts in instants] == told
        assert coverage(log, A).gaps == coverage(alone, A).gaps
        assert deltas(log, A, T0 + HOUR, T0 + 2 * HOUR).gaps == deltas(alone, A, T0 + HOUR, T0 + 2 * HOUR).gaps


def test_two_shards_with_markets_of_their_own(journal: Any, journals: Callable[[int], Any], press: Any) -> None:
    other = journals(1)
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.audit(A, T0 + 1, CONN, 2)
    journal.trade(A, T0 + 2, TRADES, 1, "x")
    journal.heard(CONN, T0 + 100, 2)
    journal.flush()
    other.snapshot(B, T0, CONN + 1, 1, [(0, 100, 2)])
    other.trade(A, T0 + 1, TRADES + 1, 1, "x")
    other.heard(CONN + 1, T0 + 200)
    other.flush()
    journal.end(H0)
    other.end(H0)
    press.publish(H0)
    log, alone = press.log(), Log(press.home, lambda: (H0 + 1000) * HOUR)
    with log.asked() as shards:
        assert [(shard.hour_numbers(), shard.folder_hours()) for shard in shards] == [([H0], []), ([H0], [])]
    assert (book_at(log, A, T0 + 9).conn, book_at(log, B, T0 + 9).conn) == (CONN, CONN + 1)
    assert refused(log, T0 + 101).fields == {"known_until": T0 + 100}
    for ticker in (A, B):
        assert trades(log, ticker, T0, T0 + 50).rows == trades(alone, ticker, T0, T0 + 50).rows
        assert coverage(log, ticker).spans == coverage(alone, ticker).spans
        assert coverage(log, ticker).audits == coverage(alone, ticker).audits
    with Log(press.home, log.now_us, shards=[1], lake=press.lake).asked() as shards:
        assert [shard.shard for shard in shards] == [1]


def test_many_threads_ask_while_hours_are_published(journal: Any, press: Any) -> None:
    conn, seqs = CONN, range(2, 60)
    for hour in range(4):
        start = (H0 + hour) * HOUR
        seq = 100 * hour
        if hour:
            journal.checkpoint(A, start, conn, seq - 41, [(0, 100, 59 * hour)])
            journal.delta(A, start + 1, conn, seq + 1, 0, 100, 1)
        else:
            journal.snapshot(A, start + 1, conn, 1, [(0, 100, 1)])
        for each in seqs:
            journal.delta(A, start + each, conn, seq + each, 0, 100, 1)
        journal.flush(H0 + hour)
    journal.heard(conn, (H0 + 4) * HOUR)
    journal.flush()
    log = Log(press.home, lambda: (H0 + 1000) * HOUR, lake=press.lake, poll_every_s=0.001)
    want = {(H0 + hour) * HOUR + at: levels(log, (H0 + hour) * HOUR + at) for hour in range(4) for at in (2, 30, 59)}
    done, wrong = Event(), list[Any]()

    def ask() -> None:
        while not done.is_set():
            wrong.extend(ts for ts, book in want.items() if levels(log, ts) != book)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for hour in range(3):
                press.finish(journal, H0 + hour)
        finally:
            done.set()
    assert [each.result() for each in asking] == [None] * 4
    assert wrong == []
    assert log.shards[0].folder_hours() == [H0 + 3]


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def orderbook_files(press: Any) -> list[Path]:
    return sorted((press.lake / "v1" / "orderbook").rglob("*.parquet"))


def test_a_missing_or_damaged_file_is_never_a_book(journal: Any, press: Any) -> None:
    end = (H0 + 1) * HOUR
    journal.snapshot(A, T0, CONN, 1, [(0, 100 + price, 5) for price in range(60)])
    for seq in range(2, 400):
        journal.delta(A, T0 + seq, CONN, seq, seq % 2, 100 + seq % 90, 1 + seq % 7)
    journal.heard(CONN, end + 1, 399)
    journal.flush(H0)
    press.finish(journal, H0)
    want = book_at(press.log(), A, T0 + 300)
    (path,) = orderbook_files(press)
    whole = path.read_bytes()
    found: Counter[str] = Counter()
    for at in range(4, len(whole), 41):
        damage(path, at)
        try:
            answer = book_at(press.log(), A, T0 + 300)
            assert answer == want
            found["same"] += 1
        except CorruptError:
            found["refused"] += 1
        path.write_bytes(whole)
    assert found["refused"] > found["same"] > 0
    path.unlink()
    with pytest.raises(CorruptError):
        book_at(press.log(), A, T0 + 300)
    assert refused(press.log(), T0 - 1).code == "no_data_available"


def test_a_file_with_other_rows_than_coverage_says_is_refused(journal: Any, press: Any) -> None:
    for hour in (H0, H0 + 1):
        start = hour * HOUR + 10
        journal.snapshot(A, start, CONN, 1 + 5 * (hour - H0), [(0, 100, 1)])
        journal.heard(CONN, (hour + 1) * HOUR)
        journal.flush(hour)
    press.finish(journal, H0, H0 + 1)
    one, other = orderbook_files(press)
    shutil.copy(other, one)
    with pytest.raises(CorruptError):
        book_at(press.log(), A, H0 * HOUR + 20)


def test_metadata_of_published_hours_and_of_folders(journal: Any, press: Any) -> None:
    for hour in range(3):
        at = T0 + hour * HOUR
        journal.market(A, at, title=f"version {hour}", status="active")
        journal.market(f"N{hour}", at)
        journal.heard(CONN, at)
        journal.snapshot(f"N{hour}", at, CONN, 1 + hour, [])
        journal.flush(H0 + hour)
    log = press.log()
    before = [(view.ticker, view.market) for view in markets(log).markets]
    assert [ticker for ticker, _ in before] == ["N2", "N1", A, "N0"]
    for hour in range(3):
        press.finish(journal, H0 + hour)
        for reader in (log, press.log()):
            assert [(view.ticker, view.market) for view in markets(reader).markets] == before
    found = market(log, A).market
    assert found is not None
    assert (found.title, found.discovered_us, found.valid_from_us) == ("version 2", T0, T0 + 2 * HOUR)


def test_a_market_long_gone_and_one_that_never_was(journal: Any, press: Any) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.close(A, T0 + 10, CONN, 1, "market_closed")
    journal.snapshot(B, T0, CONN, 2, [])
    journal.heard(CONN, T0 + HOUR, 2)
    journal.flush()
    for hour in range(1, 30):
        journal.heard(CONN, T0 + hour * HOUR, 2)
        journal.delta(B, T0 + hour * HOUR, CONN, 2 + hour, 0, 100, 1)
        journal.checkpoint(B, (H0 + hour) * HOUR, CONN, 1 + hour, [(0, 100, hour - 1)] if hour > 1 else [])
        journal.flush()
    press.finish(journal, *range(H0, H0 + 30))
    log = press.log()
    with counted() as seen:
        assert refused(log, T0 + 25 * HOUR).fields == {"closed_at": T0 + 10, "result": None}
    assert {key for key in seen if key != "groups"} == {H0, H0 + 25}
    with counted() as seen:
        assert refused(log, T0 + 25 * HOUR, "NOSUCH").code == "market_not_found"
        assert refused(log, T0 - HOUR, B).fields == {"reason": "before_first_data", "earliest": T0}
    assert len(seen) <= 2
    assert [span.end_reason for span in coverage(log, A).spans] == ["market_closed"]
    page = deltas(log, B, T0 + 20 * HOUR, T0 + 21 * HOUR)
    assert ([row.seq for row in page.rows], page.complete) == ([22], True)
