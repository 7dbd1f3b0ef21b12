"""One try at one manifest number: the drafts of its hours, and the decision.

Owns what a publication consists of: which hours follow from those asked for, which version and reason each gets, and
the manifest that says so. Never carries it out.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import pyarrow as pa

from book.errors import PublishError
from lake import paths
from lake.objects import Step
from lake.publishing import corrections, manifest, parquet, reread
from lake.publishing.accounts import accounts_of
from lake.publishing.drafts import Draft, draft, stamped, with_tables
from lake.publishing.manifest import HourEntry, Manifest, ShardRead
from lake.publishing.shelf import Shelf
from lake.settling.settle import SettledHour
from lake.settling.standing import Standing, standing_of

Settled = tuple[SettledHour, dict[int, ShardRead]]
"""An hour's rows, and up to where each shard's log was read for them."""


@dataclass
class Attempt:
    """One try at one manifest number, from what was published when it began; ``hours`` ascending.

    ``reason`` is what hours get that are new; what is published already gets one by what changed.
    """

    shelf: Shelf
    home: Path | None
    hours: Sequence[int]
    reason: str
    step: Step
    rebuilt: Collection[int] = ()
    """The hours among them that are read from raw frames."""
    drafts: dict[int, Draft] = field(default_factory=dict)
    deciding: bool = False
    """From when the manifest may stand, whatever becomes of the call that puts it: its files must stay."""

    def standing(self, hour: int) -> tuple[int | None, Standing]:
        """Return what stands when an hour begins, and the hour it is carried on from: the latest published or drafted.

        Nothing stands where an hour between them has a log and is not published: who knows what it closed. What was
        imported and what was logged here are carried on each by itself: one says nothing of the other.
        """
        before = sorted({one for one in (*self.shelf.hours(), *self.drafts) if one < hour}, reverse=True)
        earlier = next((one for one in before if one in self.drafts or self._rests_on_log(one) == self._of_log), None)
        if earlier is None or self._has_log(range(earlier + 1, hour)):
            return None, Standing.empty()
        found = self.drafts.get(earlier)
        return earlier, standing_of(self.shelf.standing_rows(earlier) if found is None else found.rows).into(hour)

    def draft_all(self, settled: Callable[[int, Standing], Settled]) -> None:
        """Draft the hours asked for in order, and each published hour after one that changed what it rests on."""
        waiting = list(self.hours)
        done: set[int] = set()
        while waiting:
            hour = heappop(waiting)
            if hour in done:
                continue
            done.add(hour)
            if self._draft(hour, settled) and self._of_log:
                later = next((one for one in self.shelf.hours() if one > hour and self._rests_on_log(one)), None)
                if later is not None:
                    heappush(waiting, later)

    def decide(self, now_us: int) -> Manifest | None:
        """Put the manifest under the next number; None where that is taken."""
        lake, number = self.shelf.lake, self.shelf.manifest_number() + 1
        before = manifest.read(lake, number - 1).at_us if number > 1 else 0
        at_us = max(now_us, before + 1)
        drafts = [self.drafts[hour] for hour in sorted(self.drafts)]
        for one in drafts:
            if one.version > 1:
                self._correct(one, number, at_us)
        self.step("1.rows")
        rows = [stamped(one, number, at_us) for one in drafts]
        rows_file = parquet.write_rows_file(lake, pa.concat_tables(rows))
        drafts[0].written.append(paths.manifest_dir(lake) / rows_file.file)
        decided = Manifest(
            n=number,
            prev=manifest.link(lake, number - 1),
            at_us=at_us,
            reason=next(
                (one for one in ("rebuilt", "correction", "late") if one in {d.reason for d in drafts}), self.reason
            ),
            rows_file=rows_file,
            hours=self._entries(drafts, [part.num_rows for part in rows]),
        )
        self.step("2.manifest")
        self.deciding = True
        won = manifest.put(lake, decided, lambda part: self.step(f"2.manifest.{part}"))
        self.step("2.decided")
        return decided if won else None

    def discard(self) -> None:
        """Remove what was written and nothing names."""
        for one in self.drafts.values():
            one.discard()

    def _draft(self, hour: int, settled: Callable[[int, Standing], Settled]) -> bool:
        """Draft an hour; say whether what stands at its end has changed by it."""
        after, standing = self.standing(hour)
        self.step(f"1.{hour}")
        rows, shards = settled(hour, standing)
        conns = accounts_of(rows)
        step = self.step
        one = draft(
            self.shelf.lake, rows, standing, shards=shards, conns=conns, step=lambda part: step(f"1.{hour}.{part}")
        )
        one.after = after
        one.reason = "import" if self.reason == "import" else "rebuilt" if hour in self.rebuilt else "hour"
        if not self.shelf.published(hour):
            if not one.rows.num_rows:
                return False
            self.drafts[hour] = one
            return True
        entry, old = self._entry(hour), self.shelf.standing_rows(hour)
        if one.same_as(entry, old):
            one.discard()
            return False
        if self.reason == "import":
            one.discard()
            raise PublishError(hour, "it is published with other rows")
        one.version = entry.version + 1
        one.reason = "rebuilt" if hour in self.rebuilt else corrections.reason_of(old, one.rows)
        for table, files in entry.files.items():
            if files and table not in one.files:
                one.files[table] = []  # the version before had rows, this one has none: so much is to be said
        self.drafts[hour] = one
        return standing_of(one.rows) != standing_of(old)

    def _has_log(self, hours: range) -> bool:
        """Say whether a shard has acknowledged anything in one of these hours."""
        if self.home is None:
            return False
        found = [
            paths.hour_dir(self.home, shard, hour) / paths.FLUSH_NAME
            for shard in paths.shards(self.home)
            for hour in paths.hours(self.home, shard)
            if hour in hours
        ]
        return any(path.exists() and path.stat().st_size for path in found)

    @property
    def _of_log(self) -> bool:
        return self.reason != "import"

    def _rests_on_log(self, hour: int) -> bool:
        return self._entry(hour).reason != "import"

    def _entry(self, hour: int) -> HourEntry:
        number = self.shelf.manifest_of(hour)
        return next(entry for entry in manifest.read(self.shelf.lake, number).hours if entry.hour == hour)

    def _correct(self, one: Draft, number: int, at_us: int) -> None:
        """Add to a draft the file of all that was ever corrected of its hour."""
        lake, old = self.shelf.lake, self._entry(one.hour)
        before = old.files.get("corrections", [])
        told = corrections.rows_of(
            self.shelf.standing_rows(one.hour),
            one.rows,
            hour=one.hour,
            reason=one.reason,
            at_us=at_us,
            number=number,
            versions=(old.version, one.version),
            changed=reread.changed(lake, old.files, one.files) if one.reason == "rebuilt" else (),
        )
        rows = pa.concat_tables([parquet.read_hour(lake, "corrections", before), told])
        one.files.pop("corrections", None)
        data = parquet.write_new(lake, "corrections", one.hour, rows)
        one.add_file(lake, "corrections", data)
        one.rows = with_tables(one.rows, one.hour, {"corrections": [data]})

    @staticmethod
    def _entries(drafts: Sequence[Draft], sizes: Sequence[int]) -> list[HourEntry]:
        entries: list[HourEntry] = []
        first_row = 0
        for one, size in zip(drafts, sizes, strict=True):
            entries.append(
                HourEntry(
                    hour=one.hour,
                    version=one.version,
                    reason=one.reason,
                    shards=dict(one.shards),
                    files=one.files,
                    conns=dict(one.conns),
                    counts=dict(one.counts),
                    after=one.after,
                    first_row=first_row,
                    coverage_rows=size,
                )
            )
            first_row += size
        return entries
