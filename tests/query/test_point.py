"""One book at an instant: the cases by hand."""

from typing import Any

import pytest

from book.errors import ApiError
from lake import paths
from lake.journal.reader import Hour
from query.log import Log
from query.point import book_at
from tests.query.conftest import CHECKPOINT

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR + 600_000_000
CONN = (T0 // 1000 - 1000) * 1024
LATER = CONN + 5 * 1024
A = "KXGOLD-26AUG10-T1"


def levels(log: Log, ts: int | None, ticker: str = A, **options: Any) -> list[tuple[int, int, int]]:
    return book_at(log, ticker, ts, **options).book.levels()


def refused(log: Log, ts: int | None, ticker: str = A, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        book_at(log, ticker, ts, **options)
    return caught.value


def test_snapshot_and_changes(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100), (1, 5000, 200)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 4500, 50)
    journal.delta(A, T0 + 10, CONN, 3, 1, 5000, -200)
    journal.delta(A, T0 + 20, CONN, 5, 0, 4400, 7)
    journal.heard(CONN, T0 + 100)
    journal.flush()
    assert levels(log, T0) == [(0, 4500, 100), (1, 5000, 200)]
    assert levels(log, T0 + 9) == [(0, 4500, 100), (1, 5000, 200)]
    assert levels(log, T0 + 10) == [(0, 4500, 150)]
    answer = book_at(log, A, T0 + 99)
    assert answer.book.levels() == [(0, 4400, 7), (0, 4500, 150)]
    assert (answer.basis, answer.basis_at_us, answer.deltas_applied) == ("snapshot", T0, 3)
    assert (answer.conn, answer.seq, answer.last_change_us) == (CONN, 5, T0 + 20)
    assert (answer.known_until_us, answer.complete, answer.gap) == (T0 + 100, True, None)
    assert answer.digest == answer.book.digest()


def test_no_instant_is_the_book_at_known_until(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100)])
    journal.heard(CONN, T0 + 100)
    journal.flush()
    assert book_at(log, A).at_us == T0 + 100


def test_past_known_until_is_not_yet_known(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100)])
    journal.heard(CONN, T0 + 100)
    journal.flush()
    error = refused(log, T0 + 101)
    assert (error.code, error.fields) == ("not_yet_known", {"known_until": T0 + 100})
    journal.heard(CONN, T0 + 200)
    journal.flush()
    assert levels(log, T0 + 101) == [(0, 4500, 100)]


def test_unflushed_rows_do_not_exist(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100)])
    journal.flush()
    journal.delta(A, T0 + 10, CONN, 2, 0, 4500, 50)
    assert refused(log, T0 + 10).code == "not_yet_known"
    journal.flush()
    assert levels(log, T0 + 10) == [(0, 4500, 150)]


