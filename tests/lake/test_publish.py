"""Publishing: what is logged is what is read, and new versions replace old ones as of a time."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from book.errors import LakeError, ProofError, PublishError
from book.records import HOUR_US
from lake import objects, paths
from lake.journal.flush import ConnMark
from lake.publishing import accounts, manifest, parquet
from lake.publishing.attempt import Attempt
from lake.publishing.drafts import draft
from lake.publishing.publish import publish_hours, publish_settled, standing_before
from lake.settling.settle import settle
from lake.settling.sources import read_source
from lake.settling.standing import Standing
from tests.lake.publishing import NOW_US, TABLES, assert_holds, close_of, files_below, late, publish, shelf_of, stored
from tests.lake.tapes import FIRST, SECOND_US, Tape, expected


def test_what_was_logged_is_what_is_read(lake: Path, tape: Tape) -> None:
    for hour in range(3):
        published = publish(lake, tape, hour)
        assert published is not None
        assert [entry.hour for entry in published.hours] == [FIRST + hour]
    assert_holds(lake, [tape], 0, 1, 2)
    shelf = shelf_of(lake)
    assert shelf.hours() == [FIRST, FIRST + 1, FIRST + 2]
    named = {
        f"{row['channel']}/{row['file']}"
        for hour in shelf.hours()
        for row in shelf.standing_rows(hour).to_pylist()
        if row["state"] == "table"
    }
    others = {name for name in files_below(lake / "v1") if not name.startswith(("coverage", "manifest"))}
    assert named == others


def test_two_shards_become_one_file_a_table(lake: Path, tape: Tape) -> None:
    other = Tape(tape.home, 1, ("D", "E"), seed=2)
    other.write_hour(FIRST, flushes=1)
    published = publish(lake, tape, 0)
    assert published is not None
    assert_holds(lake, [tape, other], 0)
    assert {table: len(files) for table, files in published.hours[0].files.items()}["orderbook"] == 1
    assert set(published.hours[0].shards) == {0, 1}


def test_an_hour_is_published_once(lake: Path, tape: Tape) -> None:
    assert publish(lake, tape, 0) is not None
    before = files_below(lake)
    assert publish(lake, tape, 0) is None
    assert publish(lake, tape, 0, reason="late") is None
    assert files_below(lake) == before
    assert manifest.last_number(lake) == 1


def test_several_hours_are_one_manifest(lake: Path, tape: Tape) -> None:
    published = publish(lake, tape, 2, 0, 1)
    assert published is not None
    assert [entry.hour for entry in published.hours] == [FIRST, FIRST + 1, FIRST + 2]
    assert published.rows_file.rows == sum(entry.coverage_rows for entry in published.hours)
    assert_holds(lake, [tape], 0, 1, 2)


def test_late_rows_make_a_new_version_and_the_old_one_stays_readable(lake: Path, tape: Tape) -> None:
    first = publish(lake, tape, 0)
    assert first is not None
    before = {table: expected([tape], FIRST, table) for table in TABLES}
    both = [tape, late(tape)]
    second = publish(lake, tape, 0, reason="late")
    assert second is not None
    assert second.at_us > first.at_us
    assert [(entry.version, entry.reason) for entry in second.hours] == [(2, "late")]
    assert_holds(lake, both, 0)
    shelf = shelf_of(lake)
    for table in TABLES:
        assert stored(shelf, FIRST, table, first.at_us) == before[table]
        assert stored(shelf, FIRST, table, second.at_us - 1) == before[table]
        assert stored(shelf, FIRST, table, second.at_us) == expected(both, FIRST, table)
        assert stored(shelf, FIRST, table, first.at_us - 1) == []
    rows = shelf.coverage(FIRST)
    spans = {
        (version, start, end)
        for version, start, end in zip(
            *(rows[name].cast(pa.int64()).to_pylist() for name in ("version", "published_at", "superseded_at")),
            strict=True,
        )
    }
    assert spans == {(1, first.at_us, second.at_us), (2, second.at_us, None)}
    (told,) = pl.read_delta(str(paths.table_dir(lake, "corrections"))).to_dicts()
    assert (told["old_version"], told["new_version"], told["manifest"], told["ticker"]) == (1, 2, second.n, "L1")


def test_a_correction_over_midnight_is_one_manifest_with_the_hour_that_shows_it(lake: Path, tape: Tape) -> None:
    for hour in range(2):
        publish(lake, tape, hour)
    tape.withdraw("A", FIRST + 3, (FIRST + 1) * HOUR_US - 600 * SECOND_US)
    published = publish(lake, tape, 0, 1, 2, reason="late")
    assert published is not None
    assert [(entry.hour - FIRST, entry.version, entry.reason) for entry in published.hours] == [
        (0, 2, "correction"),
        (1, 2, "correction"),
        (2, 1, "hour"),
    ]
    assert published.reason == "correction"
    assert_holds(lake, [tape], 0, 1, 2)
    told = pl.read_delta(str(paths.table_dir(lake, "corrections"))).sort("hour").to_dicts()
    assert [(row["ticker"], row["reason"]) for row in told] == [("A", "correction")] * 2
    assert "close added: audit_mismatch" in told[0]["detail"]
    assert "deltas" in told[1]["detail"]
    assert {row["ts"].timestamp() * 1_000_000 for row in told} == {published.at_us}


def test_a_close_that_comes_meanwhile_is_seen_in_all_hours_or_in_none(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 0)
    before = {hour: expected([tape], FIRST + hour, "orderbook") for hour in range(2)}

    def meanwhile(name: str) -> None:
        if name == f"1.{FIRST + 1}":
            tape.withdraw("A", FIRST + 3, (FIRST + 1) * HOUR_US - 600 * SECOND_US)

    published = publish(lake, tape, 1, fail_point=meanwhile)
    assert published is not None
    assert [entry.hour - FIRST for entry in published.hours] == [1]
    shelf = shelf_of(lake)
    assert {hour: stored(shelf, FIRST + hour, "orderbook") for hour in range(2)} == before
    published = publish(lake, tape, 2)
    assert published is not None
    assert [(entry.hour - FIRST, entry.version) for entry in published.hours] == [(0, 2), (1, 2), (2, 1)]
    assert_holds(lake, [tape], 0, 1, 2)


def test_each_correction_of_an_hour_stays_listed(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 0)
    for shard in range(1, 4):
        late(tape, shard)
        publish(lake, tape, 0, reason="late")
    rows = pl.read_delta(str(paths.table_dir(lake, "corrections"))).sort("ts").to_dicts()
    assert [(row["old_version"], row["new_version"]) for row in rows] == [(1, 2), (2, 3), (3, 4)]
    shelf = shelf_of(lake)
    assert len(stored(shelf, FIRST, "corrections")) == 3
    assert shelf.version(FIRST) == 4


def test_hours_that_rest_on_what_changed_follow(lake: Path, tape: Tape) -> None:
    """A book closed in one hour is a gap in the next one too, though nobody named that hour."""
    quiet = Tape(tape.home, 1, ("Q",), seed=4)
    quiet.write_hour(FIRST, flushes=1, deltas=1)
    for hour in (1, 2):
        quiet.flush(FIRST + hour + 1, (FIRST + hour + 1) * HOUR_US + SECOND_US)
        quiet.end(FIRST + hour)
    for hour in range(3):
        publish(lake, tape, hour)
    known = {(hour, "known") for hour in range(3)}
    assert _told(lake, "Q", 3) == known
    base_us = quiet.rows[FIRST]["orderbook"][-1]["ts_recv"]
    quiet.flush(FIRST + 3, quiet.last_us + 1, orderbook=[close_of(quiet, "Q", base_us + 1)])
    published = publish(lake, tape, 0, reason="late")
    assert published is not None
    assert [entry.hour - FIRST for entry in published.hours] == [0, 1, 2]
    assert {entry.reason for entry in published.hours} == {"correction"}
    assert _told(lake, "Q", 3) == {(0, "known"), (0, "gap"), (1, "gap"), (2, "gap")}


def test_an_older_hour_that_comes_later_is_told_to_those_after_it(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 1)
    before = {row["last_record_hour"] for row in shelf_of(lake).standing_rows(FIRST + 1).to_pylist()}
    assert before == {None}
    published = publish(lake, tape, 0)
    assert published is not None
    assert [(entry.hour - FIRST, entry.version) for entry in published.hours] == [(0, 1), (1, 2)]
    after = {row["last_record_hour"] for row in shelf_of(lake).standing_rows(FIRST + 1).to_pylist()}
    assert len(after) == 2
    assert_holds(lake, [tape], 0, 1)


def test_a_table_that_loses_all_its_rows_loses_its_file(lake: Path, tape: Tape) -> None:
    lone = Tape(tape.home, 1, ("L",), seed=5)
    lone.write_hour(FIRST, flushes=1, deltas=2, books_only=True)
    checkpoint = lone._checkpoint("L", (FIRST + 1) * HOUR_US)
    lone.flush(FIRST + 1, (FIRST + 1) * HOUR_US + 2 * SECOND_US, orderbook=checkpoint)
    lone.flush(FIRST + 2, (FIRST + 2) * HOUR_US + SECOND_US)
    lone.end(FIRST + 1)
    home = tape.home.parent / "lone"
    paths.journal_root(home).mkdir(parents=True)
    paths.journal_dir(tape.home, 1).rename(paths.journal_dir(home, 1))
    lone.home = home
    publish(lake, lone, 0, 1)
    assert_holds(lake, [lone], 0, 1)
    lone.withdraw("L", FIRST + 2, (FIRST + 1) * HOUR_US - 5 * SECOND_US)
    published = publish(lake, lone, 0, 1, reason="late")
    assert published is not None
    assert published.hours[1].files["orderbook"] == []
    assert lone.rows[FIRST + 1]["orderbook"] == []
    assert_holds(lake, [lone], 0, 1)


def test_an_hour_of_which_there_is_nothing_to_tell_is_not_published(lake: Path, tmp_path: Path) -> None:
    tape = Tape(tmp_path / "home")
    tape.seq.clear()
    tape.flush(FIRST, FIRST * HOUR_US + 5)
    assert publish(lake, tape, 0) is None
    assert shelf_of(lake).hours() == []
    with pytest.raises(PublishError, match="no shard"):
        publish(lake, tape, 1)


def test_messages_are_accounted_for(lake: Path, tape: Tape) -> None:
    totals = dict.fromkeys(tape.seq, 0)
    for hour in range(3):
        published = publish(lake, tape, hour)
        assert published is not None
        for conn, account in published.hours[0].conns.items():
            assert account.sum_ok
            assert account.first_seq == totals[conn] + 1
            totals[conn] = account.last_seq
            rows = tape.rows[FIRST + hour]
            if conn == tape.trade_conn:
                assert account.trades == len(rows.get("trades", []))
            else:
                kinds = [row["kind"] for row in rows["orderbook"]]
                snapshots = {row["seq"] for row in rows["orderbook"] if row["kind"] == 0}
                assert (account.snapshots, account.deltas) == (len(snapshots), kinds.count(1))
                assert account.audits == len(rows.get("audits", []))
    assert totals == tape.seq


def test_a_withdrawn_snapshot_is_a_message_still(lake: Path, tape: Tape) -> None:
    tape.withdraw("A", FIRST + 3, (FIRST + 2) * HOUR_US + 3000 * SECOND_US)
    tape.withdraw("A", FIRST + 3, (FIRST + 2) * HOUR_US + 2000 * SECOND_US)
    tape.flush(FIRST + 4, (FIRST + 4) * HOUR_US + SECOND_US)
    tape.end(FIRST + 3)
    published = publish(lake, tape, 0, 1, 2, 3)
    assert published is not None
    account = published.hours[3].conns[tape.book_conn]
    assert (account.snapshots, account.sum_ok) == (2, True)
    assert_holds(lake, [tape], 0, 1, 2, 3)


@pytest.mark.parametrize("gap", [False, True])
def test_a_message_that_stands_nowhere_stops_the_hour(lake: Path, tmp_path: Path, gap: bool) -> None:
    tape = Tape(tmp_path / "home")
    tape.write_hour(FIRST, end=False, books_only=True)
    tape.seq[tape.book_conn] += 2
    closes = [close_of(tape, "A", tape.last_us + 2, "seq_gap")] if gap else []
    tape.flush(FIRST, tape.last_us + 3, orderbook=closes)
    tape.flush(FIRST + 1, (FIRST + 1) * HOUR_US + 1)
    tape.end(FIRST)
    if gap:
        published = publish(lake, tape, 0)
        assert published is not None
        assert published.hours[0].conns[tape.book_conn].sum_ok is False
        return
    with pytest.raises(ProofError, match="should be"):
        publish(lake, tape, 0)
    assert shelf_of(lake).hours() == []
    assert files_below(lake) == set()


def settled(tape: Tape, lake: Path, hour: int):  # type: ignore[no-untyped-def]
    return settle([read_source(tape.home, tape.shard, FIRST + hour)], standing_before(lake, FIRST + hour))


def test_settled_hours_are_published_as_they_are(lake: Path, tape: Tape) -> None:
    for hour in range(2):
        published = publish_settled(lake, [settled(tape, lake, hour)], now_us=lambda: NOW_US)
        assert published is not None
        assert [(entry.version, entry.reason) for entry in published.hours] == [(1, "import")]
    assert_holds(lake, [tape], 0, 1)
    assert publish_settled(lake, [settled(tape, lake, 0)], now_us=lambda: NOW_US) is None
    other = late(tape)
    before = files_below(lake)
    with pytest.raises(PublishError, match="other rows"):
        publish_settled(lake, [settled(other, lake, 0)], now_us=lambda: NOW_US)
    assert files_below(lake) == before
    assert shelf_of(lake).version(FIRST) == 1


def test_an_import_leaves_what_was_recorded(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 1)
    other = Tape(tape.home.parent / "other", 0, ("X",), seed=9)
    other.write_hour(FIRST + 1)
    with pytest.raises(PublishError, match="other rows"):
        publish_settled(lake, [settled(other, lake, 1)], now_us=lambda: NOW_US)
    published = publish_settled(lake, [settled(tape, lake, 0)], now_us=lambda: NOW_US)
    assert published is not None
    assert [entry.hour - FIRST for entry in published.hours] == [0]
    assert_holds(lake, [tape], 0, 1)


def test_knowledge_times_only_grow(lake: Path, tape: Tape) -> None:
    times = []
    for hour, now_us in enumerate((NOW_US, NOW_US, NOW_US - 5 * HOUR_US)):
        one = publish_hours(lake, tape.home, [FIRST + hour], now_us=lambda now_us=now_us: now_us)  # type: ignore[misc]
        assert one is not None
        times.append(one.at_us)
    assert times == [NOW_US, NOW_US + 1, NOW_US + 2]


def test_a_conn_without_a_mark_before_is_counted_from_its_first_message(tape: Tape) -> None:
    source = read_source(tape.home, 0, FIRST + 1)
    hour = settle([source], standing_before(tape.home / "nowhere", FIRST + 1))
    assert accounts.accounts_of(hour)[tape.book_conn].sum_ok
    hour.before.clear()
    with pytest.raises(ProofError):
        accounts.accounts_of(hour)
    hour.marks[tape.book_conn] = ConnMark(0, 0, 1)
    with pytest.raises(LakeError):
        accounts.accounts_of(hour)


def _told(lake: Path, ticker: str, hours: int) -> set[tuple[int, str]]:
    shelf = shelf_of(lake)
    return {
        (hour, row["state"])
        for hour in range(hours)
        for row in shelf.standing_rows(FIRST + hour).to_pylist()
        if row["ticker"] == ticker
    }


def test_an_hour_in_several_files_is_told_by_their_own_rows(lake: Path, tape: Tape) -> None:
    rows = settled(tape, lake, 0)
    made = draft(lake, rows, Standing.empty(), shards={}, conns={}, step=objects.no_step, max_rows=12)
    files = {data.file: data.rows for data in made.files["orderbook"]}
    assert len(files) > 1
    told = [row for row in made.rows.to_pylist() if row["state"] == "known"]
    for file in files:
        read = parquet.read_file(paths.table_dir(lake, "orderbook") / file, "orderbook")
        mine = [row for row in told if row["file"] == file]
        assert sum(row["rows"] for row in mine) == read.num_rows
        for row in mine:
            part = read.slice(row["first_row"], row["rows"])
            assert set(part["ticker"].to_pylist()) == {row["ticker"]}
            assert [read["kind"][base["row"]].as_py() for base in row["bases"]] == [one["kind"] for one in row["bases"]]
    assert {row["file"] for row in made.rows.to_pylist() if row["channel"] == "orderbook"} == {*files, None}
    made.discard()
    assert files_below(lake) == set()


def test_an_import_says_nothing_of_what_was_logged_here(lake: Path, tape: Tape) -> None:
    """Hours before it that were logged are not published yet: who knows what they closed."""
    other = Tape(lake.parent / "elsewhere", 1023, ("Z",), seed=9)
    other.write_hour(FIRST + 4, flushes=1)
    publish(lake, tape, 0)
    settled = settle([read_source(other.home, 1023, FIRST + 4)], standing_before(lake, FIRST + 4))
    decided = publish_settled(lake, [settled], now_us=lambda: NOW_US)
    assert decided is not None
    assert decided.hours[0].after is None
    named = set(shelf_of(lake).standing_rows(FIRST + 4)["ticker"].to_pylist())
    assert named == {"*", "Z"}
    assert publish(lake, tape, 1, 2, 3) is not None
    following = Attempt(shelf_of(lake), tape.home, [], "hour", objects.no_step)
    assert following.standing(FIRST + 5)[0] == FIRST + 3
