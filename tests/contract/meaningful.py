"""A hook for the contract test: turn valid but meaningless values into meaningful ones.

A random ticker is never found, a random cursor is nobody's, and of two random times one in two ranges is upside down:
no schema can say so. Only values that the schema allows are replaced, by others that it allows, so that a wrong
question stays wrong.
"""

from typing import Any

import schemathesis

from server.instants import InstantError, parse_instant
from tests.server.conftest import GOLD, OVER

_RANGES = (("start_time", "end_time"), ("recorded_from", "recorded_to"))


def _meaningful(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    for name in ("ticker", "market_ticker"):
        value = given.get(name)
        if isinstance(value, str) and 1 <= len(value) <= 128:
            given[name] = OVER if len(value) % 4 == 0 else GOLD
    if isinstance(given.get("cursor"), str) and 1 <= len(given["cursor"]) <= 1024:
        del given["cursor"]
    for start, end in _RANGES:
        try:
            if parse_instant(given[start]) >= parse_instant(given[end]):
                given[start], given[end] = 0, 4_102_444_800_000
        except (KeyError, InstantError):
            pass
    return given


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: dict[str, Any]) -> None:
    case.body = _meaningful(case.body)
    case.query = _meaningful(case.query)
    case.path_parameters = _meaningful(case.path_parameters)