def test_empty_book(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.delta(A, T0 + 10, CONN, 2, 0, 4500, 50)
    journal.delta(A, T0 + 20, CONN, 3, 0, 4500, -50)
    journal.flush()
    assert levels(log, T0) == []
    assert levels(log, T0 + 10) == [(0, 4500, 50)]
    answer = book_at(log, A, T0 + 20)
    assert (answer.book.levels(), answer.digest) == ([], "e3b0c44298fc1c14")


def test_ties_of_stamp(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.checkpoint(A, T0 + 10, CONN, 2, [(0, 100, 2)])
    journal.delta(A, T0 + 10, CONN, 3, 0, 100, 5)
    journal.close(A, T0 + 10, CONN, 3, "moved")
    journal.snapshot(A, T0 + 10, LATER, 1, [(1, 200, 3)])
    journal.flush()
    assert levels(log, T0 + 9) == [(0, 100, 1)]
    assert levels(log, T0 + 10) == [(1, 200, 3)]


def test_a_delta_at_the_checkpoints_stamp_with_a_greater_seq_counts(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.delta(A, T0 + 10, CONN, 3, 0, 100, 5)
    journal.checkpoint(A, T0 + 10, CONN, 2, [(0, 100, 2)])
    journal.flush()
    answer = book_at(log, A, T0 + 10)
    assert (answer.basis, answer.book.levels()) == ("checkpoint", [(0, 100, 7)])


def test_orphans_are_never_summed(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.close(A, T0 + 5, CONN, 1, "seq_gap")
    journal.orphan(A, T0 + 10, CONN, 5, 0, 100, 9)
    journal.snapshot(A, T0 + 20, CONN, 7, [(0, 100, 2)])
    journal.orphan(A, T0 + 21, CONN, 8, 0, 100, 9)
    journal.flush()
    assert refused(log, T0 + 10).code == "data_gap"
    assert levels(log, T0 + 21) == [(0, 100, 2)]


def test_gap_names_its_ends_and_neighbours(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, T0 + 49)
    journal.close(A, T0 + 50, CONN, 1, "disconnect")
    journal.flush()
    assert refused(log, T0 + 60).fields == {
        "from": T0 + 50,
        "to": None,
        "reason": "disconnect",
        "last_known": T0 + 49,
        "next_known": None,
    }
    assert refused(log, None).code == "data_gap"
    journal.snapshot(A, T0 + 90, LATER, 1, [(0, 100, 2)])
    journal.flush()
    error = refused(log, T0 + 60)
    assert (error.code, error.fields["to"], error.fields["next_known"]) == ("data_gap", T0 + 90, T0 + 90)
    assert levels(log, T0 + 49) == [(0, 100, 1)]
    assert refused(log, T0 + 50).code == refused(log, T0 + 89).code == "data_gap"
    assert levels(log, T0 + 90) == [(0, 100, 2)]


def test_on_gap_last_gives_the_last_known_book(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 4)
    journal.delta(A, T0 + 40, CONN, 3, 0, 100, 4)
    journal.close(A, T0 + 40, CONN, 2, "audit_mismatch")
    journal.flush()
    answer = book_at(log, A, T0 + 60, on_gap="last")
    assert (answer.at_us, answer.complete, answer.book.levels()) == (T0 + 60, False, [(0, 100, 5)])
    assert answer.gap is not None
    assert (answer.gap.from_us, answer.gap.last_known_us, answer.gap.reason) == (T0 + 40, T0 + 39, "audit_mismatch")


def test_silence_is_never_complete(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, T0 + 10)
    journal.flush()
    assert refused(log, T0 + 20).code == "not_yet_known"
    journal.flush()
    assert refused(log, T0 + 20).code == "not_yet_known"
    journal.delta(A, T0 + 5_000_000, CONN, 2, 0, 100, 1)
    journal.silence(CONN, T0 + 11, T0 + 5_000_000)
    journal.flush()
    error = refused(log, T0 + 20)
    assert error.code == "data_gap"
    assert error.fields == {
        "from": T0 + 11,
        "to": T0 + 5_000_000,
        "reason": "stall",
        "last_known": T0 + 10,
        "next_known": T0 + 5_000_000,
    }
    assert levels(log, T0 + 10) == [(0, 100, 1)]
    assert levels(log, T0 + 5_000_000) == [(0, 100, 2)]
    assert refused(log, T0 + 4_999_999).code == "data_gap"
    assert levels(log, T0 + 20, on_gap="last") == [(0, 100, 1)]


def test_gap_after_a_silence_names_the_last_instant_really_known(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.silence(CONN, T0 + 11, T0 + 50)
    journal.heard(CONN, T0 + 60)
    journal.close(A, T0 + 50, CONN, 1, "stall")
    journal.flush()
    assert refused(log, T0 + 55).fields["last_known"] == T0 + 10


def test_a_close_withdraws_what_was_logged_before_it(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.audit(A, T0 + 10, CONN, 2)
    journal.delta(A, T0 + 20, CONN, 4, 0, 100, 1)
    journal.checkpoint(A, T0 + 20, CONN, 4, [(0, 100, 3)])
    journal.heard(CONN, T0 + 30)
    journal.flush()
    assert levels(log, T0 + 25) == [(0, 100, 3)]
    journal.close(A, T0 + 11, CONN, 2, "audit_mismatch")
    journal.snapshot(A, T0 + 40, CONN, 6, [(0, 100, 9)])
    journal.flush()
    assert levels(log, T0 + 10) == [(0, 100, 2)]
    assert book_at(log, A, T0 + 10).last_audit_us == T0 + 10
    assert {refused(log, T0 + at).code for at in (11, 20, 25, 39)} == {"data_gap"}
    assert levels(log, T0 + 40) == [(0, 100, 9)]


def test_a_close_withdraws_a_midnight_checkpoint(journal: Any, log: Log) -> None:
    midnight = (H0 + 8) * HOUR
    journal.snapshot(A, midnight - 50, CONN, 1, [(0, 100, 1)])
    journal.delta(A, midnight - 20, CONN, 2, 0, 100, 1)
    journal.heard(CONN, midnight + 10)
    journal.flush(H0 + 7)
    journal.checkpoint(A, midnight, CONN, 2, [(0, 100, 2)])
    journal.flush(H0 + 8)
    assert levels(log, midnight + 5) == [(0, 100, 2)]
    assert book_at(log, A, midnight + 5).last_change_us == midnight - 20
    journal.close(A, midnight - 20, CONN, 1, "audit_mismatch")
    journal.snapshot(A, midnight + 100, CONN, 5, [(0, 100, 7)])
    journal.flush()
    assert journal.records[-1].reach == [H0 + 7]
    assert levels(log, midnight - 21) == [(0, 100, 1)]
    error = refused(log, midnight + 5)
    assert (error.fields["from"], error.fields["to"]) == (midnight - 20, midnight + 100)
    assert refused(log, midnight - 20).fields["to"] == midnight + 100
    assert levels(log, midnight + 100) == [(0, 100, 7)]


def test_second_close_with_an_earlier_instant_on_the_same_conn(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 30, CONN, 2, 0, 100, 1)
    journal.close(A, T0 + 50, CONN, 2, "moved")
    journal.snapshot(A, T0 + 50, LATER, 1, [(0, 100, 5)])
    journal.heard(CONN, T0 + 60)
    journal.flush()
    assert levels(log, T0 + 45) == [(0, 100, 2)]
    journal.close(A, T0 + 31, CONN, 2, "seq_gap")
    journal.flush()
    assert levels(log, T0 + 30) == [(0, 100, 2)]
    error = refused(log, T0 + 45)
    assert (error.fields["from"], error.fields["to"], error.fields["reason"]) == (T0 + 31, T0 + 50, "seq_gap")
    assert levels(log, T0 + 50) == [(0, 100, 5)]


def test_close_reaching_back_over_an_hour_without_rows(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.heard(CONN, T0 + HOUR)
    journal.flush(H0)
    journal.heard(CONN, T0 + 2 * HOUR)
    journal.flush(H0 + 1)
    assert levels(log, T0 + HOUR) == [(0, 100, 2)]
    assert levels(log, T0 + 2 * HOUR) == [(0, 100, 2)]
    journal.close(A, T0 + 10, CONN, 1, "audit_mismatch")
    journal.snapshot(A, T0 + 3 * HOUR, CONN, 9, [(0, 100, 3)])
    journal.flush(H0 + 3)
    assert levels(log, T0 + 9) == [(0, 100, 1)]
    for ts in (T0 + 10, T0 + HOUR, T0 + 2 * HOUR):
        assert (refused(log, ts).fields["from"], refused(log, ts).fields["to"]) == (T0 + 10, T0 + 3 * HOUR)
    assert levels(log, T0 + 3 * HOUR) == [(0, 100, 3)]


def test_base_is_found_over_hours_and_changes_are_summed_over_them(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.snapshot("B", T0, CONN, 2, [(0, 100, 1)])
    journal.flush()
    for hour in range(1, 5):
        journal.delta("B", T0 + hour * HOUR, CONN, 10 + hour, 0, 100, 1)
        if hour == 3:
            journal.delta(A, T0 + hour * HOUR, CONN, 10 + hour - 1, 0, 100, 4)
        journal.flush()
        journal.seal()
    assert levels(log, T0 + 4 * HOUR) == [(0, 100, 5)]
    assert levels(log, T0 + 2 * HOUR) == [(0, 100, 1)]


def test_before_the_first_and_unknown_markets(journal: Any, log: Log) -> None:
    assert refused(log, T0).code == "market_not_found"
    journal.market("KXGOLD-26AUG10-T2", T0)
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.flush()
    error = refused(log, T0 - 1)
    assert (error.code, error.fields) == ("no_data_available", {"reason": "before_first_data", "earliest": T0})
    error = refused(log, T0, "KXGOLD-26AUG10-T2")
    assert (error.code, error.fields["reason"]) == ("no_data_available", "not_recorded")
    assert refused(log, T0, "NOSUCH").code == "market_not_found"


def test_after_the_end(journal: Any, log: Log) -> None:
    journal.market(A, T0, close_time=T0 + 100, open_time=T0 - 100)
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.snapshot(A, T0 + 100, CONN, 3, [])
    journal.close(A, T0 + 120, CONN, 4, "market_closed")
    journal.heard(CONN, T0 + 200)
    journal.flush()
    assert levels(log, T0 + 110) == []
    error = refused(log, T0 + 150)
    assert (error.code, error.fields) == ("market_closed", {"closed_at": T0 + 100, "result": None})
    journal.market(A, T0 + 130, close_time=T0 + 100, open_time=T0 - 100, status="settled", result="yes")
    journal.flush()
    assert refused(log, T0 + 150).fields == {"closed_at": T0 + 100, "result": "yes"}
    assert refused(log, (H0 + 2000) * HOUR).code == "market_closed"


def test_recording_that_stopped_before_the_end(journal: Any, log: Log) -> None:
    journal.market(A, T0, close_time=T0 + 100, status="settled", result="no")
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.close(A, T0 + 20, CONN, 1, "shutdown")
    journal.flush()
    assert refused(log, T0 + 30).code == "data_gap"
    assert refused(log, T0 + 100).fields == {"closed_at": T0 + 100, "result": "no"}


def test_after_the_subscription_ended(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.close(A, T0 + 20, CONN, 3, "unsubscribed")
    journal.heard(CONN, T0 + 100)
    journal.flush()
    error = refused(log, T0 + 30)
    assert (error.code, error.fields["reason"]) == ("no_data_available", "unsubscribed")


def test_the_future(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.close(A, T0 + 20, CONN, 1, "disconnect")
    journal.flush()
    assert refused(log, (H0 + 2000) * HOUR).code == "not_yet_known"
    assert refused(log, (H0 + 2000) * HOUR, on_gap="last").code == "not_yet_known"


def test_negative_level_is_withheld(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, -2)
    journal.flush()
    assert refused(log, T0 + 10).code == "internal_error"


def test_two_shards_are_answered_apart(journal: Any, journals: Any, log: Log) -> None:
    other = journals(1)
    conn1 = CONN + 1
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, T0 + 49)
    journal.close(A, T0 + 50, CONN, 1, "disconnect")
    journal.snapshot(A, T0 + 90, LATER, 1, [(0, 100, 2)])
    journal.flush()
    other.snapshot(A, T0 + 10, conn1, 1, [(0, 100, 1)])
    other.delta(A, T0 + 55, conn1, 2, 0, 100, 6)
    other.heard(conn1, T0 + 69)
    other.close(A, T0 + 70, conn1, 2, "stall")
    other.flush()
    assert book_at(log, A, T0 + 20).conn == CONN
    assert (book_at(log, A, T0 + 60).conn, levels(log, T0 + 60)) == (conn1, [(0, 100, 7)])
    assert levels(log, T0 + 90) == [(0, 100, 2)]
    error = refused(log, T0 + 75)
    assert error.fields == {
        "from": T0 + 70,
        "to": T0 + 90,
        "reason": "disconnect",
        "last_known": T0 + 69,
        "next_known": T0 + 90,
    }
    assert levels(log, T0 + 75, on_gap="last") == [(0, 100, 7)]
    assert refused(log, T0 + 200).code == "not_yet_known"
    assert book_at(log, A).at_us == T0 + 90


def test_decoded_rows_need_not_be_kept(journal: Any, log: Log) -> None:
    bare = Log(journal.home, log.now_us, poll_every_s=0, row_bytes=0, index_bytes=0)
    for seq in range(1, 300):
        journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)]) if seq == 1 else journal.delta(
            A, T0 + seq, CONN, seq, 0, 100, seq
        )
        journal.delta("B", T0 + seq, CONN, 1000 + seq, 0, 100, 1)
        journal.flush()
        if seq % 100 == 0:
            journal.seal()
    for at in (0, 5, 150, 3, 151, 290):
        want = [(0, 100, 1 + sum(range(2, at + 1)))]
        assert levels(bare, T0 + at) == levels(log, T0 + at) == want


def test_an_hour_that_ends_while_it_is_looked_at(journal: Any, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old hour's last flush and the new hour's first fall between two polls: the new one alone is not believed."""
    noon = (H0 + 1) * HOUR
    journal.snapshot(A, noon - 50, CONN, 1, [(0, 100, 1)])
    journal.flush()
    paths.hour_dir(journal.home, 0, H0 + 1).mkdir()
    levels(log, noon - 50)
    real = Hour.poll
    polled: list[int] = []

    def poll(hour: Hour) -> Any:
        found = real(hour)
        if not polled:
            polled.append(hour.hour)
            journal.delta(A, noon - 30, CONN, 2, 0, 100, 5)
            journal.flush(H0)
            journal.heard(CONN, noon + 10)
            journal.flush(H0 + 1)
        return found

    monkeypatch.setattr(Hour, "poll", poll)
    error = refused(log, noon - 20)
    assert error.code == "not_yet_known"
    assert levels(log, noon - 20) == [(0, 100, 6)]


def test_a_checkpoint_of_an_hour_in_which_the_recorder_stood_still(journal: Any, press: Any, log: Log) -> None:
    """Its stamp is an hour's that has no folder: it is written once its conn is heard again, two hours later."""
    noon, woken = (H0 + 1) * HOUR, (H0 + 2) * HOUR + 50
    journal.snapshot(A, noon - 50, CONN, 1, [(0, 100, 1)])
    journal.flush()
    journal.silence(CONN, noon - 49, woken)
    journal.group(CHECKPOINT, A, noon, CONN, 1, [(0, 100, 1)])
    journal.heard(CONN, woken + 10, 2)
    journal.flush(H0 + 2)
    whole = press.log()
    for _ in range(2):
        for reader in (log, whole):
            assert levels(reader, woken) == [(0, 100, 1)]
            assert refused(reader, noon).fields["reason"] == "stall"
        press.finish(journal, H0, H0 + 2)


def test_a_result_learned_later_is_not_told_of_an_earlier_time(journal: Any, press: Any) -> None:
    over = T0 + 300_000_000
    journal.market(A, T0, close_time=over)
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.close(A, T0 + 50, CONN, 1)
    journal.flush(H0, up=[])
    press.finish(journal, H0)
    log = press.log()
    journal.market(A, T0 + HOUR, close_time=over, status="finalized", result="yes")
    journal.flush(H0 + 1, up=[])
    assert refused(log, over + 1).code == "market_closed"
    then = refused(log, over + 1, as_of_us=press.now_us)
    assert (then.code, then.fields["from"], "result" in then.fields) == ("data_gap", T0 + 50, False)
