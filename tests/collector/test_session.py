"""Links, silences, hours, overflows, clock steps, and what a flush says of conns."""

import random

import pytest

from book.records import DAY_US, HOUR_US, Kind, Reason
from book.wire import encode
from collector.links import Ended, Mark
from tests.collector.sessions import BOOK, T0, Bench, closes, delta, rows


@pytest.fixture
def bench() -> Bench:
    """Stand on link 1 with the books of A and B, flushed."""
    bench = Bench()
    bench.open()
    bench.record("A", "B")
    bench.take()
    return bench


# what a flush says


def test_a_flush_names_every_conn_that_is_up_with_the_last_frame_and_seq(bench: Bench) -> None:
    bench.after(50).frame(delta(3))
    taken = bench.take()
    assert len(taken.conns) == 3
    assert taken.conns[bench.conn()] == (bench.us(), 3, True, 0)
    assert {frame_us for frame_us, *_ in taken.conns.values()} == {bench.us()}
    assert taken.at_us == bench.us()


def test_a_pong_counts_as_heard_when_what_came_before_it_is_in(bench: Bench) -> None:
    bench.after(50).frame(delta(3))
    bench.after(20).mark(Mark.PONG)
    taken = bench.take()
    assert taken.conns[bench.conn()] == (bench.us(), 3, True, 0)
    assert len(rows(taken)) == 1


def test_an_empty_flush_claims_nothing_new(bench: Bench) -> None:
    before = bench.take()
    bench.after(900)
    assert bench.session.stamp(bench.now_ns) == bench.us()
    taken = bench.session.take()
    assert taken.conns == before.conns
    assert taken.at_us == bench.us()
    assert taken.tables == {}


def test_no_frame_is_ever_stamped_as_early_as_what_a_flush_has_claimed(bench: Bench) -> None:
    """Two frames of one microsecond, a flush between them: the first answer would change otherwise."""
    bench.after(1).frame(delta(3))
    taken = bench.take()
    claimed_us = taken.conns[bench.conn()][0]
    bench.frame(delta(4))
    (row,) = rows(bench.take())
    assert row[3] == claimed_us + 1


def test_random_feeds_never_claim_beyond_what_is_told() -> None:
    rng = random.Random(8)
    for _ in range(15):
        bench = Bench(start_us=T0 + HOUR_US - 3_000_000)
        bench.open()
        bench.record("A", "B")
        seq, claimed = 2, {}
        for _ in range(40):
            for _ in range(rng.randint(0, 4)):
                seq += 1
                bench.after(rng.choice((0, 0, 0.0004, 1, 90)))
                bench.frame(delta(seq, rng.choice("AB"))) if rng.random() < 0.8 else bench.mark(Mark.PONG)
                seq -= bench.items[-1][2] is Mark.PONG
            for hour, taken in bench.feed():
                for row in rows(taken):
                    assert row[3] > claimed.get(bench.conn(), 0) or row[0] is Kind.CHECKPOINT
                    assert row[3] // HOUR_US == hour
                    assert row[3] <= taken.conns[bench.conn()][0]
                claimed = {conn: frame_us for conn, (frame_us, *_) in taken.conns.items()}
            if rng.random() < 0.3:
                bench.after(rng.randint(0, 300))
                bench.session.stamp(bench.now_ns)
                assert bench.session.take().conns[bench.conn()][0] <= bench.us()


def test_a_conn_that_has_ended_is_named_once_more_as_ended(bench: Bench) -> None:
    conn, heard_us = bench.conn(), bench.us()
    bench.after(400).mark(Ended(Reason.DISCONNECT))
    taken = bench.take()
    assert taken.conns[conn] == (heard_us, 2, False, 0)
    assert all(not up for _, _, up, _ in taken.conns.values())
    assert bench.session.take().conns == {}
    assert bench.session.spans.conns == {}


# hours


def test_parts_are_cut_at_hours_and_each_is_flushed_by_itself() -> None:
    bench = Bench(start_us=T0 + HOUR_US - 1_000_000)
    bench.open()
    bench.record("A")
    bench.take()
    bench.after(500).frame(delta(2))
    bench.after(600).frame(delta(3), delta(4))
    (before, first), (after, second) = bench.feed()
    assert after == before + 1 == T0 // HOUR_US + 1
    assert [row[0].name for row in rows(first)] == ["DELTA"]
    assert [(row[0].name, row[3] % HOUR_US) for row in rows(second)][:2] == [("CHECKPOINT", 0), ("DELTA", 200_000)]
    assert first.conns[bench.conn()][:2] == (T0 + HOUR_US - 1_000_000 + 600_000, 2)


