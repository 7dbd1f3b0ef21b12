"""The state of the service over HTTP: each field and its order, recording or not, published or not."""

from pathlib import Path

from server.app import create_app
from tests.server.conftest import NOW, SECOND, Client, settings, text

FIELDS = [
    "recording",
    "lag",
    "known_until",
    "hours_published",
    "last_published_hour",
    "unpublished_hours",
    "publish_lateness",
    "last_24_hours",
    "last_30_days",
]
NOTHING = {"hours": 0, "hours_left_out": 0, "gaps": 0, "audits": 0, "mismatches": 0}


def test_the_fields_stand_in_their_order(published: Client) -> None:
    told = published.get("/v1/status").json()
    assert list(told) == ["data", "request_id", "response_time"]
    assert list(told["data"]) == FIELDS
    assert list(told["data"]["last_24_hours"]) == list(told["data"]["last_30_days"]) == list(NOTHING)


def test_a_recording_with_a_published_hour(published: Client) -> None:
    told = published.get("/v1/status").json()["data"]
    assert (told["recording"], told["lag"], told["known_until"]) == (True, 1.0, text(599))
    assert (told["hours_published"], told["last_published_hour"]) == (1, text(-3600))
    assert (told["unpublished_hours"], told["publish_lateness"]) == (0, 0)
    assert told["last_24_hours"] == told["last_30_days"] == NOTHING | {"hours": 1, "gaps": 1, "mismatches": 1}


def test_a_recording_before_its_first_hour_is_over(client: Client) -> None:
    told = client.get("/v1/status").json()["data"]
    assert (told["hours_published"], told["last_published_hour"], told["publish_lateness"]) == (0, None, 0)
    assert told["last_24_hours"] == told["last_30_days"] == NOTHING


def test_an_hour_that_nobody_publishes_is_late(home: Path) -> None:
    late = Client(create_app(settings(home, now_us=lambda: NOW + 3600 * SECOND)))
    told = late.get("/v1/status").json()["data"]
    assert (told["recording"], told["lag"]) == (False, 3601.0)
    assert (told["unpublished_hours"], told["publish_lateness"]) == (1, 600.0)


def test_where_nothing_is_recorded_yet(tmp_path: Path) -> None:
    told = Client(create_app(settings(tmp_path))).get("/v1/status").json()["data"]
    assert (told["recording"], told["lag"], told["known_until"]) == (False, None, None)
    assert (told["unpublished_hours"], told["publish_lateness"]) == (0, 0)
