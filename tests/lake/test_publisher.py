"""The publisher: hours come out when they are due, in order, and an hour that cannot holds up those after it."""

import threading
from pathlib import Path

import pyarrow.compute as pc
import pytest

from book.errors import PublishError
from book.records import HOUR_US
from lake import paths
from lake.journal import ends
from lake.journal.flush import Silence
from lake.publishing import manifest, publish, publisher, watch
from lake.publishing.publisher import Publisher
from lake.publishing.shelf import Shelf
from lake.publishing.watch import Watch
from tests.lake.forks import DIED, Forks, job
from tests.lake.handlog import CONN, HandLog
from tests.lake.publishing import assert_holds, shelf_of, stored
from tests.lake.tapes import FIRST, SECOND_US, Tape, expected

MINUTE_US = 60 * SECOND_US


class Stage:
    """A publisher with clocks set by hand, and what it said."""

    def __init__(self, root: Path) -> None:
        self.lake, self.home = root / "lake", root / "home"
        self.now_us = FIRST * HOUR_US
        self.machine_s = 100.0
        self.said: list[tuple[str, dict[str, object]]] = []
        self.publisher = self.start()

    def start(self) -> Publisher:
        return Publisher(self.lake, self.home, lambda: self.now_us, self._say, monotonic_s=lambda: self.machine_s)

    def look(self, minutes: float, hour: int = 0, machine_s: float = 0.0) -> list[int]:
        """Look so many minutes after an hour's end; return the hours published by then."""
        self.now_us = (FIRST + hour + 1) * HOUR_US + round(minutes * MINUTE_US)
        self.machine_s += machine_s
        self.well = self.publisher.look(threading.Event())
        return self.hours()

    def hours(self) -> list[int]:
        shelf = Shelf(self.lake)
        shelf.refresh()
        return [hour - FIRST for hour in shelf.hours()]

    def version(self, hour: int) -> int:
        shelf = Shelf(self.lake)
        shelf.refresh()
        return shelf.version(FIRST + hour)

    def told(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.said if name == event]

    def _say(self, event: str, **fields: object) -> None:
        self.said.append((event, fields))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def tape(stage: Stage) -> Tape:
    return Tape(stage.home)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Every list of hours that is read and settled."""
    made: list[list[int]] = []
    real = publish.publish_hours

    def counted(lake: Path, home: Path, hours: list[int], **how: object) -> object:
        made.append([hour - FIRST for hour in hours])
        return real(lake, home, hours, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "publish_hours", counted)
    return made


def test_an_hour_comes_out_a_minute_after_its_end(stage: Stage, tape: Tape) -> None:
    assert stage.look(-30) == []
    tape.write_hour(FIRST)
    assert stage.look(0.9) == []
    assert stage.publisher.waiting == [FIRST]
    assert stage.look(1) == [0]
    assert stage.publisher.waiting == [FIRST]
    assert stage.look(2) == [0]
    assert stage.publisher.waiting == []
    assert_holds(stage.lake, [tape], 0)
    (told,) = stage.told("published")
    assert (told["hour"], told["version"], told["reason"], told["ended"]) == ("2026-06-22T22", 1, "hour", {0: True})


def test_a_shard_without_end_is_given_up_by_both_clocks(stage: Stage, tape: Tape) -> None:
    tape.write_hour(FIRST, end=False)
    assert stage.look(1) == []
    assert stage.look(5, machine_s=29.9) == []
    assert stage.look(4.9, machine_s=1) == []
    assert stage.look(5) == [0]
    assert stage.told("published")[0]["ended"] == {0: False}
    tape.flush(FIRST + 1, (FIRST + 1) * HOUR_US + SECOND_US)
    tape.end(FIRST)
    assert stage.look(6) == [0]
    # It was alive after all: the closes that were derived go again, and what was called lost is known.
    assert (stage.version(0), stage.told("published")[1]["reason"]) == (2, "late")
    assert_holds(stage.lake, [tape], 0)


def test_hours_that_were_over_before_the_start_wait_for_the_machine_too(stage: Stage, tape: Tape) -> None:
    tape.write_hour(FIRST, end=False)
    assert stage.look(600) == []
    assert stage.look(600, machine_s=30) == [0]


def test_hours_come_in_order_and_one_that_cannot_holds_up_the_rest(stage: Stage, tape: Tape) -> None:
    for hour in range(3):
        tape.write_hour(FIRST + hour)
    path = paths.hour_dir(stage.home, 0, FIRST + 1) / "orderbook-000000.arrow"
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert stage.look(5, hour=2) == [0]
    assert not stage.well
    assert stage.publisher.errors == 1
    (told,) = stage.told("publish_failed")
    assert told["kind"] == "CorruptError"
    assert "orderbook-000000" in str(told["error"])
    path.write_bytes(data)
    assert stage.look(5, hour=2) == [0, 1, 2]
    assert stage.well
    assert [one["hour"] for one in stage.told("published")] == ["2026-06-22T22", "2026-06-22T23", "2026-06-23T00"]
    assert_holds(stage.lake, [tape], 0, 1, 2)


def test_what_reaches_back_is_corrected_by_itself_or_with_the_hour_that_shows_it(
    stage: Stage, tape: Tape, calls: list[list[int]]
) -> None:
    for hour in range(2):
        tape.write_hour(FIRST + hour)
        stage.look(1, hour)
    tape.withdraw("A", FIRST + 2, (FIRST + 1) * HOUR_US + 3590 * SECOND_US)
    assert tape.last_us < (FIRST + 2) * HOUR_US + MINUTE_US
    stage.now_us = tape.last_us + MINUTE_US - 1
    stage.publisher.look(threading.Event())
    assert stage.version(1) == 1
    stage.now_us += 1
    stage.publisher.look(threading.Event())
    assert (stage.version(0), stage.version(1)) == (1, 2)
    assert manifest.read(stage.lake, 3).reason == "correction"
    tape.write_hour(FIRST + 2)
    tape.withdraw("B", FIRST + 3, (FIRST + 2) * HOUR_US - 5 * SECOND_US)
    tape.flush(FIRST + 4, (FIRST + 4) * HOUR_US + SECOND_US)
    tape.end(FIRST + 3)
    stage.look(1, 3)
    assert [stage.version(hour) for hour in range(4)] == [1, 3, 1, 1]
    assert [entry.hour - FIRST for entry in manifest.read(stage.lake, 4).hours] == [1, 2]
    assert [entry.hour - FIRST for entry in manifest.read(stage.lake, 5).hours] == [3]
    assert calls == [[0], [1], [1], [1, 2], [3]]
    assert_holds(stage.lake, [tape], 0, 1, 2, 3)


def test_what_was_read_and_found_unchanged_is_not_read_again(stage: Stage, tape: Tape, calls: list[list[int]]) -> None:
    """A shard that crashed, was given up, and then wrote the closes that had been derived for it."""
    tape.write_hour(FIRST, end=False)
    stage.look(5)
    stage.look(5, machine_s=30)
    assert stage.version(0) == 1
    closes = [row for row in _closes(stage, 0) if row["reason"] == "crash"]
    assert len(closes) == 3
    at_us = (FIRST + 1) * HOUR_US + 2000 * SECOND_US
    tape.flush(FIRST + 1, at_us, heard_us=tape.last_us, up=False, orderbook=closes)
    tape.end(FIRST)
    for _ in range(3):
        stage.look(50)
    assert calls == [[0], [0]]
    assert stage.version(0) == 1
    stage.publisher = stage.start()
    for _ in range(3):
        stage.look(50)
    assert calls == [[0], [0], [0]]
    assert stage.version(0) == 1


def test_an_hour_of_which_there_is_nothing_to_tell_is_passed_over(
    stage: Stage, tape: Tape, calls: list[list[int]]
) -> None:
    seqs, tape.seq = tape.seq, {}
    tape.flush(FIRST, FIRST * HOUR_US + 5)
    tape.flush(FIRST + 1, (FIRST + 1) * HOUR_US + 5)
    tape.end(FIRST)
    tape.seq = seqs
    tape.write_hour(FIRST + 1)
    for _ in range(2):
        stage.look(1, 1)
    assert stage.hours() == [1]
    assert calls == [[0], [1]]


def test_at_the_start_it_finishes_what_a_crash_left(stage: Stage, tape: Tape) -> None:
    tape.write_hour(FIRST)
    forks = Forks()
    try:
        place = 0
        while not manifest.last_number(stage.lake):
            assert forks.run(job(stage.lake, stage.home, [FIRST], stage.now_us, die_at=place)) == [DIED]
            place += 1
    finally:
        forks.close()
    assert stage.hours() == []
    assert stage.look(-5) == [0]  # decided is decided, whatever the clock says now
    assert_holds(stage.lake, [tape], 0)


def test_another_publisher_was_faster(stage: Stage, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(2):
        tape.write_hour(FIRST + hour)
    other = stage.start()
    real = publish.publish_hours

    def second(*args: object, **how: object) -> object:
        monkeypatch.setattr(publish, "publish_hours", real)
        assert other.once([FIRST]) == [FIRST]
        return real(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "publish_hours", second)
    assert stage.look(1, 1) == [0, 1]
    assert [one["hour"] for one in stage.told("published")] == ["2026-06-22T22", "2026-06-22T23"]
    assert [stage.version(hour) for hour in range(2)] == [1, 1]
    assert_holds(stage.lake, [tape], 0, 1)


def test_what_comes_after_another_publishers_reading_is_not_taken_for_read(
    stage: Stage, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape.write_hour(FIRST)
    other = stage.start()
    real = publish.publish_hours

    def second(*args: object, **how: object) -> object:
        monkeypatch.setattr(publish, "publish_hours", real)
        assert other.once([FIRST]) == [FIRST]
        tape.withdraw("A", FIRST + 1, (FIRST + 1) * HOUR_US - SECOND_US)
        return real(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "publish_hours", second)
    stage.look(1)
    assert stage.version(0) == 1
    stage.look(10)
    assert stage.version(0) == 2
    assert_holds(stage.lake, [tape], 0)


def test_once(stage: Stage, tape: Tape) -> None:
    for hour in range(3):
        tape.write_hour(FIRST + hour, end=hour < 2)
    stage.now_us = (FIRST + 3) * HOUR_US + MINUTE_US
    assert stage.publisher.once([]) == []
    assert stage.publisher.once([FIRST + 1]) == [FIRST + 1]
    assert stage.publisher.once() == [FIRST, FIRST + 1]
    assert stage.publisher.once([FIRST]) == []
    stage.now_us = (FIRST + 3) * HOUR_US + 5 * MINUTE_US
    assert stage.publisher.once() == [FIRST + 2]
    assert stage.publisher.once() == []
    for hour in (5, 3):
        with pytest.raises(PublishError):
            stage.publisher.once([FIRST + hour])
    assert stage.hours() == [0, 1, 2]


def test_it_runs_until_it_is_stopped(stage: Stage, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOOK_EVERY_S", 0.01)
    for hour in range(2):
        tape.write_hour(FIRST + hour)
    stage.now_us = (FIRST + 2) * HOUR_US + MINUTE_US
    stop = threading.Event()
    thread = threading.Thread(target=stage.publisher.run, args=(stop,))
    thread.start()
    while stage.hours() != [0, 1] and thread.is_alive():
        stop.wait(0.01)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert_holds(stage.lake, [tape], 0, 1)


def test_a_stop_comes_between_two_hours(stage: Stage, tape: Tape) -> None:
    for hour in range(3):
        tape.write_hour(FIRST + hour)
    stage.now_us = (FIRST + 4) * HOUR_US
    stop = threading.Event()
    stage.publisher._log = lambda *_, **__: stop.set()
    assert stage.publisher.look(stop)
    assert stage.hours() == [0]


def test_a_watch_tells_each_folder_as_it_grows(stage: Stage, tape: Tape) -> None:
    journal = Watch(stage.home)
    assert journal.folders() == []
    tape.write_hour(FIRST, flushes=2, end=False)
    (one,) = journal.folders()
    assert (one.shard, one.hour, one.ended, one.alive, one.own.flush, dict(one.touches)) == (
        0,
        FIRST,
        False,
        True,
        2,
        {},
    )
    tape.withdraw("A", FIRST + 1, (FIRST + 1) * HOUR_US - SECOND_US)
    tape.flush(FIRST + 1, tape.last_us + 1, up=False)
    first, second = journal.folders()
    assert first == one
    assert {hour: touch.flush for hour, touch in second.touches.items()} == {FIRST: 3}
    assert (second.own.flush, second.alive) == (3, False)
    tape.end(FIRST)
    assert [folder.ended for folder in journal.folders()] == [True, False]
    # One that starts now does not read what nobody needs, and says the same of it.
    (paths.hour_dir(stage.home, 0, FIRST) / paths.FLUSH_NAME).unlink()
    again, _ = Watch(stage.home).folders()
    assert (again.ended, again.touches) == (True, {})
    assert again.own.flush >= one.own.flush


def test_an_end_is_not_believed_before_the_flushes_that_it_counts(
    stage: Stage, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape.write_hour(FIRST, end=False)
    tape.flush(FIRST + 1, (FIRST + 1) * HOUR_US + 1)

    def meanwhile(home: Path, shard: int, hour: int) -> object:
        if hour == FIRST:
            monkeypatch.setattr(watch, "read_end", ends.read_end)
            tape.flush(FIRST + 1, (FIRST + 1) * HOUR_US + SECOND_US)
            tape.end(FIRST)
        return ends.read_end(home, shard, hour)

    for journal in (Watch(stage.home), Watch(stage.home)):
        monkeypatch.setattr(watch, "read_end", meanwhile)
        newest = tape.n
        first, second = journal.folders()
        assert (first.ended, max(first.newest, second.newest)) == (False, newest)
        first, second = journal.folders()
        assert (first.ended, max(first.newest, second.newest)) == (True, tape.n)
        paths.end_path(stage.home, 0, FIRST).unlink()


def test_a_silence_told_late_touches_the_hours_it_began_in(stage: Stage, tape: Tape) -> None:
    tape.write_hour(FIRST)
    start_us = (FIRST + 1) * HOUR_US
    silence = Silence(tape.book_conn, start_us - SECOND_US, start_us + SECOND_US)
    tape.flush(FIRST + 1, start_us + 2 * SECOND_US, silences=[silence])
    folders = Watch(stage.home).folders()
    assert {hour: touch.flush for hour, touch in folders[1].touches.items()} == {FIRST: tape.n}


def _closes(stage: Stage, hour: int) -> list[dict[str, object]]:
    names = ["ticker", "ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2", "reason"]
    rows = [dict(zip(names, row, strict=True)) for row in stored(shelf_of(stage.lake), FIRST + hour, "orderbook")]
    return [row for row in rows if row["kind"] == 3]


def test_the_rows_of_a_crash_are_those_that_were_logged(stage: Stage, tape: Tape) -> None:
    tape.write_hour(FIRST, end=False)
    stage.look(5)
    stage.look(5, machine_s=30)
    logged = len(expected([tape], FIRST, "orderbook"))
    assert len(_closes(stage, 0)) == 3
    assert len(stored(shelf_of(stage.lake), FIRST, "orderbook")) == logged + 3


def test_closes_stamped_in_an_hour_without_a_folder_are_published(stage: Stage) -> None:
    """The last frame came on an hour's last microsecond, and the shard was down for all of the next hour."""
    log, edge_us = HandLog(stage.home), (FIRST + 1) * HOUR_US
    log.snapshot("A", edge_us - SECOND_US, 1)
    log.flush(FIRST, {CONN: (edge_us - 1, 1, 1)})
    assert stage.look(5) == []
    assert stage.look(5, machine_s=30) == [0]
    log.close("A", edge_us, 1, "crash")
    log.flush(FIRST + 2, {CONN: (edge_us - 1, 1, 0)})
    log.end(FIRST)
    log.end(FIRST + 2)
    assert stage.look(1, hour=2) == [0, 1, 2]
    for hour, states in ((0, ["known"]), (1, ["known", "gap"]), (2, ["gap"])):
        rows = stage.publisher.shelf.standing_rows(FIRST + hour)
        ticker = pc.equal(rows["ticker"], "A")
        assert sorted(rows.filter(ticker)["state"].to_pylist(), reverse=True) == states
