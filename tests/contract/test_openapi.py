"""The OpenAPI document: that it says what the server does, and that the server does what it says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from book.errors import API_CODES
from server.app import ENDPOINTS, create_app
from tests.server.conftest import GOLD, KEY, Client, settings, text, write_log, write_published
from tests.server.process import ROOT, process

PATHS = {
    "/v1/orderbook": {"post"},
    "/v1/orderbook/{ticker}": {"get"},
    "/v1/deltas": {"post"},
    "/v1/trades": {"post"},
    "/v1/markets": {"get"},
    "/v1/markets/{ticker}": {"get"},
    "/v1/coverage/{ticker}": {"get"},
    "/v1/gaps": {"get"},
    "/v1/corrections": {"get"},
    "/v1/status": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}
QUESTIONS: dict[str, dict[str, Any]] = {
    "/v1/orderbook": {"market_ticker": GOLD, "timestamp": text(12)},
    "/v1/deltas": {"market_ticker": GOLD, "start_time": text(0), "end_time": text(60)},
    "/v1/trades": {"market_ticker": GOLD, "start_time": text(0), "end_time": text(60)},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    write_log(folder)
    write_published(folder)
    return folder


@pytest.fixture(scope="module")
def client(home: Path) -> Client:
    return Client(create_app(settings(home)))


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json", key=None).json())


def schema_at(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return dict(document["components"]["schemas"][name]) if name else schema


def test_it_lists_the_paths_under_v1_and_the_probes_alone(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert {path: set(operations) for path, operations in document["paths"].items()} == PATHS
    assert document["servers"] == [{"url": "http://books.test"}]


def test_bodies_take_no_unknown_field_and_state_their_bounds(document: dict[str, Any]) -> None:
    for path in QUESTIONS:
        body = document["paths"][path]["post"]["requestBody"]
        schema = schema_at(document, body["content"]["application/json"]["schema"])
        assert schema["additionalProperties"] is False
        assert (schema["properties"]["market_ticker"]["minLength"], body["required"]) == (1, True)
    depth = document["components"]["schemas"]["OrderbookQuestion"]["properties"]["depth"]["anyOf"][0]
    assert (depth["minimum"], depth["maximum"]) == (1, 1000)
    limit = document["components"]["schemas"]["DeltasQuestion"]["properties"]["limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 10_000, 100)


def test_query_parameters_state_their_bounds(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/orderbook/{ticker}"]["get"]
    found = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert list(found) == ["ticker", "at", "depth", "clock", "on_gap", "as_of"]
    assert (found["ticker"]["in"], found["ticker"]["required"]) == ("path", True)
    assert (found["depth"]["in"], found["depth"]["required"]) == ("query", False)
    assert (found["depth"]["schema"]["minimum"], found["depth"]["schema"]["maximum"]) == (1, 1000)
    assert found["clock"]["schema"] == {"enum": ["exchange", "received"], "default": "received"}


def test_prices_and_sizes_are_numbers(document: dict[str, Any]) -> None:
    level = document["components"]["schemas"]["PriceLevel"]["properties"]
    assert (level["price"]["type"], level["quantity"]["type"]) == ("number", "number")
    assert '"decimal","type":"string"' not in str(document).replace(" ", "").replace("'", '"')


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation_id)
def test_an_answer_has_the_fields_that_the_document_lists_in_its_order(
    client: Client, document: dict[str, Any], endpoint: Any
) -> None:
    path = endpoint.paths[0]
    answer = (
        client.post(path, QUESTIONS[path])
        if endpoint.method == "POST"
        else client.get(path.replace("{ticker}", GOLD), params={"at": text(12)} if "orderbook" in path else {})
    )
    operation = document["paths"][path][endpoint.method.lower()]
    ok = schema_at(document, operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert list(answer.json()) == list(ok["properties"]) == ok["required"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation_id)
def test_each_refusal_stands_at_its_status(document: dict[str, Any], endpoint: Any) -> None:
    operation = document["paths"][endpoint.paths[0]][endpoint.method.lower()]
    assert operation["security"] == [{"bearer": []}, {"key": []}]
    listed = set()
    for status, response in operation["responses"].items():
        if status != "200":
            narrowed = response["content"]["application/json"]["schema"]["allOf"][1]
            codes = narrowed["properties"]["error"]["properties"]["code"]["enum"]
            assert {API_CODES[code].status for code in codes} == {int(status)}
            listed |= set(codes)
    assert {"invalid_payload", "invalid_api_key", "not_acceptable", "overloaded", "deadline_exceeded"} <= listed
    assert ("unsupported_media_type" in listed) == (endpoint.method == "POST")
    has_cursor = "cursor" in endpoint.question.__struct_fields__
    assert ("invalid_cursor" in listed) == has_cursor


def test_the_server_does_what_the_document_says(home: Path, tmp_path: Path) -> None:
    """Ask some nine hundred questions, right and wrong ones, and hold each answer against the document."""
    program = Path(sys.executable).with_name("schemathesis")
    config = Path(__file__).with_name("schemathesis.toml")
    with process(home, tmp_path / "serve.err") as (_, asked):
        url = f"{asked.base_url}/openapi.json"
        run = subprocess.run(
            [program, "--config-file", config, "--no-color", "run", url, "--checks", "all"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert f"{len(PATHS)} passed" in run.stdout
    assert KEY in config.read_text()
