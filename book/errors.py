"""Every error of KalshiBook, and the one table of codes that the API answers with.

Owns the tree and the codes; rendering a code as HTTP belongs to the server.

    KalshiBookError
    |-- BookError
    |   |-- UnrepresentableError   a price or size finer or larger than its unit
    |   `-- NegativeLevelError     a change that would take a level below zero
    |-- WireError
    |   |-- FrameError             a frame that cannot be read
    |   `-- CommandError           a client's command the venue refuses
    |-- LakeError
    |   |-- CorruptError           bytes at rest that fail their checksum or their form
    |   |-- DeadWriterError        a writer used after an error (never done by us)
    |   |-- PublishError           an hour that cannot be published as it stands
    |   `-- ProofError             rows that do not say what they must
    |-- CollectorError
    |   |-- FencedError            a later process has the shard
    |   |-- HandshakeError         the venue refused the connection (retryable)
    |   `-- VenueBusyError         the venue refused a request for now (retryable; collector.venue_rest)
    |-- ExchangeError              the local exchange (exchange.errors)
    |   |-- ConfigError            a configuration that cannot be run
    |   |-- SourceError            a capture that cannot be played
    |   |-- AuthError              a signature that does not stand
    |   `-- RefusedError           a request of the control interface refused
    `-- ApiError                   a question refused, with its code
"""

from typing import Any, ClassVar, NamedTuple


class KalshiBookError(Exception):
    """Root of every error raised on purpose; ``retryable`` says whether the same call may succeed later."""

    retryable: ClassVar[bool] = False


class BookError(KalshiBookError):
    """The domain refuses a value."""


class UnrepresentableError(BookError):
    """A price or size that the unit cannot hold exactly.

    ``text`` is the venue's text, ``unit`` the unit that cannot hold it.
    """

    def __init__(self, text: str, unit: str) -> None:
        super().__init__(f"{text!r} is not a whole number of {unit} in range")
        self.text = text
        self.unit = unit


class NegativeLevelError(BookError):
    """A change that would leave fewer than zero contracts at a level."""

    def __init__(self, side: int, price_e4: int, have_e2: int, change_e2: int) -> None:
        super().__init__(f"level side={side} price_e4={price_e4} holds {have_e2}, change {change_e2}")
        self.side = side
        self.price_e4 = price_e4
        self.have_e2 = have_e2
        self.change_e2 = change_e2


class WireError(KalshiBookError):
    """The venue's dialect was not followed."""


class FrameError(WireError):
    """A frame that cannot be read; ``error`` names why, ``sid``, ``seq`` and ``ticker`` what could still be read."""

    def __init__(
        self, error: str, *, sid: int | None = None, seq: int | None = None, ticker: str | None = None
    ) -> None:
        super().__init__(error)
        self.error = error
        self.sid = sid
        self.seq = seq
        self.ticker = ticker


class CommandError(WireError):
    """A command refused; ``code`` is the venue's error number, ``command_id`` the command's id where it has one."""

    def __init__(self, code: int, text: str, command_id: int | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.command_id = command_id


class LakeError(KalshiBookError):
    """Records at rest cannot be written or read."""


class CorruptError(LakeError):
    """Bytes at rest that fail their checksum or their form; ``path`` and ``offset`` (bytes) say where."""

    def __init__(self, path: str, offset: int, error: str) -> None:
        super().__init__(f"{path} at byte {offset}: {error}")
        self.path = path
        self.offset = offset
        self.error = error


class DeadWriterError(LakeError):
    """A writer was used after it had failed."""


class PublishError(LakeError):
    """An hour that cannot be published as it stands; ``hour`` counts from the epoch, ``error`` says why not."""

    def __init__(self, hour: int, error: str) -> None:
        super().__init__(f"hour {hour}: {error}")
        self.hour = hour
        self.error = error


class ProofError(LakeError):
    """Rows that do not say what they must; ``ticker`` and ``ts_us`` say where, where one place shows it."""

    def __init__(self, error: str, *, ticker: str | None = None, ts_us: int | None = None) -> None:
        place = "" if ticker is None else f"{ticker} at {ts_us} us: "
        super().__init__(place + error)
        self.error = error
        self.ticker = ticker
        self.ts_us = ts_us


class CollectorError(KalshiBookError):
    """Recording cannot go on as asked."""


class FencedError(CollectorError):
    """Another process has begun on this one's shard, or has taken a name of its own: nothing more is acknowledged."""


class HandshakeError(CollectorError):
    """The venue refused a connection; ``status`` is the HTTP status, 0 where there was none."""

    retryable = True

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"handshake refused ({status}): {error}")
        self.status = status
        self.error = error


class ExchangeError(KalshiBookError):
    """The local exchange cannot be run as asked."""


class ApiCode(NamedTuple):
    """A code of the API: its HTTP status and what the caller can do."""

    code: str
    status: int
    remedy: str


API_CODES: dict[str, ApiCode] = {
    row.code: row
    for row in (
        ApiCode("invalid_payload", 400, "Send only the documented fields, as one JSON object."),
        ApiCode("invalid_timestamp", 400, "Send ISO 8601 (2026-08-10T22:05:00Z) or Unix milliseconds."),
        ApiCode("invalid_cursor", 400, "Send next_cursor of the page before, unchanged, with the same question."),
        ApiCode("invalid_api_key", 401, "Send the key as 'Authorization: Bearer kb-...' or as 'X-API-Key'."),
        ApiCode("market_not_found", 404, "Look the ticker up in GET /v1/markets."),
        ApiCode("no_data_available", 404, "See reason; GET /v1/coverage/{ticker} lists what was recorded."),
        ApiCode("not_found", 404, "See /docs for the paths that exist."),
        ApiCode("method_not_allowed", 405, "Use a method listed in the Allow header."),
        ApiCode("not_acceptable", 406, "Accept application/json."),
        ApiCode("data_gap", 409, "Ask before 'from' or after 'to', or send on_gap=last for the last known book."),
        ApiCode("not_yet_known", 409, "Ask again after Retry-After, or leave the timestamp out for the newest book."),
        ApiCode("market_closed", 409, "Ask for an instant before closed_at."),
        ApiCode("payload_too_large", 413, "Send a body of at most 1 MiB."),
        ApiCode("unsupported_media_type", 415, "Send Content-Type: application/json."),
        ApiCode("validation_error", 422, "Keep the named field within its bounds."),
        ApiCode("internal_error", 500, "Report the request_id; the answer was withheld because it could be wrong."),
        ApiCode("overloaded", 503, "Ask again after Retry-After."),
        ApiCode("deadline_exceeded", 503, "Ask a smaller question, or ask again after Retry-After."),
    )
}


class ApiError(KalshiBookError):
    """A question refused: ``code`` is one of API_CODES, ``fields`` what the answer names beside it."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        row = API_CODES[code]
        self.code = code
        self.message = message
        self.status = row.status
        self.hint = row.remedy
        self.fields = fields
