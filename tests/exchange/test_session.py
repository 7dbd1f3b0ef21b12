"""The dialect, case by case, without a socket: commands in, decoded messages out."""

import json
from typing import Any

import pytest

from book.wire.decode import decode
from book.wire.messages import (
    Delta,
    Lifecycle,
    Message,
    Ok,
    Snapshot,
    Subscribed,
    Ticker,
    Trade,
    Unsubscribed,
    VenueError,
)
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc
from exchange.config import ExchangeConfig
from exchange.orders import Order
from exchange.sendlog import Frame
from exchange.session import Session
from exchange.source import Recorded
from exchange.steps import BookSet, Changed, Listed, Milestone, Traded
from exchange.venue import Venue

A, B, C = "KXA-1", "KXB-1", "KXC-1"
SUBSCRIBE_ONE = '{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":["KXB-1"]}}'


class Client:
    """A connection's outlet and session; decodes what it is sent."""

    def __init__(self, venue: Venue, port: int = 1000, *, use_yes_price: bool = False) -> None:
        self.port = port
        self.frames: list[Frame] = []
        self.is_slow = False
        self._use_yes_price = use_yes_price
        self.session: Session = venue.connect(self)

    def push(self, frame: Frame) -> None:
        self.frames.append(frame)

    def backlog(self) -> int:
        return len(self.frames) if self.is_slow else 0

    def schedule(self) -> None:
        pass

    def say(self, cmd: str, command_id: int = 1, **params: Any) -> list[Message]:
        self.session.handle(json.dumps({"id": command_id, "cmd": cmd, "params": params}))
        self.session.pump(10**6)
        return self.heard()

    def heard(self) -> list[Message]:
        frames, self.frames = self.frames, []
        return [decode(frame.data, use_yes_price=self._use_yes_price) for frame in frames]

    def books(self, *tickers: str, command_id: int = 1, **params: Any) -> list[Message]:
        return self.say("subscribe", command_id, channels=["orderbook_delta"], market_tickers=list(tickers), **params)


def make_venue(**options: Any) -> Venue:
    clock = iter(range(10**15, 2 * 10**15))
    steady_s = options.pop("steady_s", lambda: 0.0)
    venue = Venue(
        ExchangeConfig(public_keys={"k": "p"}, **options), Recorded(iter(())), lambda: next(clock), lambda: 0, steady_s
    )
    for ticker, levels in ((A, ((0, 4200, 5537), (1, 5600, 14650))), (B, ()), (C, ((0, 100, 100),))):
        market = MarketDoc(
            ticker=ticker, event_ticker=ticker[:-2], status="active", open_us=1_000_000, close_us=2_000_000
        )
        event = EventDoc(event_ticker=ticker[:-2], series_ticker=ticker[:-2])
        venue.apply(Listed(0, market, event, SeriesDoc(ticker=ticker[:-2]), f"id-{ticker}", levels))
    return venue


def change(ticker: str, side: int, price_e4: int, change_e2: int) -> Changed:
    return Changed(0, ticker, side, price_e4, change_e2, 1_795_551_303_662_364)


def trade(ticker: str) -> Traded:
    return Traded(0, ticker, f"t-{ticker}", 4400, 1200, 0, False, 1_795_551_303_660_000)


def numbers(messages: list[Message]) -> list[tuple[str, int | None]]:
    return [(type(message).__name__, getattr(message, "seq", None)) for message in messages]


