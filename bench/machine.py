"""What the figures were measured on.

Owns the line that names the machine and the versions, and the folder and cores that a bench uses.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_VERSIONS = ("websockets", "msgspec", "numpy", "pyarrow", "uvloop", "deltalake")
_MEMORY = Path("/dev/shm")  # noqa: S108 - files of one run, in a folder of their own


def describe() -> str:
    """Return one line: processor, cores, memory, system, versions of what does the work."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"machine: {_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}; {platform.python_implementation()} {platform.python_version()}, {versions}"
    )


def load() -> str:
    """Return how busy the machine is with other things: figures taken on a busy one spread more."""
    return f"load average before: {os.getloadavg()[0]:.2f}"


def scratch() -> Path:
    """Return a folder on the disk that the product writes to; a temporary one may be memory, whose sync is free."""
    folder = Path(__file__).resolve().parents[1] / "var" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def memory() -> Path | None:
    """Return a folder in memory, where syncs are free; None where there is none: then the system's temporary one."""
    return _MEMORY if _MEMORY.is_dir() else None


def pin(core: int) -> None:
    """Keep this process on one core, where the system lets it and has that many."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines[:30] if ":" in line)
    named = {name.strip(): text.strip() for name, text in fields.items()}
    model = named.get("model name", platform.machine())
    return f"{model} (family {named.get('cpu family', '?')}, model {named.get('model', '?')})"
