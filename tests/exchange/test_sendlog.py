"""The send log: found by number and by seq, bounded, honest about what is gone."""

import pytest

from exchange.errors import RefusedError
from exchange.sendlog import Frame, SendLog


def fill(log: SendLog, count: int, *, port: int = 1, sid: int | None = 1, first: int = 1) -> None:
    for seq in range(first, first + count):
        frame = Frame(port, sid, seq if sid else None, "orderbook_delta", "A", seq * 10, b"{}")
        log.record(frame, seq * 1000, seq)


def status_of(log: SendLog, port: int, sid: int, seq: int) -> int:
    with pytest.raises(RefusedError) as caught:
        log.find(port, sid, seq)
    return caught.value.status


def test_numbers_times_and_lookup() -> None:
    log = SendLog(100)
    fill(log, 5)
    fill(log, 3, port=2)
    fill(log, 1, sid=None)
    assert [frame.n for frame in log.after(0)] == list(range(1, 10))
    assert [frame.n for frame in log.after(7)] == [8, 9]
    assert list(log.after(9)) == []
    found = log.find(1, 1, 4)
    assert (found.n, found.sent_us, found.change_no) == (4, 4000, 40)
    assert log.find(2, 1, 1).n == 6
    assert [status_of(log, *key) for key in ((1, 1, 6), (1, 2, 1), (3, 1, 1))] == [404, 404, 404]


def test_a_hole_in_the_numbers_is_not_found() -> None:
    log = SendLog(100)
    fill(log, 2)
    fill(log, 2, first=5)
    assert [log.find(1, 1, seq).seq for seq in (1, 2, 5, 6)] == [1, 2, 5, 6]
    assert [status_of(log, 1, 1, seq) for seq in (3, 4, 7)] == [404, 404, 404]


@pytest.mark.parametrize("count", [150, 10_000])
def test_the_oldest_are_dropped(count: int) -> None:
    log = SendLog(100)
    fill(log, count)
    assert (len(log), log.sent) == (100, count)
    assert [frame.seq for frame in log.after(0)] == list(range(count - 99, count + 1))
    assert log.find(1, 1, count - 99).n == count - 99
    assert (status_of(log, 1, 1, count - 100), status_of(log, 1, 1, count + 1)) == (410, 404)
    assert log.floor_no == (count - 100) * 10
    fill(log, 100, port=2)
    assert status_of(log, 1, 1, count) == 410, "every frame of that connection is gone"


def test_reading_goes_on_while_frames_come_and_go() -> None:
    log = SendLog(10)
    fill(log, 10)
    seen = []
    for frame in log.after(0):
        seen.append(frame.n)
        if len(seen) == 2:
            fill(log, 5, first=11)
    assert seen == [1, 2, *range(6, 16)]


def test_a_port_used_again_is_another_connection() -> None:
    log = SendLog(100)
    fill(log, 3)
    log.open_port(1)
    fill(log, 1)
    assert log.find(1, 1, 1).n == 4
    assert status_of(log, 1, 1, 2) == 404
    fill(log, 200, port=2)
    assert status_of(log, 1, 1, 1) == 410
