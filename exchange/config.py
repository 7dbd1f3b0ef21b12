"""What the local exchange is run with.

Owns the options, their bounds and their defaults. Reads no environment and no file.
"""

from pathlib import Path

import msgspec

from exchange.errors import ConfigError

GENERATED = "generated"


class Ports(msgspec.Struct, frozen=True):
    """The ports that are listened on."""

    ws: int
    http: int


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one exchange. Seconds are machine time unless a field says otherwise.

    ``public_keys``: key id to PEM, RSA or Ed25519; no other key is let in.
    ``source``: ``generated``, or the folder of a capture.
    ``rehearsal``: the clock given to the exchange runs on the capture's own time; without it a capture is moved so
    that its first frame comes ``lead_s`` after the start, and played at ``speed``.
    ``capture_tickers``: the markets of the capture to play, all where empty.
    ``scenario``: a file of faults to make (exchange.scenario), None for none.
    ``markets``, ``combos`` on top of them, ``messages_per_s`` (of the clock's time), ``cycle_s`` (the life of the
    short-lived markets, likewise): the generated source.
    ``log_frames``: how many sent frames, with the books behind them, are remembered.
    ``queue_frames``: how many frames may wait for one connection before its subscription overflows.
    ``max_markets`` and ``max_commands_per_s`` a subscription, ``max_connections``: the venue's limits, None for none.
    ``snapshot_ok``: whether get_snapshot is answered by an ``ok`` too.
    ``read_tokens_per_s``: the account's read budget over REST, 10 tokens a request; None for no limit.
    ``legacy``: the field forms of before March 2026, in whole cents and contracts; generated source only.
    """

    public_keys: dict[str, str]
    host: str = "127.0.0.1"
    ws_port: int = 0
    http_port: int = 0
    source: str = GENERATED
    capture_tickers: tuple[str, ...] = ()
    rehearsal: bool = False
    speed: float = 1.0
    lead_s: float = 10.0
    seed: int = 1
    scenario: Path | None = None
    markets: int = 200
    combos: int = 0
    messages_per_s: int = 100
    cycle_s: int = 900
    log_frames: int = 200_000
    queue_frames: int = 262_144
    trades_kept: int = 200_000
    max_markets: int | None = None
    max_commands_per_s: int | None = None
    max_connections: int | None = None
    read_tokens_per_s: int | None = None
    snapshot_ok: bool = False
    legacy: bool = False
    ping_s: float = 10.0
    pong_timeout_s: float = 30.0
    clock_tolerance_s: float = 5.0

    def checked(self) -> "ExchangeConfig":
        """Return the options themselves. Raises ConfigError, with the field, for one that cannot be run."""
        if not self.public_keys:
            raise ConfigError("public_keys", "no key is given, so nobody could connect")
        for field, low in (
            ("markets", 1), ("combos", 0),
            ("messages_per_s", 0), ("cycle_s", 1), ("log_frames", 1), ("queue_frames", 1),
        ):  # fmt: skip
            if getattr(self, field) < low:
                raise ConfigError(field, f"it is below {low}")
        if not 0.001 <= self.speed <= 10_000:
            raise ConfigError("speed", "it is not from 0.001 to 10000")
        if self.rehearsal and self.speed != 1.0:
            raise ConfigError("speed", "the rehearsal clock sets the pace; leave it out")
        if self.source != GENERATED and not Path(self.source).is_dir():
            raise ConfigError("source", f"{self.source} is neither 'generated' nor a folder")
        if self.source != GENERATED and self.legacy:
            raise ConfigError("legacy", "a capture can hold what the legacy forms cannot")
        return self