def test_one_sid_a_channel_from_one_and_books_from_seq_one() -> None:
    venue = make_venue()
    client = Client(venue)
    messages = client.say("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[A, B])
    assert messages == [
        Subscribed(1, "orderbook_delta", 1),
        Subscribed(1, "trade", 2),
        Snapshot(1, 1, A, ((0, 4200, 5537), (1, 5600, 14650)), f"id-{A}"),
        Snapshot(1, 2, B, (), f"id-{B}"),
    ]
    assert Client(venue, 1001).books(A)[0] == Subscribed(1, "orderbook_delta", 1)


def test_seq_is_one_counter_over_markets_acks_and_snapshots() -> None:
    venue = make_venue()
    client = Client(venue)
    client.books(A, B)
    venue.apply(change(A, 0, 4100, 100))
    added = client.say("update_subscription", 2, sids=[1], action="add_markets", market_tickers=[C])
    venue.apply(change(B, 1, 4100, 100))
    asked = client.say("update_subscription", 9, sid=1, action="get_snapshot", market_tickers=[A])
    venue.apply(change(A, 0, 4100, -40))
    rest = client.heard() + client.say("unsubscribe", 5, sids=[1])
    assert numbers(added + asked + rest) == [
        ("Delta", 3), ("Ok", 4), ("Snapshot", 5), ("Delta", 6), ("Snapshot", 7), ("Delta", 8), ("Unsubscribed", 9),
    ]  # fmt: skip
    assert added[1] == Ok(2, 1, 4, (A, B, C))
    assert asked[1] == Snapshot(1, 7, A, ((0, 4100, 100), (0, 4200, 5537), (1, 5600, 14650)), f"id-{A}", 9)
    assert rest[0] == Delta(1, 8, A, 0, 4100, -40, 1_795_551_303_662_364, f"id-{A}")
    assert rest[1] == Unsubscribed(5, 1, 9)


def test_a_second_subscription_merges_and_says_ok() -> None:
    client = Client(make_venue())
    client.books(A)
    assert client.books(A, B, command_id=2) == [Ok(2, 1, 2, (A, B)), Snapshot(1, 3, B, (), f"id-{B}")]
    again = client.books(A, command_id=3)
    assert again == [Ok(3, 1, 4, (A, B))], "markets already there get no fresh book"


def test_a_new_subscription_after_an_unsubscribe_has_a_new_sid_and_counts_from_one() -> None:
    client = Client(make_venue())
    client.books(A)
    assert client.say("unsubscribe", 2, sids=[1]) == [Unsubscribed(2, 1, 2)]
    assert numbers(client.books(A)) == [("Subscribed", None), ("Snapshot", 1)]
    assert list(client.session.subscriptions) == [2]


def test_skip_ticker_ack_leaves_the_lists_out() -> None:
    client = Client(make_venue())
    client.books(A, skip_ticker_ack=True)
    assert client.books(B, command_id=2)[0] == Ok(2, 1, 2, None)


def test_delete_stops_the_changes_and_the_counter_goes_on() -> None:
    venue = make_venue()
    client = Client(venue)
    client.books(A, B)
    ok = client.say("update_subscription", 2, sids=[1], action="delete_markets", market_tickers=[A, "UNKNOWN"])
    assert ok == [Ok(2, 1, 3, (B,))]
    venue.apply(change(A, 0, 100, 100))
    venue.apply(change(B, 0, 100, 100))
    assert [(type(m), m.seq) for m in client.heard() if isinstance(m, Delta)] == [(Delta, 4)]


def test_changes_before_the_first_book_are_in_the_book_and_not_sent() -> None:
    venue = make_venue()
    client = Client(venue)
    client.session.handle(
        '{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":["KXB-1"]}}'
    )
    venue.apply(change(B, 0, 100, 100))
    venue.apply(BookSet(0, B, ((0, 200, 700),)))
    client.session.pump(1)
    venue.apply(change(B, 0, 200, -1))
    assert client.heard()[1:] == [
        Snapshot(1, 1, B, ((0, 200, 700),), f"id-{B}"), Delta(1, 2, B, 0, 200, -1, 1_795_551_303_662_364, f"id-{B}"),
    ]  # fmt: skip


def test_an_unsolicited_snapshot_takes_the_next_number() -> None:
    venue = make_venue()
    client = Client(venue)
    client.books(A)
    venue.apply(BookSet(0, A))
    assert client.heard() == [Snapshot(1, 2, A, (), f"id-{A}")]


def test_an_unknown_market_has_an_empty_book_without_an_id() -> None:
    client = Client(make_venue())
    client.session.handle(SUBSCRIBE_ONE.replace("KXB-1", "KXNONE-1"))
    client.session.pump(1)
    assert json.loads(client.frames[1].data) == {
        "type": "orderbook_snapshot", "sid": 1, "seq": 1, "msg": {"market_ticker": "KXNONE-1", "market_id": ""},
    }  # fmt: skip


def test_get_snapshot_changes_nothing_and_of_nothing_says_nothing() -> None:
    client = Client(make_venue())
    client.books(A)
    assert client.say("update_subscription", 2, sids=[1], action="get_snapshot", market_tickers=[]) == []
    asked = client.say("update_subscription", 3, sids=[1], action="get_snapshot", market_tickers=[B])
    assert asked == [Snapshot(1, 2, B, (), f"id-{B}", 3)]
    assert client.session.subscriptions[1].tickers == {A: None}
    with_ok = Client(make_venue(snapshot_ok=True))
    with_ok.books(A)
    answers = with_ok.say("update_subscription", 3, sids=[1], action="get_snapshot", market_tickers=[A])
    assert numbers(answers) == [("Ok", 2), ("Snapshot", 3)]


def test_trades_with_and_without_a_list() -> None:
    venue = make_venue()
    some, every = Client(venue), Client(venue, 1001)
    some.say("subscribe", channels=["trade"], market_tickers=[A])
    every.say("subscribe", channels=["trade"])
    venue.apply(trade(A))
    venue.apply(trade(B))
    expected = Trade(1, 1, A, f"t-{A}", 4400, 1200, 0, False, 1_795_551_303_660_000)
    assert some.heard() == [expected]
    assert [m.ticker for m in every.heard() if isinstance(m, Trade)] == [A, B]
    some.say("subscribe", channels=["trade"])
    venue.apply(trade(A))
    venue.apply(trade(B))
    assert numbers(some.heard()) == [("Trade", 3), ("Trade", 4)], "once each, and the merge took number 2"


def test_ticker_has_no_numbers_and_comes_when_something_changed() -> None:
    venue = make_venue()
    client = Client(venue)
    first = client.say("subscribe", channels=["ticker"], market_tickers=[A, B], send_initial_snapshot=True)
    assert [type(m) for m in first] == [Subscribed, Ticker, Ticker]
    assert isinstance(first[1], Ticker)
    assert (first[1].yes_bid_e4, first[1].yes_ask_e4, first[1].yes_ask_qty_e2) == (4200, 4400, 14650)
    assert client.say("subscribe", 2, channels=["ticker"], market_tickers=[C]) == [Ok(2, 1, None, (A, B, C))]
    venue.apply(change(A, 0, 100, 100))
    venue.settle()
    venue.apply(change(A, 0, 100, 100))
    venue.settle()
    assert len(client.heard()) == 1, "a level below the best changes nothing of it"
    venue.apply(trade(A))
    venue.settle()
    assert [m.volume_e2 for m in client.heard() if isinstance(m, Ticker)] == [1200]


def test_lifecycle_is_global_and_carries_events_too() -> None:
    venue = make_venue()
    client = Client(venue)
    assert client.say("subscribe", channels=["market_lifecycle_v2"], market_tickers=[A]) == [
        Subscribed(1, "market_lifecycle_v2", 1)
    ]
    event = EventDoc(event_ticker="KXD", series_ticker="KXD")
    venue.apply(Listed(0, MarketDoc(ticker="KXD-1", event_ticker="KXD"), event, SeriesDoc(ticker="KXD")))
    venue.apply(Listed(0, MarketDoc(ticker="KXD-2", event_ticker="KXD"), event, SeriesDoc(ticker="KXD")))
    venue.apply(Milestone(0, "KXD-1", status="closed"))
    venue.apply(Milestone(0, "KXD-1", status="finalized", message={"event_type": "settled", "market_ticker": "KXD-1"}))
    heard = [m for m in client.heard() if isinstance(m, Lifecycle)]
    assert [(m.seq, m.event_type, m.ticker) for m in heard] == [
        (1, "event_lifecycle", None), (2, "created", "KXD-1"), (3, "created", "KXD-2"), (4, "settled", "KXD-1"),
    ]  # fmt: skip


def test_the_yes_price_convention_both_ways() -> None:
    venue = make_venue()
    plain, yes = Client(venue), Client(venue, 1001, use_yes_price=True)
    plain.books(A)
    yes.session.handle(
        '{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":["KXA-1"],"use_yes_price":true}}'
    )
    yes.session.pump(1)
    assert json.loads(yes.frames[1].data)["msg"]["no_dollars_fp"] == [["0.4400", "146.50"]]
    venue.apply(change(A, 1, 5500, 100))
    assert json.loads(yes.frames[2].data)["msg"]["price_dollars"] == "0.4500"
    assert yes.heard()[1:] == [
        Snapshot(1, 1, A, ((0, 4200, 5537), (1, 5600, 14650)), f"id-{A}"),
        Delta(1, 2, A, 1, 5500, 100, 1_795_551_303_662_364, f"id-{A}"),
    ]
    assert plain.heard() == [Delta(1, 2, A, 1, 5500, 100, 1_795_551_303_662_364, f"id-{A}")]


def test_legacy_fields() -> None:
    venue = make_venue(legacy=True)
    client = Client(venue)
    client.say("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[C])
    venue.apply(change(C, 1, 5500, 300))
    venue.apply(trade(C))
    bodies = [json.loads(frame.data)["msg"] for frame in client.frames]
    assert (bodies[0]["price"], bodies[0]["delta"], bodies[1]["yes_price"], bodies[1]["count"]) == (55, 3, 44, 12)
    assert client.say("update_subscription", 2, sids=[1], action="get_snapshot", market_tickers=[C])[2:] == [
        Snapshot(1, 3, C, ((0, 100, 100), (1, 5500, 300)), f"id-{C}", 2)
    ]


def test_list_subscriptions_and_commands_without_an_id() -> None:
    client = Client(make_venue())
    client.say("subscribe", channels=["trade", "orderbook_delta"], market_tickers=[A])
    assert client.say("list_subscriptions", 6) == [Ok(6, None, None, None, (("trade", 1), ("orderbook_delta", 2)))]
    client.session.handle('{"id":0,"cmd":"list_subscriptions"}')
    assert "id" not in json.loads(client.frames[0].data)


@pytest.mark.parametrize(
    ("cmd", "params", "code"),
    [
        ("nonsense", {}, 5),
        ("subscribe", {"channels": ["orderbook_delta"]}, 14),
        ("unsubscribe", {"sids": [99]}, 7),
        ("update_subscription", {"sids": [99], "action": "add_markets", "market_tickers": [A]}, 7),
        ("update_subscription", {"sids": [3], "action": "add_markets", "market_tickers": [A]}, 13),
        ("update_subscription", {"sids": [2], "action": "get_snapshot", "market_tickers": [A]}, 13),
    ],
)
def test_refused_commands_take_no_number_and_change_nothing(cmd: str, params: dict[str, Any], code: int) -> None:
    client = Client(make_venue())
    client.books(A)
    client.say("subscribe", 2, channels=["trade", "market_lifecycle_v2"], market_tickers=[A])
    [refusal] = client.say(cmd, 7, **params)
    assert isinstance(refusal, VenueError)
    assert (refusal.code, refusal.command_id, refusal.sid, refusal.seq) == (code, 7, None, None)
    assert client.books(B, command_id=8)[0] == Ok(8, 1, 2, (A, B))


def test_unsubscribing_several_names_the_unknown_one_alone() -> None:
    client = Client(make_venue())
    client.say("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[B])
    answers = client.say("unsubscribe", 5, sids=[1, 9, 2])
    assert [(type(m).__name__, getattr(m, "sid", None), getattr(m, "code", None)) for m in answers] == [
        ("Unsubscribed", 1, None), ("VenueError", None, 7), ("Unsubscribed", 2, None),
    ]  # fmt: skip


def test_market_limit_and_command_rate() -> None:
    client = Client(make_venue(max_markets=2))
    client.books(A)
    assert [m.code for m in client.books(B, C, command_id=2) if isinstance(m, VenueError)] == [26]
    assert client.books(A, B, command_id=3)[0] == Ok(3, 1, 2, (A, B))
    over = client.say("update_subscription", 4, sids=[1], action="add_markets", market_tickers=[C])
    assert [m.code for m in over if isinstance(m, VenueError)] == [26]

    seconds = [0.0]
    hasty = Client(make_venue(max_commands_per_s=2, steady_s=lambda: seconds[0]))
    hasty.books(A)
    codes = [[getattr(m, "code", None) for m in hasty.books(A, command_id=i)] for i in (2, 3, 4)]
    assert codes == [[None], [None], [27]]
    seconds[0] = 1.2
    assert isinstance(hasty.books(A, command_id=5)[0], Ok)


def test_overflow_ends_the_subscription_and_a_new_one_starts_afresh() -> None:
    venue = make_venue(queue_frames=5)
    client = Client(venue)
    client.say("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[A])
    client.is_slow = True
    for _ in range(9):
        venue.apply(change(A, 0, 4200, 1))
    messages = client.heard()
    assert numbers(messages) == [("Delta", n) for n in range(2, 7)] + [("VenueError", 7)]
    assert messages[-1] == VenueError(None, 1, 7, 25, "Subscription buffer overflow", ())
    assert list(client.session.subscriptions) == [2]
    client.is_slow = False
    assert [getattr(m, "code", None) for m in client.say("unsubscribe", 4, sids=[1])] == [7]
    assert client.books(A, command_id=5) == [
        Subscribed(5, "orderbook_delta", 3), Snapshot(3, 1, A, ((0, 4200, 5546), (1, 5600, 14650)), f"id-{A}"),
    ]  # fmt: skip


def test_a_closed_connection_is_sent_nothing() -> None:
    venue = make_venue()
    client = Client(venue)
    client.say("subscribe", channels=["orderbook_delta", "trade", "market_lifecycle_v2", "ticker"], market_tickers=[A])
    venue.disconnect(client.session)
    for step in (change(A, 0, 100, 1), trade(A), BookSet(0, A), Milestone(0, A, message={"market_ticker": A})):
        venue.apply(step)
    venue.settle()
    assert client.heard() == []
    assert venue.sessions == {}


def test_a_gap_takes_numbers_and_sends_nothing() -> None:
    venue = make_venue()
    client, other = Client(venue), Client(venue, 1001)
    client.books(A)
    other.books(A)
    fault = venue.faults.ask(Order(kind="gap", count=2), 2)
    client.session.subscriptions[1].owe(fault)
    for _ in range(3):
        venue.apply(change(A, 0, 4200, 1))
    assert numbers(client.heard()) == [("Delta", 4)]
    assert numbers(other.heard())[-3:] == [("Delta", 2), ("Delta", 3), ("Delta", 4)]
    assert fault.left == 0
    assert [(e.port, e.sid, e.seq, e.type, e.ticker) for e in fault.effects] == [
        (1000, 1, 2, "orderbook_delta", A), (1000, 1, 3, "orderbook_delta", A),
    ]  # fmt: skip


def test_a_silent_loss_moves_the_truth_and_takes_no_number() -> None:
    venue = make_venue()
    client, other = Client(venue), Client(venue, 1001)
    client.books(A)
    other.books(A)
    fault = venue.faults.ask(Order(kind="silent_loss", ticker=A, port=1000), 1)
    venue.faults.wait(fault)
    venue.apply(change(B, 0, 4200, 1))
    assert fault.left == 1
    venue.apply(change(A, 0, 4200, 1))
    venue.apply(change(A, 0, 4200, 5))
    assert [(m.seq, m.change_e2) for m in client.heard() if isinstance(m, Delta)] == [(2, 5)]
    assert [(m.seq, m.change_e2) for m in other.heard() if isinstance(m, Delta)] == [(2, 1), (3, 5)]
    assert (fault.left, fault.effects[0].change_e2) == (0, 1)
    book = venue.truth.book(A)
    assert book is not None
    assert book.levels()[0] == (0, 4200, 5543)


def test_a_change_below_zero_is_counted_and_not_played() -> None:
    venue = make_venue()
    client = Client(venue)
    client.books(A)
    client.heard()
    venue.apply(change(A, 0, 4200, -9999))
    assert (client.heard(), venue.refused) == ([], 1)
