"""In which order documents and messages count, and when they wait."""

from typing import Any

import msgspec

from book.records import HOUR_US
from book.wire.decode import decode
from book.wire.messages import Lifecycle
from book.wire.rest import decode_event, decode_market
from collector.metadata import JUDGED_A_TICK, MOST_EARLY, Metadata
from collector.versions import Versions

T0 = 500_000 * HOUR_US


def market(ticker: str = "M", **more: Any) -> Any:
    return decode_market({"ticker": ticker, "event_ticker": "E", "status": "active"} | more)


def said(kind: str, ticker: str = "M", **fields: Any) -> Lifecycle:
    body = {"event_type": kind, "market_ticker": ticker, **fields}
    message = decode(msgspec.json.encode({"type": "market_lifecycle_v2", "sid": 1, "seq": 1, "msg": body}))
    assert isinstance(message, Lifecycle)
    return message


def rows(metadata: Metadata, table: str = "markets") -> list[tuple[str, int, str, str]]:
    batch = metadata.tables[table].take()
    found = [] if batch is None else batch.to_pylist()
    return [
        (row["ticker"], int(row["valid_from"].timestamp() * 1e6) - T0, row["status"], row["source"]) for row in found
    ]


def loaded() -> Metadata:
    metadata = Metadata()
    metadata.loaded(Versions())
    return metadata


def test_a_document_counts_from_the_tick_and_a_message_from_its_stamp() -> None:
    metadata = loaded()
    metadata.learn([market()], T0)
    assert metadata.unjudged
    assert not metadata.waiting
    metadata.tick(T0 + 100)
    assert metadata.waiting
    metadata.heard(said("deactivated"), T0 + 150)
    assert rows(metadata) == [("M", 100, "active", "rest"), ("M", 150, "inactive", "lifecycle")]
    assert not metadata.waiting


def test_a_message_taken_before_a_document_rests_on_nothing_of_it() -> None:
    """The document has the result; the message was received before it and is not to know."""
    metadata = loaded()
    metadata.learn([market()], T0)
    metadata.tick(T0 + 1)
    metadata.learn([market(status="determined", result="yes")], T0 + 200)
    metadata.heard(said("close_date_updated", close_ts=1_795_615_200), T0 + 150)
    metadata.tick(T0 + 300)
    batch = metadata.tables["markets"].take()
    assert batch is not None
    assert [(row["result"], row["source"]) for row in batch.to_pylist()] == [
        (None, "rest"), (None, "lifecycle"), ("yes", "rest"),
    ]  # fmt: skip


def test_nothing_is_judged_before_it_is_known_what_the_log_holds() -> None:
    metadata = Metadata()
    metadata.learn([market(), market("N")], T0)
    metadata.heard(said("deactivated"), T0 + 5)
    assert not metadata.unjudged
    known = Versions()
    known.market(market(), T0 - 50)
    metadata.loaded(known)
    metadata.tick(T0 + 100)
    assert rows(metadata) == [("M", 100, "inactive", "lifecycle"), ("N", 100, "active", "rest")]


def test_what_waits_for_the_log_is_bounded() -> None:
    metadata = Metadata()
    for _ in range(MOST_EARLY + 10):
        metadata.heard(said("deactivated"), T0)
    assert len(metadata._early) == MOST_EARLY


def test_a_tick_takes_so_many_documents_and_no_more() -> None:
    metadata = loaded()
    metadata.learn([market(f"M{number}") for number in range(JUDGED_A_TICK + 5)], T0)
    metadata.tick(T0 + 1)
    assert (metadata.backlog, len(rows(metadata))) == (5, JUDGED_A_TICK)
    metadata.tick(T0 + 2)
    assert (metadata.backlog, len(rows(metadata))) == (0, 5)


def test_events_that_messages_speak_of_are_to_be_looked_up() -> None:
    metadata = loaded()
    body = {"event_ticker": "E9", "series_ticker": "S", "title": "t"}
    message = decode(msgspec.json.encode({"type": "event_lifecycle", "sid": 1, "seq": 1, "msg": body}))
    assert isinstance(message, Lifecycle)
    metadata.heard(message, T0)
    assert list(metadata.events_heard) == ["E9"]
    metadata.learn([decode_event(body | {"category": "c"})], T0 + 1)
    metadata.tick(T0 + 2)
    batch = metadata.tables["events"].take()
    assert batch is not None
    assert batch.column("source").to_pylist() == ["lifecycle", "rest"]


def test_a_message_that_cannot_be_merged_is_told_and_stops_nothing() -> None:
    metadata = loaded()
    metadata.learn([market()], T0)
    metadata.tick(T0 + 1)
    metadata.heard(said("metadata_updated", yes_sub_title=7), T0 + 2)
    assert [event for event, _ in metadata.notes] == ["lifecycle_unmerged"]
    metadata.heard(said("deactivated"), T0 + 3)
    assert len(rows(metadata)) == 2
