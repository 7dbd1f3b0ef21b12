"""A flush file read to be doubted: every byte of it, the last line too.

Owns what is wrong with a flush file as a file. A reader passes over a bad last line, since a writer may be at work or
have died there; here it is told apart from a line that was altered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lake import paths
from lake.journal.flush import FlushRecord, decode


@dataclass
class Flushes:
    """The records of a flush file; ``fault`` says what is wrong with it, ``torn`` bytes follow the last whole line."""

    path: Path
    exists: bool = False
    records: list[FlushRecord] = field(default_factory=list)
    fault: str | None = None
    torn: int = 0


def read(folder: Path) -> Flushes:
    """Return all that stands in an hour's flush file. Raises OSError. Cost: reads it, about 4 us a record."""
    found = Flushes(folder / paths.FLUSH_NAME)
    try:
        data = found.path.read_bytes()
    except FileNotFoundError:
        return found
    found.exists = True
    *lines, rest = data.split(b"\n")
    last = 0
    for number, line in enumerate(lines, 1):
        record = decode(line)
        if record is None:
            found.fault = f"line {number} of {len(lines)} fails its checksum"
            return found
        if last and record.n != last + 1:
            found.fault = f"line {number} is flush {record.n}, after flush {last}"
            return found
        last = record.n
        found.records.append(record)
    found.torn = len(rest)
    if rest and (decode(rest) or decode(rest[:-1])):
        found.fault = "the last line is whole but does not end in a newline"
    return found


def until(folders: list[Path], most: int) -> Iterator[FlushRecord]:
    """Yield the records of folders, oldest first, up to flush ``most``, inclusive; stops at a bad line.

    Cost: reads the files it comes to.
    """
    for folder in folders:
        path = folder / paths.FLUSH_NAME
        if not path.exists():
            continue
        for line in path.read_bytes().split(b"\n")[:-1]:
            record = decode(line)
            if record is None or record.n > most:
                return
            yield record


def first_number(folder: Path) -> int | None:
    """Return the number of a folder's first flush, None where it has none that can be read."""
    path = folder / paths.FLUSH_NAME
    if not path.exists():
        return None
    with path.open("rb") as file:
        record = decode(file.readline().removesuffix(b"\n"))
    return record.n if record else None
