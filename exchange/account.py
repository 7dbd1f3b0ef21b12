"""The exchange's own account, for tests: what was sent to whom, which trades there were, and what is true.

Owns the paths under ``/control`` that only tell, and their documents. Answers on the machine itself, without a key.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec

from exchange.asgi import Reply, Request, Router, local
from exchange.errors import RefusedError
from exchange.sendlog import Frame
from exchange.venue import Venue

_LINES_A_TURN = 2_000
_BOOKS_A_TURN = 50
_MOST = 2**60
_NDJSON = b"application/x-ndjson"


class Account:
    """Answers over ``venue``."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def register(self, router: Router) -> None:
        """Add the paths."""
        for pattern, handler in (
            ("/control/log", self._log),
            ("/control/book", self._book),
            ("/control/books", self._books),
            ("/control/losses", self._losses),
            ("/control/trades", self._trades),
        ):
            router.add("GET", pattern, local(handler))

    async def _log(self, request: Request) -> Reply:
        port, sid, limit = (request.whole(name, None, 0, _MOST) for name in ("port", "sid", "limit"))
        ticker, kind, after = request.one("ticker"), request.one("type"), request.whole("after", 0, 0, _MOST) or 0

        def keep(frame: Frame) -> bool:
            return (
                (port is None or frame.port == port)
                and (sid is None or frame.sid == sid)
                and (ticker is None or frame.ticker == ticker)
                and (kind is None or frame.kind == kind)
            )

        frames = self._venue.log.after(after)
        return _streamed(frames, keep, _line, 10_000 if limit is None else limit)

    async def _trades(self, request: Request) -> Reply:
        ticker, after, limit = (
            request.one("ticker"),
            request.whole("after", 0, 0, _MOST) or 0,
            request.whole("limit", 10_000, 0, _MOST) or 0,
        )
        trades = self._venue.registry.tape.after(after)
        return _streamed(trades, lambda row: ticker in (None, row[1].ticker), _trade, limit)

    async def _book(self, request: Request) -> Reply:
        at_us = request.whole("at_us", None, 0, _MOST)
        if at_us is not None:
            ticker = request.one("ticker")
            if ticker is None:
                raise RefusedError(400, "bad_request", "ticker is required with at_us")
            return Reply(self._true(ticker, self._venue.truth.change_at(at_us), is_whole=True))
        port, sid, seq = (request.whole(name, None, 0, _MOST) for name in ("port", "sid", "seq"))
        if port is None or sid is None or seq is None:
            raise RefusedError(400, "bad_request", "port, sid and seq are required, or ticker and at_us")
        frame = self._venue.log.find(port, sid, seq)
        ticker = request.one("ticker") or frame.ticker
        if ticker is None:
            raise RefusedError(400, "bad_request", "that frame names no market; give a ticker")
        sent = {"sent_us": frame.sent_us, "sent_ns": frame.sent_ns}
        return Reply(self._true(ticker, frame.change_no, is_whole=True) | sent)

    async def _books(self, request: Request) -> Reply:
        at_us = request.whole("at_us", self._venue.now_us(), 0, _MOST) or 0
        change_no, is_whole = self._venue.truth.change_at(at_us), request.flag("levels")
        named = [name for name in (request.one("tickers") or "").split(",") if name]
        for name in named:
            if name not in self._venue.truth:
                raise RefusedError(404, "not_found", f"there is no market {name}")
        tickers = named or list(self._venue.registry.markets)
        return _streamed(
            tickers, lambda _: True, lambda name: self._true(name, change_no, is_whole=is_whole), len(tickers),
            _BOOKS_A_TURN,
        )  # fmt: skip

    async def _losses(self, _: Request) -> Reply:
        rows = [
            {"fault": fault.id, "kind": fault.order.kind} | msgspec.to_builtins(effect)
            for fault, effect in self._venue.faults.losses()
        ]
        return Reply({"losses": rows})

    def _true(self, ticker: str, change_no: int, *, is_whole: bool) -> dict[str, Any]:
        book = self._venue.truth.at(ticker, change_no)
        document = {"ticker": ticker, "digest": book.digest(), "change_no": change_no}
        return document | {"levels": book.levels()} if is_whole else document


def _streamed(
    rows: Iterable[Any], keep: Callable[[Any], bool], shown: Callable[[Any], dict[str, Any]], limit: int,
    rows_a_turn: int = _LINES_A_TURN,
) -> Reply:  # fmt: skip
    """Return up to ``limit`` lines in parts, letting the venue go on between them."""

    async def lines() -> AsyncIterator[bytes]:
        part: list[bytes] = []
        found = 0
        for seen, row in enumerate(rows, 1):
            if found == limit:
                break
            if keep(row):
                found += 1
                part.append(msgspec.json.encode(shown(row)))
            if seen % rows_a_turn == 0:
                if part:
                    yield b"\n".join(part) + b"\n"
                    part = []
                await asyncio.sleep(0)
        if part:
            yield b"\n".join(part) + b"\n"

    return Reply(stream=lines(), content_type=_NDJSON)


def _line(frame: Frame) -> dict[str, Any]:
    return {
        "n": frame.n,
        "port": frame.port,
        "sid": frame.sid,
        "seq": frame.seq,
        "type": frame.kind,
        "ticker": frame.ticker,
        "sent_us": frame.sent_us,
        "sent_ns": frame.sent_ns,
        "change_no": frame.change_no,
        "frame": frame.data.decode(),
    }


def _trade(row: tuple[int, Any]) -> dict[str, Any]:
    number, trade = row
    return {
        "n": number,
        "ticker": trade.ticker,
        "trade_id": trade.trade_id,
        "yes_price_e4": trade.yes_price_e4,
        "qty_e2": trade.qty_e2,
        "taker_side": trade.taker_side,
        "block": trade.block,
        "ts_us": trade.created_us,
    }
