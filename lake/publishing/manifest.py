"""Manifests: the numbered, chained list of publications. A manifest is the decision; what follows it is execution.

Owns the form of a manifest and its chain. Never writes a data file and never commits to a table.

A manifest is one line: JSON, a tab, the sha256 of that JSON in hex, a newline. ``prev`` is the sha256 of the whole
bytes of the manifest before it. It is put once under its number; nothing at rest is altered.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from book.errors import CorruptError
from lake import durable, objects, paths


class DataFile(msgspec.Struct, frozen=True):
    """A file of the lake: path below its table's folder, size in bytes, sha256 in hex, rows."""

    file: str
    bytes: int
    sha256: str
    rows: int


class ShardRead(msgspec.Struct, frozen=True, omit_defaults=True):
    """Up to which flush a shard's log was read for an hour, and whether it had ended the hour.

    ``rebuilt`` is the number of the rebuild from raw frames that was read in place of the hour's own log, 0 where none.
    """

    flush: int
    ended: bool
    rebuilt: int = 0


class Account(msgspec.Struct, frozen=True):
    """The messages of one conn in one hour.

    ``snapshots`` to ``audits`` are those that stand in a table (audits: the equal ones, which leave no orderbook row).
    ``apart`` are those that stand in none, ``lost`` those among them that never arrived, where that is known.
    ``first_seq`` to ``last_seq``, inclusive, is the hour's range of sequence numbers, empty where last < first.
    ``sum_ok`` says whether the parts make up the range; null where the conn's earlier account is not known.
    ``apart_total`` counts from the conn's first message, for the next hour's difference. ``elsewhere`` are those that
    stand in none because what they are of is published from another shard.
    """

    shard: int
    snapshots: int
    deltas: int
    orphans: int
    trades: int
    lifecycle: int
    audits: int
    apart: int | None
    lost: int | None
    first_seq: int | None
    last_seq: int
    sum_ok: bool | None
    apart_total: int
    elsewhere: int = 0


class HourEntry(msgspec.Struct, frozen=True):
    """An hour's new version: what was read for it, its files, its messages, and where its coverage rows stand.

    ``hour`` is in whole hours since the epoch. ``files`` maps a table to its files, an empty list where the version
    has none and the one before had. ``after`` is the published hour that its books and gaps are carried on from, null
    where from none. ``first_row`` and ``coverage_rows`` are rows of the manifest's rows file.
    """

    hour: int
    version: int
    reason: str
    shards: dict[int, ShardRead]
    files: dict[str, list[DataFile]]
    conns: dict[int, Account]
    counts: dict[str, Any]
    after: int | None
    first_row: int
    coverage_rows: int


class Manifest(msgspec.Struct, frozen=True):
    """One publication: all its hours become visible at once. ``at_us`` grows strictly from manifest to manifest."""

    n: int
    prev: str
    at_us: int
    reason: str
    rows_file: DataFile
    hours: list[HourEntry]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    """Return a manifest's bytes."""
    text = _encoder.encode(manifest)
    return b"%s\t%s\n" % (text, hashlib.sha256(text).hexdigest().encode())


def decode(data: bytes, path: str) -> Manifest:
    """Return the manifest of these bytes. Raises CorruptError, naming ``path``, where they are not one."""
    text, tab, sha256 = data.rpartition(b"\t")
    if not tab or sha256 != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise CorruptError(path, 0, "the manifest fails its checksum")
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptError(path, 0, f"not a manifest: {error}") from None


def put(lake: Path, manifest: Manifest, step: objects.Step = objects.no_step) -> bool:
    """Put a manifest under its number, durable on return; False where the number is taken. Raises OSError."""
    folder = paths.manifest_dir(lake)
    durable.make_folder(folder)
    return objects.put_new(folder / paths.manifest_name(manifest.n), encode(manifest), step)


def read(lake: Path, number: int) -> Manifest:
    """Return a manifest. Raises CorruptError where it is missing or damaged."""
    return _read(lake, number)[0]


def read_chained(lake: Path, number: int) -> Manifest:
    """Return a manifest whose link to the one before it holds. Raises CorruptError. Cost: two small reads."""
    found = _read(lake, number)[0]
    if found.prev != link(lake, number - 1):
        path = paths.manifest_dir(lake) / paths.manifest_name(number)
        raise CorruptError(str(path), 0, "its prev is not the sha256 of the manifest before it")
    return found


def link(lake: Path, number: int) -> str:
    """Return what the next manifest has as ``prev``: sha256 of this one's bytes, hex; empty before the first."""
    return hashlib.sha256(_read(lake, number)[1]).hexdigest() if number else ""


def last_number(lake: Path) -> int:
    """Return the number of the newest manifest, 0 where there is none. Cost: one listing."""
    numbers = paths.manifest_numbers(lake)
    return numbers[-1] if numbers else 0


def make_durable(lake: Path, number: int) -> None:
    """Make a manifest durable that another process may have put without living to see it on disk."""
    folder = paths.manifest_dir(lake)
    durable.sync_file(folder / paths.manifest_name(number))
    durable.sync_folder(folder)


def rows_path(lake: Path, manifest: Manifest) -> Path:
    """Return the Parquet file with a manifest's new coverage rows."""
    return paths.manifest_dir(lake) / manifest.rows_file.file


def _read(lake: Path, number: int) -> tuple[Manifest, bytes]:
    path = paths.manifest_dir(lake) / paths.manifest_name(number)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptError(str(path), 0, "a manifest is missing") from None
    found = decode(data, str(path))
    if found.n != number:
        raise CorruptError(str(path), 0, f"it is manifest {found.n}")
    return found, data
