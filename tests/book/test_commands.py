"""Client commands both ways, and the venue's error number for each that cannot be read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.errors import CommandError
from book.wire.commands import (
    CHANNELS,
    Command,
    ListSubscriptions,
    Subscribe,
    Unsubscribe,
    Update,
    decode_command,
    encode_command,
)

ids = st.integers(0, 2**31)
tickers = st.lists(st.sampled_from(["A-1", "B-2.5", "C"]), min_size=1, unique=True).map(tuple)
channels = st.lists(st.sampled_from(sorted(CHANNELS)), min_size=1, unique=True).map(tuple)
commands = st.one_of(
    st.builds(Subscribe, ids, channels, tickers, st.just(False), st.booleans(), st.booleans()),
    st.builds(Subscribe, ids, st.just(("orderbook_delta",)), tickers, st.booleans()),
    st.builds(Subscribe, ids, st.just(("trade", "ticker")), st.none()),
    st.builds(
        Update, ids, st.tuples(ids), st.sampled_from(["add_markets", "delete_markets", "get_snapshot"]), tickers,
        st.booleans(),
    ),
    st.builds(Unsubscribe, ids, st.lists(ids, min_size=1, unique=True).map(tuple)),
    st.builds(ListSubscriptions, ids),
)  # fmt: skip


@given(commands)
def test_round_trip(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


def test_the_price_convention_is_always_said_for_books_and_never_elsewhere() -> None:
    book = json.loads(encode_command(Subscribe(1, ("orderbook_delta", "trade"), ("A",))))
    assert book["params"]["use_yes_price"] is False
    assert "use_yes_price" not in json.loads(encode_command(Subscribe(1, ("trade",), ("A",))))["params"]


def frame(cmd: str, params: Any = None, command_id: Any = 7) -> str:
    body = {"id": command_id, "cmd": cmd}
    return json.dumps(body if params is None else body | {"params": params})


BOOK = {"channels": ["orderbook_delta"]}
REFUSALS = [
    ("{", 1, None),
    ("[]", 1, None),
    ('{"id":7}', 1, 7),
    ('{"id":"x","cmd":"subscribe"}', 1, None),
    (frame("subscribe", []), 1, 7),
    (frame("subscribe", {"channels": "trade"}), 1, 7),
    (frame("subscribe", {"channels": ["trade"], "use_yes_price": "no"}), 1, 7),
    (frame("subscribe"), 2, 7),
    ('{"id":7,"cmd":"subscribe","params":null}', 2, 7),
    (frame("unsubscribe"), 2, 7),
    (frame("update_subscription"), 2, 7),
    (frame("subscribe", {}), 3, 7),
    (frame("subscribe", {"channels": []}), 3, 7),
    (frame("unsubscribe", {}), 4, 7),
    (frame("unsubscribe", {"sids": []}), 4, 7),
    (frame("subscribe_all", {}), 5, 7),
    (frame("subscribe", {"channels": ["trade", "nonsense"]}), 8, 7),
    (frame("subscribe", BOOK | {"market_ticker": "A", "market_tickers": ["A"]}), 11, 7),
    (frame("subscribe", BOOK | {"market_ids": ["x"]}), 11, 7),
    (frame("update_subscription", {"action": "add_markets", "market_tickers": ["A"]}), 12, 7),
    (frame("update_subscription", {"sids": [1, 2], "action": "add_markets", "market_tickers": ["A"]}), 12, 7),
    (frame("update_subscription", {"sid": 1, "sids": [1], "action": "add_markets", "market_ticker": "A"}), 12, 7),
    (frame("update_subscription", {"sid": 1, "action": "explode", "market_tickers": ["A"]}), 13, 7),
    (frame("update_subscription", {"sid": 1, "market_tickers": ["A"]}), 15, 7),
    (frame("subscribe", BOOK), 14, 7),
    (frame("subscribe", BOOK | {"market_tickers": []}), 14, 7),
    (frame("update_subscription", {"sid": 1, "action": "add_markets"}), 14, 7),
    (frame("update_subscription", {"sid": 1, "action": "delete_markets", "market_tickers": []}), 14, 7),
    (frame("subscribe", BOOK, 0), 14, None),
]


@pytest.mark.parametrize(("text", "code", "command_id"), REFUSALS)
def test_refusals_carry_the_venues_number_and_the_commands_id(text: str, code: int, command_id: int | None) -> None:
    with pytest.raises(CommandError) as caught:
        decode_command(text)
    assert (caught.value.code, caught.value.command_id) == (code, command_id)


def test_tolerated_forms() -> None:
    one = decode_command(frame("subscribe", BOOK | {"market_ticker": "A", "new_key": 1}))
    assert one == Subscribe(7, ("orderbook_delta",), ("A",))
    twice = decode_command(frame("subscribe", {"channels": ["trade", "trade"], "market_tickers": ["A", "A"]}))
    assert twice == Subscribe(7, ("trade",), ("A",))
    assert decode_command(frame("update_subscription", {"sid": 3, "action": "get_snapshot", "market_tickers": []})) == (
        Update(7, (3,), "get_snapshot", ())
    )
    assert decode_command('{"cmd":"list_subscriptions"}') == ListSubscriptions(0)
