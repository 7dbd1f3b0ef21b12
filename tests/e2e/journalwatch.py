"""What a collector has acknowledged, as seen from outside while it runs.

Owns the polling of flush files and the check, afterwards, that everything seen is still there. Reads the files by the
format's own words, not through the reader.
"""

import json
import threading
import zlib
from pathlib import Path


class JournalWatch:
    """Poll the flush files of a home until stopped; ``seen`` holds (folder, record) of every whole line."""

    def __init__(self, home: Path) -> None:
        self._root = home / "journal"
        self._offsets: dict[Path, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[tuple[Path, dict]] = []
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stop.set()
        self._thread.join()

    def lost(self) -> list[str]:
        """Compare every acknowledged stretch of bytes with what stands in the segments now."""
        found = []
        start: dict[Path, int] = {}
        for folder, record in self.seen:
            for segment, length, crc32, _ in record.get("tables", {}).values():
                path = folder / segment
                data = path.read_bytes()[start.get(path, 0) : length] if path.exists() else b""
                if zlib.crc32(data) != crc32:
                    found.append(f"{path} up to {length}")
                start[path] = length
        return found

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for path in self._root.glob("*/*/*/flush.jsonl"):
                with path.open("rb") as file:
                    file.seek(self._offsets.get(path, 0))
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._offsets[path] = self._offsets.get(path, 0) + len(whole)
                for line in whole.splitlines():
                    text, _, crc32 = line.rpartition(b"\t")
                    if int(crc32, 16) == zlib.crc32(text):
                        self.seen.append((path.parent, json.loads(text)))
