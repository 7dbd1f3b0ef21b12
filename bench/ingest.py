"""``bench ingest``: what the whole collector costs beside receiving alone.

Owns the rounds: for each data set one pump, and a fresh process for each run of either side, in turn. Both sides run
under asyncio. ``bench event-loop`` is the same with uvloop beside it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bench import certificate, figures, machine, tape
from bench.receiver import DISCARD, PIPELINE, Run

TARGET = ">= 0.60"
ROUNDS = 5
ROUNDS_OF_LOOPS = 3
MARKETS = 12_000
GENERATED_MESSAGES = 300_000
RUN_WITHIN_S = 60
PUMP_CORE, RECEIVER_CORE = 0, 1

Side = tuple[str, str]
"""What a process does, and under which event loop."""
SIDES: tuple[Side, ...] = ((DISCARD, "asyncio"), (PIPELINE, "asyncio"))
WITH_UVLOOP: tuple[Side, ...] = (*SIDES, (DISCARD, "uvloop"), (PIPELINE, "uvloop"))


class Pumped(NamedTuple):
    """A pump that stands: the tape it plays and its two ports."""

    tape_path: Path
    port: int
    control: int
    certificate_path: Path


def run() -> None:
    """Measure both data sets and print the figures; a ratio line ends each."""
    _run(ROUNDS, SIDES)


def run_event_loops() -> None:
    """Measure both data sets under asyncio and uvloop; the last ratio line of each is of the pipeline's two loops."""
    _run(ROUNDS_OF_LOOPS, WITH_UVLOOP)


def _run(rounds: int, sides: tuple[Side, ...]) -> None:
    print(machine.describe())
    print(machine.load())
    measure(tape.generated(MARKETS, GENERATED_MESSAGES), rounds, sides)
    folder = tape.recorded_folder()
    if folder is None:
        print("ingest recorded: no recorded frames here (KALSHIBOOK_TEST_DATA names their folder)")
    else:
        measure(tape.recorded(folder), rounds, sides)


def measure(played: tape.Tape, rounds: int, sides: tuple[Side, ...]) -> None:
    """Measure one data set and print the figures. Raises where a run fails or its log is not what was sent."""
    shares = ", ".join(
        f"{played.count(kind)} {name}" for kind, name in enumerate(tape.FRAME_TYPES) if played.count(kind)
    )
    print(f"\n{played.name}: {len(played.books)} markets, {len(played.bodies)} messages ({shares})")
    found: dict[Side, list[Run]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(dir=machine.scratch()) as folder, _pump(played, Path(folder)) as pumped:
        for number in range(rounds):
            for side in sides:
                home = Path(folder) / f"{number}-{'-'.join(side)}"
                found[side].append(_receive(side, pumped, home))
    for side, runs in found.items():
        print(_line(side, runs))
    pipeline, discard = (_per_cpu_s(found[way, "asyncio"]) for way in (PIPELINE, DISCARD))
    print(figures.ratio(pipeline, discard).line(f"ingest {played.name}", TARGET))
    if (PIPELINE, "uvloop") in found:
        uvloop = _per_cpu_s(found[PIPELINE, "uvloop"])
        print(figures.ratio(uvloop, pipeline).line(f"event-loop {played.name} uvloop / asyncio", "none"))


def _per_cpu_s(runs: list[Run]) -> list[float]:
    return [one.frames / one.cpu_s for one in runs]


def _line(side: Side, runs: list[Run]) -> str:
    per_cpu_s = _per_cpu_s(runs)
    per_wall_s = median(one.frames / one.wall_s for one in runs)
    last = runs[-1]
    text = (
        f"{side[0]:8} {side[1]:7} {median(per_cpu_s):9,.0f} messages/s of CPU ({min(per_cpu_s):,.0f}-"
        f"{max(per_cpu_s):,.0f}), {per_wall_s:,.0f} messages/s of wall, {last.sent_bytes / 2**20:.1f} MiB received"
    )
    if not last.written.flushes:
        return text
    return (
        f"{text}, {last.written.size_bytes / 2**20:.1f} MiB of segments in {last.written.flushes} flushes "
        f"(first books included), read back right"
    )


@contextmanager
def _pump(played: tape.Tape, folder: Path) -> Iterator[Pumped]:
    """Start a pump and end it."""
    tape_path = folder / f"{played.name}.tape"
    played.save(tape_path)
    certificate_path, key_path = certificate.write(folder)
    files = [str(path) for path in (tape_path, certificate_path, key_path)]
    command = [sys.executable, "-m", "bench.pump", *files, str(PUMP_CORE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port, control = process.stdout.readline().split()
            yield Pumped(tape_path, int(port), int(control), certificate_path)
        finally:
            process.terminate()


def _receive(side: Side, pumped: Pumped, home: Path) -> Run:
    """Run one receiver in a process of its own. Raises CalledProcessError where it fails, TimeoutExpired."""
    command = [sys.executable, "-m", "bench.receiver", *side, str(pumped.tape_path), str(home)]
    command += [str(number) for number in (pumped.port, pumped.control, RECEIVER_CORE)]
    # The collector trusts what the system trusts: in this one process that is the run's certificate.
    environ = os.environ | {"SSL_CERT_FILE": str(pumped.certificate_path)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, timeout=RUN_WITHIN_S)
    return msgspec.json.decode(done.stdout, type=Run)