def test_the_last_frame_claimed_in_an_hour_lies_in_it_even_when_more_has_arrived() -> None:
    bench = Bench(start_us=T0 + HOUR_US - 1_000_000)
    bench.open()
    bench.record("A")
    bench.after(950).mark(Mark.PONG)
    bench.after(50).mark(Mark.PONG)
    (_, first), (_, second) = bench.feed()
    assert first.conns[bench.conn()][0] < T0 + HOUR_US <= second.conns[bench.conn()][0]


def test_midnight_checkpoints_are_written_when_the_conn_is_heard_past_it() -> None:
    midnight_us = T0 // DAY_US * DAY_US + DAY_US
    bench = Bench(start_us=midnight_us - 1_000_000)
    bench.open()
    bench.record("A", "B")
    bench.take()
    bench.after(2_000)
    assert rows(bench.session.take()) == []
    bench.mark(Mark.PONG)
    assert [(row[0].name, row[3]) for row in rows(bench.take())] == [("CHECKPOINT", midnight_us)] * 2


# silences


def test_a_silence_is_written_for_every_conn_when_it_ends(bench: Bench) -> None:
    heard_us = bench.us()
    bench.after(2_600).frame(delta(3))
    taken = bench.take()
    assert sorted(taken.silences) == sorted((conn, heard_us + 1, bench.us()) for conn in taken.conns)
    assert [row[0].name for row in rows(taken)] == ["DELTA"]


def test_a_silence_that_goes_on_is_not_written_yet(bench: Bench) -> None:
    bench.after(9_000)
    assert bench.take().silences == []


@pytest.mark.parametrize(("ms", "count"), [(2_500, 0), (2_500.001, 3)])
def test_the_bound_of_a_silence_is_exact(bench: Bench, ms: float, count: int) -> None:
    bench.after(ms).mark(Mark.PONG)
    assert len(bench.take().silences) == count


def test_several_silences_in_one_feed_are_each_written(bench: Bench) -> None:
    heard_us = bench.us()
    bench.after(3_000).mark(Mark.PONG)
    first_us = bench.us()
    bench.after(100).frame(delta(3))
    second_us = bench.us()
    bench.after(4_000).frame(delta(4), delta(5))
    silences = [one[1:] for one in bench.take().silences if one[0] == bench.conn()]
    assert silences == [(heard_us + 1, first_us), (second_us + 1, bench.us())]


def test_another_links_frames_do_not_hide_a_silence(bench: Bench) -> None:
    bench.open(2)
    second_us = bench.take().conns[next(iter(bench.session.links[2].conns.values())).id][0]
    for _ in range(30):
        bench.after(100).mark(Mark.PONG, link=1)
    bench.mark(Mark.PONG, link=2)
    taken = bench.take()
    assert {one[1:] for one in taken.silences} == {(second_us + 1, bench.us())}
    assert {one[0] for one in taken.silences} == {conn.id for conn in bench.session.links[2].conns.values()}


def test_a_silence_over_the_hour_is_written_whole() -> None:
    bench = Bench(start_us=T0 + HOUR_US - 1_000_000)
    bench.open()
    bench.record("A")
    bench.take()
    heard_us = bench.us()
    bench.after(4_000).frame(delta(2))
    ((hour, taken),) = bench.feed()
    assert hour == T0 // HOUR_US + 1
    assert (bench.conn(), heard_us + 1, bench.us()) in taken.silences


# the end of a link


@pytest.mark.parametrize("reason", [Reason.DISCONNECT, Reason.STALL, Reason.SHUTDOWN])
def test_the_end_of_a_link_closes_its_books_after_the_last_thing_heard(bench: Bench, reason: Reason) -> None:
    bench.after(100).frame(delta(3))
    bench.after(30).mark(Mark.PONG)
    heard_us = bench.us()
    bench.after(5_000).mark(Ended(reason))
    taken = bench.take()
    assert closes(taken) == [(ticker, 3, heard_us + 1, reason) for ticker in ("A", "B")]
    assert taken.silences == []
    assert bench.session.links == {}


def test_what_arrives_on_a_link_after_its_end_is_nothing(bench: Bench) -> None:
    bench.after(100).mark(Ended(Reason.DISCONNECT))
    bench.frame(delta(3))
    bench.mark(Mark.PONG)
    bench.mark(Mark.OVERFLOW)
    bench.mark(Ended(Reason.STALL))
    assert [row[-1] for row in closes(bench.take())] == ["disconnect"] * 2
    bench.frame(delta(4))
    assert rows(bench.take()) == []


def test_a_new_link_wants_what_is_listed(bench: Bench) -> None:
    bench.after(100).mark(Ended(Reason.DISCONNECT))
    bench.take()
    bench.open(2)
    link, command = bench.said[-1]
    assert (link, command["params"]["market_tickers"]) == (2, ["A", "B"])


