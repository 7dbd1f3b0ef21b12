"""Objects of the lake on a local disk: put whole, once, under a name that is never used again.

Owns the conditional PUT and how a written file takes its place. Never knows what the bytes mean.

A conditional PUT here is: a temporary file, fsync, link to the name (which fails where it is taken), unlink of the
temporary name, fsync of the folder. Nobody sees a part of an object, and of several writers one wins.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from lake import durable, paths

Step = Callable[[str], None]
"""Told the name of each step before it is taken; a test stops the process there."""


def no_step(_name: str) -> None:
    """Go on: what stands where nobody watches the steps."""


def put_new(path: Path, data: bytes, step: Step = no_step) -> bool:
    """Put an object under a name that is free, durable on return; False, and nothing done, where it is taken.

    Any number of processes may try at once. Steps: ``temporary`` (written, no name yet), ``linked`` (visible, the
    name not durable yet). Raises OSError. Cost: two syncs.
    """
    temporary = temporary_name(path)
    with gone_on_error(temporary):
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            durable.write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    step("temporary")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    step("linked")
    durable.sync_folder(path.parent)
    return True


def temporary_name(path: Path) -> Path:
    """Return a name beside a file's own that nobody else uses, for writing it."""
    return path.with_name(f"{path.name}.{uuid4().hex}{paths.TEMPORARY_SUFFIX}")


@contextmanager
def gone_on_error(*files: Path) -> Iterator[None]:
    """Remove files that are being written where that fails: on a full disk each further try would leave more of it."""
    try:
        yield
    except OSError:
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        raise


def place(temporary: Path, path: Path) -> None:
    """Give a written file its name, its bytes durable before the name is, both on return."""
    durable.sync_file(temporary)
    temporary.rename(path)
    durable.sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hex. Cost: one read of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
