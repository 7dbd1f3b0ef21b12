"""Tests of cli.supervisor, with small children of their own."""

import asyncio
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import supervisor
from cli.supervisor import ChildSpec, Supervisor, last_words, open_log

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
DRAIN = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('drained'))); "


def python(role: str, code: str) -> ChildSpec:
    return ChildSpec(role, (sys.executable, "-c", code), dict(os.environ))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def read(keeper: Supervisor, role: str) -> str:
    path = keeper.log_path(role)
    return path.read_text() if path.exists() else ""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(supervisor, "_FIRST_S", 0.01)
    return []


def test_a_child_that_dies_is_started_again(tmp_path: Path, said: list[str]) -> None:
    async def scenario() -> None:
        keeper = Supervisor(tmp_path / "logs", said.append, random.Random(1))
        keeper.start(python("fake", "import os; print(os.getpid(), flush=True); os._exit(3)"))
        await until(lambda: len(read(keeper, "fake").split()) >= 3)
        assert await keeper.stop() == []
        assert len(set(read(keeper, "fake").split())) >= 3

    asyncio.run(scenario())

    assert said[0].startswith("fake ended (exit 3: ")
    assert str(tmp_path / "logs" / "fake.log") in said[0]


def test_stop_ends_children_and_starts_none_again(tmp_path: Path, said: list[str]) -> None:
    async def scenario() -> None:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        for role in ("a", "b"):
            keeper.start(python(role, SLEEP))
        await until(lambda: read(keeper, "a") == read(keeper, "b") == "up\n")
        assert await keeper.stop() == []
        await asyncio.sleep(0.1)
        assert read(keeper, "a") == "up\n"

    asyncio.run(scenario())

    assert said == []


def test_the_first_are_given_time_before_the_others_are_asked(tmp_path: Path, said: list[str]) -> None:
    other = (
        "import pathlib, signal, sys, time; first = pathlib.Path(sys.argv[1]); "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(first.read_text(), flush=True))); " + SLEEP
    )

    async def scenario() -> None:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(python("first", DRAIN + SLEEP))
        spec = python("other", other)
        keeper.start(ChildSpec("other", (*spec.argv, str(tmp_path / "first.log")), spec.environ))
        await until(lambda: "up" in read(keeper, "first") and "up" in read(keeper, "other"))
        assert await keeper.stop(first=("first", "absent"), within_s=30) == []
        assert read(keeper, "other").split() == ["up", "up", "drained"]

    asyncio.run(scenario())


def test_a_deaf_child_is_killed_with_what_it_started(tmp_path: Path, said: list[str]) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(child.pid, flush=True); time.sleep(60)"
    )

    async def scenario() -> int:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(python("deaf", code))
        await until(lambda: read(keeper, "deaf").endswith("\n"))
        assert await keeper.stop(within_s=0.2) == ["deaf"]
        grandchild = int(read(keeper, "deaf"))
        await until(lambda: not alive(grandchild) or Path(f"/proc/{grandchild}/stat").read_text().split()[2] == "Z")
        return grandchild

    asyncio.run(scenario())


def test_a_child_in_its_wait_for_another_start_is_stopped_at_once(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_S", 1000.0)
    monkeypatch.setattr(supervisor, "_LONGEST_S", 1000.0)

    async def scenario() -> None:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(python("fake", "raise SystemExit(1)"))
        await until(lambda: len(said) == 1)
        async with asyncio.timeout(10):
            assert await keeper.stop() == []

    asyncio.run(scenario())


def test_exit_2_is_not_tried_again(tmp_path: Path, said: list[str]) -> None:
    async def scenario() -> str:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(python("fake", "import sys; print('KALSHIBOOK_X is wrong'); sys.exit(2)"))
        async with asyncio.timeout(20):
            reason = await keeper.refused
        await keeper.stop()
        return reason

    assert asyncio.run(scenario()) == f"fake cannot run: KALSHIBOOK_X is wrong (log: {tmp_path / 'fake.log'})"
    assert said == []


def test_a_command_that_cannot_be_started_is_an_error(tmp_path: Path, said: list[str]) -> None:
    async def scenario() -> None:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(ChildSpec("fake", (str(tmp_path / "no-such-program"),), {}))
        async with asyncio.timeout(20):
            with pytest.raises(FileNotFoundError):
                await keeper.refused
        assert await keeper.stop() == []

    asyncio.run(scenario())


def test_replace_takes_effect_at_the_next_start(tmp_path: Path, said: list[str]) -> None:
    async def scenario() -> None:
        keeper = Supervisor(tmp_path, said.append, random.Random(1))
        keeper.start(python("fake", "import sys; print('one', flush=True); sys.stdin.read(); sys.exit(1)"))
        await until(lambda: "one" in read(keeper, "fake"))
        keeper.replace(python("fake", "import time; print('two', flush=True); time.sleep(60)"))
        process = keeper._children["fake"].process
        assert process is not None
        assert process.returncode is None
        process.kill()
        await until(lambda: "two" in read(keeper, "fake"))
        await keeper.stop()

    asyncio.run(scenario())


def test_a_log_is_appended_to_until_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 8)
    path = tmp_path / "logs" / "x.log"
    for text in (b"12345678", b"9", b"new"):
        fd = open_log(path)
        os.write(fd, text)
        os.close(fd)

    assert path.read_bytes() == b"new"
    assert path.with_name("x.log.1").read_bytes() == b"123456789"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing"),
        ('{"event":"first"}\n{"event":"last"}\n\n', "last"),
        ('{"event":"crashed","exception":"Traceback\\n  x\\nOSError: full"}\n', "crashed: OSError: full"),
        ('{"event":"crashed","exception":"x\\n  | OSError: full\\n  +---------\\n"}\n', "crashed: OSError: full"),
        ("plain words", "plain words"),
    ],
)
def test_last_words(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.log").write_text(text)

    assert last_words(tmp_path / "x.log") == says
