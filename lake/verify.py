"""The offline proof of a lake: an hour, a day or all of it, against itself and against the log it came from.

Owns what is proved in which order, and the report. Never repairs, never writes, and needs no process to run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake import paths
from lake.verifying.chain import Chain, Version, verify_chain
from lake.verifying.findings import Doubt, Findings
from lake.verifying.hours import verify_version
from lake.verifying.journal import verify_journal
from lake.verifying.origins import verify_origins
from lake.verifying.raw import verify_raw
from lake.verifying.tables import Active, read_active, tables, verify_coverage, verify_files

__all__ = ["Doubt", "Report", "verify"]
_LOOKS = 5


@dataclass(frozen=True)
class Report:
    """``proved`` says what was proved, with counts, a line each; ``doubts`` what was not as it should be."""

    proved: list[str]
    doubts: list[Doubt]


def verify(lake: Path, home: Path | None, hours: Sequence[int] | None, say: Callable[[str], None]) -> Report:
    """Prove a lake, and the log under ``home`` where given, for some hours (whole hours since the epoch; None: all).

    Proved are: the chain of manifests; each file by its sha256, size and rows; that every table holds the files of the
    standing versions and coverage the rows of all versions; of each version, superseded ones too, the order of its
    rows, the replay from each base to the next, its coverage derived again; and, while its segments exist, that its
    rows are those that follow from them. Of the log: every acknowledged byte, sidecars, numbers of flushes, ENDs; of
    the raw frames that are kept, each block.
    ``say`` is told what is looked at. A publication under way is no doubt. Raises nothing on account of what is found.
    Cost: reads everything concerned once, about a minute for an hour of 5 million rows.
    """
    findings = Findings()
    chain, active = _look(lake, hours, findings)
    if home is not None:
        say("the log")
        verify_journal(home, hours, chain.claims(), findings)
        verify_raw(home, hours, findings)
    chosen = [hour for hour in sorted(chain.hours) if hours is None or hour in hours]
    if not chain.whole:
        return Report(findings.lines(), findings.doubts)
    say("the tables")
    if active is not None:
        if chain.last > active["coverage"].manifest:
            findings.proved("publications decided and not carried out yet", chain.last - active["coverage"].manifest)
        extra = {hour for held in active.values() for hour in held.rows if hours is None or hour in hours}
        verify_files(chain, active, extra | set(chosen), findings)
        verify_coverage(chain, active["coverage"], extra | set(chosen), findings)
    for hour in chosen:
        say(f"hour {paths.partition(hour)['dt']}T{int(paths.partition(hour)['hr']):02d}")
        for version in chain.hours[hour]:
            _version(chain, version, home, findings)
    return Report(findings.lines(), findings.doubts)


def _look(lake: Path, hours: Sequence[int] | None, findings: Findings) -> tuple[Chain, dict[str, Active] | None]:
    """Read the tables and then the chain, again where a publication came to its end in between."""
    for look in range(_LOOKS):
        found = Findings()
        active = {table: held for table in tables(lake) if (held := read_active(lake, table, found)) is not None}
        chain = verify_chain(lake, hours, found)
        overtaken = "coverage" in active and active["coverage"].manifest < chain.last - 1
        if not overtaken or look == _LOOKS - 1:
            findings.counts.update(found.counts)
            findings.doubts += found.doubts
            return chain, active if "coverage" in active else None
    raise AssertionError("unreachable: the last look returns")


def _version(chain: Chain, version: Version, home: Path | None, findings: Findings) -> None:
    contents = verify_version(chain, version, findings)
    if contents is not None and home is not None:
        verify_origins(home, chain, version, contents, findings)
