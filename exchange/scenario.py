"""Scenario files: which faults are made, when, on whom.

A file is TOML (``[[fault]]`` and ``[[storm]]`` tables) or JSON lines (``.jsonl``; an object a line, ``"storm": true``
for a storm). A fault has the fields of an order (exchange.orders.Order, ``wait_s`` aside) and says when by one of

- ``at_s``: machine seconds after the start; with ``every_s`` the first time,
- ``every_s``: again and again so many machine seconds after another, ``times`` times where that is given,
- ``at``: an instant of the clock shown, RFC 3339,
- ``when``: a phase: snapshot, subscribe, handshake, rollover; with ``at_s`` it is armed then, else at the start.

A storm makes ``faults`` (orders, without times) drawn by ``seed``, a mean of ``mean_s`` seconds apart, from ``from_s``
to ``to_s`` after the start, where they are given.

Owns the reading and checking of such a file. Makes no fault.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from book.wire.rest import parse_time_us
from exchange.errors import OrderError, ScenarioError
from exchange.orders import NOW, Order

T = TypeVar("T")
_LONGEST_S = 1e9
_HEAD = re.compile(r"^\s*\[\[\s*(\w+)\s*\]\]")
_PLACE = re.compile(r"at `\$\.(?:faults\[\.\.\.\]\.|faults\[\d+\]\.)?(\w+)|field `(\w+)`")


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of a scenario; seconds after the start, machine time. ``times`` None is for ever."""

    order: Order
    at_s: float = 0.0
    every_s: float | None = None
    times: int | None = None


class Storm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults at random, exponentially apart; the same seed gives the same storm."""

    faults: tuple[Order, ...]
    mean_s: float
    seed: int = 1
    from_s: float = 0.0
    to_s: float | None = None


class Scenario(msgspec.Struct, frozen=True):
    """What a file asks for."""

    planned: tuple[Planned, ...] = ()
    storms: tuple[Storm, ...] = ()


class _Times(msgspec.Struct, frozen=True):
    at_s: float | None = None
    at: str | None = None
    every_s: float | None = None
    times: int | None = None


class _Entry:
    """A table or line of the file: what it says, and where its fields stand."""

    def __init__(self, path: Path, line: int, is_storm: bool, fields: dict[str, Any], lines: list[str]) -> None:
        self.fields = fields
        self.is_storm = is_storm
        self._path = path
        self._line = line
        self._lines = lines

    def error(self, field: str, text: str) -> ScenarioError:
        """Return what is wrong with a field, at the line where it stands."""
        named = re.compile(rf"(?:^|[\s{{,])\"?{re.escape(field)}\"?\s*[=:]")
        found = next((i for i, line in enumerate(self._lines) if field and named.search(line)), 0)
        return ScenarioError(str(self._path), self._line + found, field, text)

    def converted(self, fields: dict[str, Any], kind: type[T]) -> T:
        """Return fields as a record of their kind. Raises ScenarioError."""
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            field = next((name for name in place.groups() if name), "") if place else ""
            raise self.error(field, str(error)) from error

    def checked(self, act: Callable[[], T]) -> T:
        """Return what ``act`` does. Raises ScenarioError where it finds an order wrong."""
        try:
            return act()
        except OrderError as error:
            raise self.error(error.field, str(error).partition(": ")[2]) from error


def read_scenario(path: Path) -> Scenario:
    """Read and check a scenario file. Raises ScenarioError, with line and field, for one that cannot be run."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(str(path), 0, "", f"it cannot be read ({error})") from error
    entries = list(_json_entries(path, text) if path.suffix == ".jsonl" else _toml_entries(path, text))
    return Scenario(
        tuple(_planned(entry) for entry in entries if not entry.is_storm),
        tuple(_storm(entry) for entry in entries if entry.is_storm),
    )


def _json_entries(path: Path, text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise ScenarioError(str(path), number, "", str(error)) from error
        if not isinstance(fields, dict):
            raise ScenarioError(str(path), number, "", "it is not an object")
        is_storm = fields.pop("storm", False) is True
        yield _Entry(path, number, is_storm, fields, [line])


def _toml_entries(path: Path, text: str) -> Iterator[_Entry]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ScenarioError(str(path), int(found[1]) if found else 0, "", str(error)) from error
    lines = text.splitlines()
    heads = [(number, found[1]) for number, line in enumerate(lines) if (found := _HEAD.match(line))]
    for name, tables in document.items():
        if name not in {"fault", "storm"} or not isinstance(tables, list):
            line = next((n for n, row in enumerate(lines, 1) if name in row), 0)
            raise ScenarioError(str(path), line, name, "a scenario has [[fault]] and [[storm]] tables only")
        starts = [number for number, head in heads if head == name]
        ends = [number for number, _ in heads] + [len(lines)]
        for start, fields in zip(starts, tables, strict=False):
            end = min(number for number in ends if number > start)
            yield _Entry(path, start + 1, name == "storm", fields, lines[start:end])


def _planned(entry: _Entry) -> Planned:
    names = _Times.__struct_fields__
    times = entry.converted({name: value for name, value in entry.fields.items() if name in names}, _Times)
    order = entry.converted({name: value for name, value in entry.fields.items() if name not in names}, Order)
    if times.at is not None:
        try:
            order = msgspec.structs.replace(order, at_us=parse_time_us(times.at))
        except ValueError as error:
            raise entry.error("at", str(error)) from error
    order = entry.checked(order.checked)
    if times.at_s is None and times.every_s is None and order.at_us is None and order.when == NOW:
        raise entry.error("kind", f"{order.kind} has no time: at_s, every_s, at or when")
    if times.times is not None and (times.every_s is None or times.times < 1):
        raise entry.error("times", "it goes with every_s, and is at least 1")
    for name, value in (("at_s", times.at_s), ("every_s", times.every_s)):
        if value is not None and not (0 if name == "at_s" else 0.01) <= value <= _LONGEST_S:
            raise entry.error(name, f"{value} is out of its range")
    at_s = times.at_s if times.at_s is not None else times.every_s or 0.0
    return Planned(order=order, at_s=at_s, every_s=times.every_s, times=times.times)


def _storm(entry: _Entry) -> Storm:
    storm = entry.converted(entry.fields, Storm)
    if not storm.faults:
        raise entry.error("faults", "there is none")
    for order in storm.faults:
        entry.checked(order.checked)
        if order.at_us is not None:
            raise entry.error("at_us", "a storm makes its own times")
    if not 0.01 <= storm.mean_s <= _LONGEST_S:
        raise entry.error("mean_s", f"{storm.mean_s} is not from 0.01 to {_LONGEST_S:.0f}")
    if storm.from_s < 0 or (storm.to_s is not None and storm.to_s <= storm.from_s):
        raise entry.error("to_s", "it is not after from_s")
    return storm
