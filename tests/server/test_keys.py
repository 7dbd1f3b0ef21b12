"""The caller's key: where it may stand, and that missing and wrong are told apart."""

import pytest

from book.errors import ApiError
from server.keys import KeyCheck

KEY = "kb-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY},
    ],
)
def test_the_key_passes(headers: dict[str, str]) -> None:
    KeyCheck(KEY)(headers)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "no API key was sent"),
        ({"x-api-key": ""}, "no API key was sent"),
        ({"authorization": "Basic eDp5"}, "the Authorization header is not of the form 'Bearer <key>'"),
        (
            {"authorization": "Basic eDp5", "x-api-key": KEY},
            "the Authorization header is not of the form 'Bearer <key>'",
        ),
        ({"authorization": "Bearer "}, "the Authorization header is not of the form 'Bearer <key>'"),
        ({"authorization": KEY}, "the Authorization header is not of the form 'Bearer <key>'"),
        ({"authorization": f"Bearer {KEY}x"}, "the API key that was sent is not valid"),
        ({"authorization": f"Bearer {KEY[:-1]}"}, "the API key that was sent is not valid"),
        ({"authorization": f"Bearer {KEY.upper()}"}, "the API key that was sent is not valid"),
        ({"x-api-key": "käse"}, "the API key that was sent is not valid"),
        ({"authorization": "Bearer wrong", "x-api-key": KEY}, "the API key that was sent is not valid"),
    ],
)
def test_another_key_is_refused(headers: dict[str, str], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        KeyCheck(KEY)(headers)
    assert (refused.value.code, refused.value.message) == ("invalid_api_key", message)


def test_without_a_key_there_is_no_server() -> None:
    with pytest.raises(ValueError, match="KALSHIBOOK_API_KEY"):
        KeyCheck("")