def test_a_close_in_an_hour_that_is_over_is_named() -> None:
    bench = Bench(start_us=T0 + HOUR_US - 1_000_000)
    bench.open()
    bench.record("A")
    bench.take()
    bench.after(2_000).mark(Ended(Reason.STALL))
    ((hour, taken),) = bench.feed()
    assert hour == T0 // HOUR_US + 1
    assert taken.close_hours == {T0 // HOUR_US}


# overflow


def test_an_overflow_closes_after_the_last_message_queued_and_takes_any_number_next(bench: Bench) -> None:
    bench.after(100).frame(delta(3))
    queued_us = bench.us()
    bench.after(20).mark(Mark.PONG)
    bench.after(300).mark(Mark.OVERFLOW)
    taken = bench.take()
    assert closes(taken) == [(ticker, 3, queued_us + 1, "overflow") for ticker in ("A", "B")]
    bench.after(10).frame(delta(90), encode.snapshot(3, 91, "A", BOOK), delta(92))
    taken = bench.take()
    assert [(row[0].name, row[2]) for row in rows(taken)] == [("ORPHAN", 90), ("SNAPSHOT", 91), ("DELTA", 92)]
    assert {event for event, _ in bench.session.notes()} >= {"overflow"}


def test_after_an_overflow_every_book_is_asked_for(bench: Bench) -> None:
    bench.after(100).mark(Mark.OVERFLOW)
    bench.take()
    (command,) = bench.tick()
    assert command["params"]["action"] == "get_snapshot"
    assert sorted(command["params"]["market_tickers"]) == ["A", "B"]


# clock


def test_a_clock_step_closes_every_book_once(bench: Bench) -> None:
    last_us = bench.session.stamp(bench.now_ns)
    bench.session.clock(bench.us() + 2_000_000, bench.now_ns)
    bench.session.clock(bench.us() + 2_000_000, bench.now_ns)
    taken = bench.session.take()
    assert closes(taken) == [(ticker, 2, last_us + 1, "clock_step") for ticker in ("A", "B")]
    (command,) = bench.tick()
    assert sorted(command["params"]["market_tickers"]) == ["A", "B"]


def test_no_stamp_after_a_clock_step_equals_one_before(bench: Bench) -> None:
    bench.frame(delta(3))
    bench.take()
    bench.session.clock(bench.us() - 900_000, bench.now_ns)
    ((_, _, close_us, _), *_) = closes(bench.session.take())
    bench.frame(encode.snapshot(3, 4, "A", BOOK))
    (row,) = rows(bench.take())
    assert row[3] >= close_us


def test_a_market_that_an_older_link_took_over_before_it_ended_is_subscribed_anew(bench: Bench) -> None:
    """The living subscription's conn is below the market's last one: only a later one may have the book."""
    bench.open(2)
    _serve(bench, 2, 10)
    old = bench.conn(2)
    bench.after(50).frame(encode.error(25, "overflow", sid=3, seq=3))
    bench.take()
    _serve(bench, 1, 10)
    assert bench.conn(1) > old
    bench.mark(Ended(Reason.DISCONNECT))
    assert {close[0] for close in closes(bench.take())} == {"A", "B"}
    _serve(bench, 2, 600)
    assert bench.session.figures().live == 2
    assert bench.conn(2) > old


def _serve(bench: Bench, link: int, turns: int) -> None:
    """Let the venue answer all that is asked on a link for so many tenths of a second."""

    def seq(sid: int) -> int:
        """Return the next number of a subscription."""
        conn = bench.session.links[link].conns.get(sid)
        last[sid] = max(last.get(sid, 0), 0 if conn is None else conn.tracker.last) + 1
        return last[sid]

    last: dict[int, int] = {}
    for _ in range(turns):
        before = len(bench.said)
        bench.tick()
        for command in [command for of, command in bench.said[before:] if of == link]:
            given = command["params"]
            if command["cmd"] == "subscribe":
                bench.answer([command], link)
            sid = bench.sids[link]
            if command["cmd"] == "unsubscribe":
                bench.frame(encode.unsubscribed(command["id"], sid, seq(sid)), link=link)
            elif "action" in given and given["action"] != "get_snapshot":
                bench.frame(encode.ok(command["id"], sid, seq(sid)), link=link)
            if command["cmd"] != "unsubscribe" and given.get("action") != "delete_markets":
                asked = command["id"] if given.get("action") == "get_snapshot" else None
                for ticker in given.get("market_tickers", ()):
                    bench.frame(encode.snapshot(sid, seq(sid), ticker, BOOK, command_id=asked), link=link)
        bench.take()
