"""Bytes that stay: whole writes, synced folders, files that appear whole or not at all.

Owns how the lake calls the operating system to write. Never knows what the bytes mean.
"""

import os
from pathlib import Path

from lake import paths


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte, however many calls that takes.

    Raises OSError as the system gives it; then any part of the data may have been written.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _sync(path, os.O_CLOEXEC)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each name durable on return."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def create(path: Path) -> int:
    """Create a file that must not exist and return a descriptor that appends; its name is durable on return.

    Raises FileExistsError where the name is taken.
    """
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        sync_folder(path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole file in place: readers see the old one or the new one, and so does the machine after a crash."""
    temporary = path.with_name(path.name + paths.TEMPORARY_SUFFIX)
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    sync_folder(path.parent)
