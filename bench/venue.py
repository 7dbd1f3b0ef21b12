"""The venue's side of a subscription in a bench: it answers commands and keeps the numbers.

Owns what a collector is told before the measured stream begins. No sockets, no clock.
"""

from bench.tape import BOOK_SID, LIFECYCLE_SID, TRADE_SID, Tape
from book.wire import encode
from book.wire.commands import ADD_MARKETS, LIFECYCLE, ORDERBOOK, TRADE, Subscribe, Update, decode_command

OTHER_SID = 4
_CHANNELS = {ORDERBOOK: BOOK_SID, TRADE: TRADE_SID, LIFECYCLE: LIFECYCLE_SID}


def subscribed(data: bytes) -> list[int]:
    """Return the sids of the stream that a command subscribes."""
    command = decode_command(data)
    if not isinstance(command, Subscribe):
        return []
    return [_CHANNELS[channel] for channel in command.channels if channel in _CHANNELS]


class Venue:
    """Answer a client's commands from a tape's first books; ``next_seq`` maps each sid to its next number."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.next_seq = {BOOK_SID: 1, TRADE_SID: 1, LIFECYCLE_SID: 1}

    def answer(self, data: bytes) -> list[bytes]:
        """Return the frames that answer a command; audits go without an answer, as books alter while they are asked."""
        command = decode_command(data)
        if isinstance(command, Subscribe):
            found = [
                encode.subscribed(command.id, channel, _CHANNELS.get(channel, OTHER_SID))
                for channel in command.channels
            ]
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
