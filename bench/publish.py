"""``bench publish``: how long the publication of a large hour takes, and in how much memory.

Owns the hour, and a fresh process that publishes it; both figures are absolute. Afterwards every file is proved against
the log by ``lake.verify``, and every book against the flow it was made of.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import flow, flowlog, machine, published, size
from lake import paths
from lake.verify import verify

MARKETS = 3_000
CHANGES = 5_000_000
HOUR = 496_223
TARGET_S = 60
TARGET_GB = 1.5


class Run(msgspec.Struct):
    """What the publishing process says of itself; memory is its greatest resident size."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


def run(markets: int = MARKETS, changes: int = CHANGES) -> None:
    """Publish the hour once and print the figures."""
    print(machine.describe())
    print(machine.load())
    made = flow.hour(markets, changes, paths.hour_start_us(HOUR))
    with (
        tempfile.TemporaryDirectory(dir=machine.memory()) as memory,
        tempfile.TemporaryDirectory(dir=machine.scratch()) as disk,
    ):
        home, lake = Path(memory), Path(disk)
        flowlog.write(made, home, HOUR)
        segments = sum(file.stat().st_size for file in home.rglob("*.arrow"))
        published.publish_one(home, lake, HOUR - 1)
        done = in_a_process(lake, home, HOUR)
        found = size.account(lake, [HOUR])
        print(f"\npublish: {len(made.tickers)} markets, {segments:,} bytes of segments -> {found.line()}")
        print(f"publish: {done.wall_s:.1f} s, {done.cpu_s:.1f} s of CPU, {done.rss_bytes / 1e9:.2f} GB")
        size.check(made, lake, HOUR)
        start_s = time.monotonic()
        report = verify(lake, home, [HOUR], lambda _: None)
        assert not report.doubts, f"doubts: {report.doubts[:3]}"
        print(f"publish: proved again by verify in {time.monotonic() - start_s:.1f} s")
    print(f"publish seconds {done.wall_s:.1f} (target <= {TARGET_S})")
    print(f"publish memory {done.rss_bytes / 1e9:.2f} GB (target <= {TARGET_GB})")


def in_a_process(lake: Path, home: Path, hour: int) -> Run:
    """Publish an hour in a process of its own. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "bench.publish", str(lake), str(home), str(hour)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Run)


def main(lake: Path, home: Path, hour: int) -> Run:
    """Publish an hour here; return what it took, imports left out."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    published.publish_one(home, lake, hour)
    wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return Run(wall_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    print(msgspec.json.encode(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))).decode())
