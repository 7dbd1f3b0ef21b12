"""The handshake: signed, refused, not answered."""

import asyncio
import base64
from contextlib import suppress
from http import HTTPStatus

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from book.errors import HandshakeError
from book.records import Reason
from collector import connection as connection_module
from collector.connection import dial
from collector.signing import Signer
from tests.collector.sockets import dialled, queue, server, silent, until

# the handshake


def test_the_handshake_is_signed_anew_with_the_path_alone() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signer = Signer("key-1", key.private_bytes(*form).decode())
    seen: list[str] = []

    def check(websocket: ServerConnection, request: Request) -> Response | None:
        headers = request.headers
        text = f"{headers['KALSHI-ACCESS-TIMESTAMP']}GET/trade-api/ws/v2".encode()
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"])
        key.public_key().verify(signature, text, pss, hashes.SHA256())
        seen.append(headers["KALSHI-ACCESS-SIGNATURE"])
        return websocket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not now") if len(seen) == 1 else None

    async def scenario() -> None:
        async with server(silent, process_request=check) as url:
            with pytest.raises(HandshakeError) as refused:
                await dial(f"{url}?a=b", signer, 1, queue())
            assert refused.value.status == 503
            connection = await dial(f"{url}?a=b", signer, 1, queue())
            connection.abort(Reason.SHUTDOWN)
            await connection.run()

    asyncio.run(scenario())
    assert len(set(seen)) == 2


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_refusal_says_its_status_and_may_be_tried_again(status: int) -> None:
    async def scenario() -> None:
        def refuse(websocket: ServerConnection, _: Request) -> Response:
            return websocket.respond(HTTPStatus(status), "no")

        async with server(silent, process_request=refuse) as url:
            with pytest.raises(HandshakeError) as refused:
                await dial(url, None, 1, queue())
        assert refused.value.status == status
        assert refused.value.retryable

    asyncio.run(scenario())


def test_nobody_there_a_wrong_answer_and_no_answer_are_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "OPEN_WITHIN_S", 0.2)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-x\r\n\r\n")
        writer.close()

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scenario() -> None:
        for answer in (nonsense, nothing):
            listener = await asyncio.start_server(answer, "127.0.0.1", 0)
            port = listener.sockets[0].getsockname()[1]
            async with listener:
                with pytest.raises(HandshakeError) as refused:
                    await dial(f"ws://127.0.0.1:{port}/", None, 1, queue())
                assert refused.value.status == 0
        with pytest.raises(HandshakeError):
            await dial(f"ws://127.0.0.1:{port}/", None, 1, queue())

    asyncio.run(scenario())


def test_a_wss_address_is_spoken_to_with_tls() -> None:
    """A server without TLS refuses; what must not happen is an error of our own before a byte is sent."""

    async def scenario() -> None:
        async with server(silent) as url:
            with pytest.raises(HandshakeError) as refused:
                await dial(url.replace("ws://", "wss://"), None, 1, queue())
            assert refused.value.status == 0

    asyncio.run(scenario())


def test_the_port_is_our_own() -> None:
    ports: list[int] = []

    async def attend(websocket: ServerConnection) -> None:
        ports.append(websocket.remote_address[1])
        with suppress(ConnectionClosed):
            await websocket.wait_closed()

    async def scenario() -> None:
        async with server(attend) as url, dialled(url, queue()) as connection:
            await until(lambda: bool(ports))
            assert connection.port == ports[0]

    asyncio.run(scenario())
