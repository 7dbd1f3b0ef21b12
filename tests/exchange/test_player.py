"""The player: in order, never early, as fast as it can when late, at any rate of the clock."""

import asyncio
import time
from collections.abc import Sequence

from exchange.player import Player
from exchange.source import Recorded
from exchange.steps import Changed, Step


def step(at_us: int) -> Changed:
    return Changed(at_us, "A", 0, 100, 1, at_us)


def test_prime_plays_what_is_due_and_no_more() -> None:
    played: list[int] = []
    source = Recorded(iter([step(at_us) for at_us in [*range(500, 1_500)]]))
    player = Player(source, lambda steps: played.extend(s.at_us for s in steps), lambda: 1_000, lambda: 0.0)
    player.prime()
    assert played == list(range(500, 1_001))
    assert not player.is_done


def test_a_fast_clock_is_kept_up_with_and_nothing_comes_early() -> None:
    began_ns = time.monotonic_ns()

    def now_us() -> int:
        return (time.monotonic_ns() - began_ns) // 1000 * 100

    played: list[tuple[int, int]] = []
    times = [*range(0, 20_000_000, 10_000), *([20_000_000] * 1_000)]

    def play(steps: Sequence[Step]) -> None:
        played.extend((s.at_us, now_us()) for s in steps)

    player = Player(Recorded(iter([step(at_us) for at_us in times])), play, now_us, time.monotonic)
    asyncio.run(player.run())
    assert [at_us for at_us, _ in played] == times
    assert all(seen_us >= at_us for at_us, seen_us in played)
    assert player.is_done


def test_a_source_without_steps_is_done_at_once() -> None:
    player = Player(Recorded(iter([])), lambda _: None, lambda: 0, lambda: 0.0)
    assert player.is_done
    asyncio.run(player.run())
