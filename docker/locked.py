"""Owns the choice of what an image installs: prints, of a lock file, the pins that the named packages need.

Never resolves: each pin is printed as it stands, with its marker and hashes. Who needs a pin is what the lock's own
``# via`` comments say; the build asks pip afterwards whether anything is missing.

Usage: ``locked.py LOCK NAME...``; a name is a project of ours, without its development group, or a pin of the lock.
"""

import re
import sys
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==[^\n]*\n(?:[ \t]+[^\n]*\n)*", re.MULTILINE)
_VIA = re.compile(r"^ +#(?: via)? +([A-Za-z0-9][A-Za-z0-9._-]*)(?: \([^:)\n]*\))?$", re.MULTILINE)


def needed(lock: str, names: set[str]) -> str:
    """Return the pins that ``names`` need, in the lock's order; a line of a development group counts for nobody.

    Raises ValueError for a name that no pin has and none is needed by. Cost: one pass a level of need.
    """
    pins = [(match[1], match[0], set(_VIA.findall(match[0])) - {"via"}) for match in _PIN.finditer(lock)]
    for name in sorted(names):
        if not any(name in {pin, *users} for pin, _, users in pins):
            raise ValueError(f"{name} stands nowhere in the lock")
    wanted = set(names)
    while more := {pin for pin, _, users in pins if pin not in wanted and users & wanted}:
        wanted |= more
    return "".join(text for pin, text, _ in pins if pin in wanted)


if __name__ == "__main__":
    sys.stdout.write(needed(Path(sys.argv[1]).read_text(encoding="utf-8"), set(sys.argv[2:])))
