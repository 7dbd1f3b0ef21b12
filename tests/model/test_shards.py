"""Two shards with the same markets: each log is answered by itself, the lowest shard that knows the book wins."""

import random
from pathlib import Path

import pytest

from query.log import Log
from tests.model.faults import schedule
from tests.model.frames import lives
from tests.model.oracle import GAP, OVER, UNWANTED, Oracle, Span
from tests.model.play import LIMITS
from tests.model.questions import Questions, Verdict
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.model.venue import Agenda

WORDS = (OVER, "not yet", GAP, UNWANTED, "no data")
"""Of several refusals the one that says most."""


class Both(Oracle):
    """Two oracles as one."""

    def __init__(self, oracles: list[Oracle]) -> None:
        super().__init__()
        self._oracles = oracles
        self.by_the_second = 0

    def answer(self, ticker: str, ts_us: int) -> Verdict:
        self._merge()
        found = [oracle.answer(ticker, ts_us) for oracle in self._oracles]
        for place, one in enumerate(found):
            if isinstance(one, dict):
                self.by_the_second += place
                return one
        return min((str(one) for one in found), key=WORDS.index)

    def _merge(self) -> None:
        self.spans = {}
        for oracle in self._oracles:
            for ticker, found in oracle.spans.items():
                known: list[Span] = self.spans.setdefault(ticker, [])
                known += found
        for found in self.spans.values():
            found.sort(key=lambda span: span.from_us)


@pytest.mark.parametrize(
    ("first", "second"),
    [(("reconnect",), ("gap",)), (("crash", "stall_5"), ("move", "step")), (("silent",), ("overflow", "crash"))],
)
def test_the_lowest_shard_that_knows_wins(
    tmp_path: Path, recorded_data: Path | None, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    agenda, shown, seconds = Agenda(), Shown(1_000_000), 22.0
    rigs: list[Rig] = []
    asking: list[Questions] = []

    def ask(_: Rig) -> None:
        if asking and asking[0].rng.random() < 0.15:
            asking[0].oracle._merge()
            asking[0].ask(6, min(rig.stamper.last_us for rig in rigs))

    for shard in (0, 1):
        rng = random.Random(40 + shard)
        markets = lives(recorded_data, 3, seconds, None, rng)
        rigs.append(Rig(tmp_path, markets, shown, rng, limits=LIMITS, flushed=ask, shard=shard, agenda=agenda))
    both = Both([rig.oracle for rig in rigs])
    log = Log(tmp_path, lambda: max(rig.stamper.last_us for rig in rigs), poll_every_s=0.0)
    asking.append(Questions(log, both, random.Random(9)))
    for rig, kinds in zip(rigs, (first, second), strict=True):
        schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rig.rng)
    agenda.run(int(seconds * NS))
    both._merge()
    asking[0].ask(150, min(rig.stamper.last_us for rig in rigs))
    asked = asking[0].asked
    assert asked.wrong == []
    assert asked.count >= 150
    assert asked.verdicts["book"] >= 0.5 * asked.count
    assert both.by_the_second > 0
    for rig in rigs:
        if rig.up:
            rig.close()
