"""Owns what an endpoint is: a record from which its routes, its checks and its documentation all come.

Nothing here knows a particular endpoint; each stands in ``server.endpoints`` in a file of its own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from server.questions import Questions

MAX_BODY_BYTES = 1_048_576
MAX_DEPTH = 1_000
MAX_LIMIT = 10_000

Ticker = Annotated[
    str, Meta(min_length=1, max_length=128, description="Kalshi market ticker", examples=["KXGOLD15M-26AUG101815-15"])
]
Depth = Annotated[int, Meta(ge=1, le=MAX_DEPTH, description="price levels shown a side; without it all of them")]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="rows a page")]
Cursor = Annotated[
    str, Meta(min_length=1, max_length=1024, description="next_cursor of the page before; opaque, same question")
]
Filter = Annotated[str, Meta(min_length=1, max_length=256)]

Q = TypeVar("Q", bound=msgspec.Struct)


class Reply(NamedTuple):
    """What an endpoint answers: the body without its two last fields, and headers of its own."""

    body: msgspec.Struct
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Endpoint(Generic[Q]):
    """One question over HTTP.

    ``question`` is the struct of its fields: those named in the path, and the rest in the query string (GET) or in
    the JSON body (POST). ``codes`` are the refusals of its own; those that any endpoint can give are added where they
    are listed. ``answer`` runs in a thread and may block. ``first_generation`` endpoints answer at ``/`` too.
    """

    method: Literal["GET", "POST"]
    path: str
    operation_id: str
    tag: str
    summary: str
    description: str
    credits: str
    question: type[Q]
    reply: type[msgspec.Struct]
    answer: Callable[[Questions, Q], Reply]
    codes: tuple[str, ...] = ()
    first_generation: bool = False
    path_fields: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Read the path's fields off the path."""
        object.__setattr__(self, "path_fields", tuple(re.findall(r"\{(\w+)\}", self.path)))

    @property
    def paths(self) -> tuple[str, ...]:
        """Return every path that it answers at, the documented one first."""
        return (f"/v1{self.path}", self.path) if self.first_generation else (f"/v1{self.path}",)


AnyEndpoint = Endpoint[Any]
