"""``python -m bench``: list the benches, or run those named, or ``all``."""

import sys
from collections.abc import Callable

from bench import book_live, book_published, exchange_load, ingest, publish, size

BENCHES: dict[str, tuple[Callable[[], None], str]] = {
    "ingest": (ingest.run, "the whole collector / receive and discard, messages per CPU second; wss on loopback"),
    "book-cold": (book_published.run_cold, "a book out of published hours / decoding the row groups it rests on"),
    "book-hot": (book_published.run_hot, "the same with decoded rows kept / the same decoding"),
    "book-live": (book_live.run, "a book out of segments / the plain decoding of the batches it rests on, CPU time"),
    "size": (size.run, "bytes of a published order book / changes in it"),
    "publish": (publish.run, "seconds and memory to publish an hour of five million changes (absolute)"),
    "exchange": (exchange_load.run, "share of a core and lateness of the local exchange under load (absolute)"),
    "event-loop": (ingest.run_event_loops, "ingest under uvloop / under asyncio"),
}


def main(arguments: list[str]) -> int:
    """Run what is named; return the exit code, 2 for a bench that does not exist."""
    if not arguments:
        for name, (_, about) in BENCHES.items():
            print(f"python -m bench {name:10} {about}")
        print(f"python -m bench {'all':10} every one of them")
        return 0
    names = list(BENCHES) if arguments == ["all"] else arguments
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"there is no bench {unknown[0]}; python -m bench lists them", file=sys.stderr)
        return 2
    for name in names:
        BENCHES[name][0]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
