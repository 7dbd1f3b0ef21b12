"""The state of a session as the archive of raw frames keeps it: all that an hour's frames are read with.

Owns its form, both ways. Decides nothing. A session restored from it makes the same rows of the same frames; what it
would ask the venue for, and when, is not part of it.
"""

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import msgspec
import numpy as np
import pyarrow as pa

from book.sequence import SequenceTracker
from book.wire.commands import Command, decode_command, encode_command
from book.wire.messages import Message
from collector.asks import Asks
from collector.conns import Conn
from collector.links import Link, Role, Slot
from collector.session import Session
from collector.stage import Sent, Stage

MARKETS, LEVELS = b"markets", b"levels"
_ROSTER = ("wanted", "adding", "added", "leaving")
_TYPES: dict[str, Any] = {one.__name__: one for one in get_args(Message)}
FIRST_OWN_ID = 1 << 40
"""Commands of a session that is played again get ids from here on: none that the venue has answered."""


def dump(session: Session) -> tuple[dict[str, Any], list[pa.Table]]:
    """Return a session's state: what goes into an event, and the tables of markets and of their levels.

    Cost: some 50 ms for 12,000 books.
    """
    spans = session.spans
    used = spans.state[: len(spans.names)]
    columns = {name: pa.array(np.ascontiguousarray(used[name])) for name in spans.state.dtype.names or ()}
    market, side, price_e4, qty_e2 = spans.ladders.all_levels()
    levels = {"market": market, "side": side, "price_e4": price_e4, "qty_e2": qty_e2}
    tables = [
        _named(MARKETS, {"ticker": pa.array(spans.names, pa.utf8())} | columns),
        _named(LEVELS, {name: pa.array(column) for name, column in levels.items()}),
    ]
    state = {
        "silence_s": session.limits.silence_s,
        "last_conn": session.intake.numbers.last,
        "conns": [_conn(conn, spans.names) for conn in spans.conns.values()],
        "links": [_link(link) for link in session.links.values()],
    }
    return state, tables


def restore(session: Session, state: Mapping[str, Any], tables: Sequence[pa.Table]) -> None:
    """Give a session that has taken nothing in yet the state that was dumped. Raises KeyError where it is none."""
    found = {table.schema.metadata[b"table"]: table for table in tables}
    _restore_markets(session, found[MARKETS], found[LEVELS])
    session.intake.numbers.last = state["last_conn"]
    for fields in state["conns"]:
        conn = _restored_conn(fields, session.spans.numbers)
        session.spans.conns[conn.id] = conn
    for fields in state["links"]:
        _restore_link(session, fields)


def new_asks() -> Asks:
    """Return the asking side of a link that asks nothing: its commands are told to it."""
    asks = Asks(random.Random(0), most_markets=1 << 40, audit_every_s=900.0)
    asks.number_from(FIRST_OWN_ID)
    return asks


def _named(name: bytes, columns: Mapping[str, pa.Array]) -> pa.Table:
    return pa.table(dict(columns)).replace_schema_metadata({b"table": name})


def _conn(conn: Conn, names: Sequence[str]) -> dict[str, Any]:
    plain = {field.name: getattr(conn, field.name) for field in dataclasses.fields(conn)}
    tracker: SequenceTracker = plain.pop("tracker")
    ended = {names[market]: at_us for market, at_us in plain.pop("ended").items()}
    return plain | {"last": tracker.last, "resync": tracker.resync, "ended": ended}


def _restored_conn(fields: Mapping[str, Any], numbers: Mapping[str, int]) -> Conn:
    plain = dict(fields)
    tracker = SequenceTracker(plain.pop("last"))
    tracker.resync = plain.pop("resync")
    ended = {numbers[ticker]: at_us for ticker, at_us in plain.pop("ended").items()}
    return Conn(**plain, tracker=tracker, ended=ended)


def _link(link: Link) -> dict[str, Any]:
    asks = link.asks
    return {
        "id": link.id,
        "port": link.port,
        "number": link.slot.number,
        "role": link.slot.role.value,
        "heard_ns": link.heard_ns,
        "heard_us": link.heard_us,
        "queued_us": link.queued_us,
        "conns": [[sid, conn.id] for sid, conn in link.conns.items()],
        "gone": [_conn(dataclasses.replace(conn, ended={}), ()) for conn in link.conns.values() if not conn.up],
        "early": [[sid, [_message(one) for one in kept]] for sid, kept in link.early.items()],
        "asks": {
            "stage": asks.stage.value,
            "sid": asks.sid,
            "sent": _texts(sent.command for sent in asks.sent.values()),
            "late": _texts(asks.late.values()),
            "out": _texts(asks.out),
            "roster": {name: sorted(getattr(asks.roster, name)) for name in _ROSTER},
        },
    }


def _restore_link(session: Session, fields: Mapping[str, Any]) -> None:
    asks = new_asks()
    told = fields["asks"]
    asks.stage, asks.sid = Stage(told["stage"]), told["sid"]
    for command in map(decode_command, told["sent"]):
        asks.sent[command.id] = Sent(command, fields["heard_ns"])
    asks.late.update({command.id: command for command in map(decode_command, told["late"])})
    for name in _ROSTER:
        getattr(asks.roster, name).update(told["roster"][name])
    slot = Slot(fields["number"], Role(fields["role"]))
    link = Link(fields["id"], fields["port"], asks, fields["heard_ns"], fields["heard_us"], slot=slot)
    link.queued_us = fields["queued_us"]
    gone = {one["id"]: _restored_conn(one, {}) for one in fields["gone"]}
    for sid, conn in fields["conns"]:
        link.conns[sid] = session.spans.conns[conn] if conn in session.spans.conns else gone[conn]
    for sid, kept in fields["early"]:
        link.early[sid] = [_restored_message(*one) for one in kept]
        link.early_count += len(kept)
    session.links[link.id] = link


def _restore_markets(session: Session, markets: pa.Table, levels: pa.Table) -> None:
    spans = session.spans
    for number, ticker in enumerate(markets["ticker"].to_pylist()):
        spans.restore(number, ticker)
    for name in spans.state.dtype.names or ():
        if name in markets.column_names:
            spans.state[name][: markets.num_rows] = markets[name].to_numpy(zero_copy_only=False)
    market = levels["market"].to_numpy()
    starts = np.append(np.flatnonzero(np.diff(market, prepend=-1)), len(market))
    columns = [levels[name].to_pylist() for name in ("side", "price_e4", "qty_e2")]
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        spans.ladders.load(int(market[start]), tuple(zip(*(column[start:end] for column in columns), strict=True)))


def _texts(commands: Iterable[Command]) -> list[str]:
    return [encode_command(command).decode() for command in commands]


def _message(message: Message) -> list[Any]:
    return [type(message).__name__, msgspec.to_builtins(message)]


def _restored_message(name: str, fields: Any) -> Message:
    message: Message = msgspec.convert(fields, _TYPES[name])
    return message
