"""The venue's side of a subscription in a bench: it answers commands and keeps the numbers.

Owns what a collector is told before the measured stream begins. No sockets, no clock.
"""

from bench.tape import BOOK_SID, LIFECYCLE_SID, TRADE_SID, Tape
from book.wire import encode
from book.wire.commands import ADD_MARKETS, ORDERBOOK, TRADE, Subscribe, Update, decode_command


class Venue:
    """Answer one connection's commands from a tape's first books; ``next_seq`` maps each sid to its next number."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.next_seq = {BOOK_SID: 1, TRADE_SID: 1, LIFECYCLE_SID: 1}

    def answer(self, data: bytes) -> list[bytes]:
        """Return the frames that answer a command; audits go without an answer, as books alter while they are asked."""
        command = decode_command(data)
        if isinstance(command, Subscribe):
            found = []
            for channel in command.channels:
                sid = {ORDERBOOK: BOOK_SID, TRADE: TRADE_SID}.get(channel, LIFECYCLE_SID)
                found.append(encode.subscribed(command.id, channel, sid))
            return found + self._books(command.tickers or ())
        if isinstance(command, Update) and command.action == ADD_MARKETS:
            return [encode.ok(command.id, BOOK_SID, self._number(BOOK_SID)), *self._books(command.tickers)]
        return []

    def _books(self, tickers: tuple[str, ...]) -> list[bytes]:
        return [
            encode.snapshot(BOOK_SID, self._number(BOOK_SID), ticker, self._tape.books[ticker]) for ticker in tickers
        ]

    def _number(self, sid: int) -> int:
        number = self.next_seq[sid]
        self.next_seq[sid] = number + 1
        return number
