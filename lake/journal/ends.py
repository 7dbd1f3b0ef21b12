"""The END of an hour: a shard's word that its hour holds all it will hold.

Owns the object ``end.json`` in an hour's folder, written once and never altered. Never decides when an hour has ended:
that is the collector's.

It is one line as in a flush file: JSON, a tab, the crc32 of that JSON as 8 hex digits, a newline.
"""

import zlib
from pathlib import Path

import msgspec

from book.errors import CorruptError
from lake import objects, paths
from lake.journal.flush import ConnMark


class End(msgspec.Struct, frozen=True):
    """What a shard had logged of an hour when it ended.

    ``flush`` is the number of the last flush that counts: closes logged in later folders up to it belong to the hour.
    ``segments`` are the files of the hour's folder that flushes name. ``conns`` are the marks, as of that flush, of
    every conn that the folder names (key: the conn as text); each is closed or heard at or past the hour's end.
    ``reach`` lists the earlier hours that closes logged in this hour's folder are stamped in, ascending. ``epoch`` is
    that of the process that wrote it, 0 where it had none.
    """

    shard: int
    hour: int
    flush: int
    segments: list[str]
    conns: dict[str, ConnMark]
    reach: list[int]
    epoch: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(End)


def write_end(home: Path, end: End) -> bool:
    """Write an hour's END, durable on return; False where it was there already: the first stands, whatever it says.

    Raises OSError. Cost: two syncs.
    """
    text = _encoder.encode(end)
    return objects.put_new(paths.end_path(home, end.shard, end.hour), b"%s\t%08x\n" % (text, zlib.crc32(text)))


def read_end(home: Path, shard: int, hour: int) -> End | None:
    """Return an hour's END, None where it has none. Raises CorruptError where it is damaged."""
    path = paths.end_path(home, shard, hour)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    text, tab, crc32 = data.rpartition(b"\t")
    if not tab or crc32 != b"%08x\n" % zlib.crc32(text):
        raise CorruptError(str(path), 0, "the END fails its checksum")
    try:
        end = _decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptError(str(path), 0, f"not an END: {error}") from None
    if (end.shard, end.hour) != (shard, hour):
        raise CorruptError(str(path), 0, f"it is that of shard {end.shard}, hour {end.hour}")
    return end
