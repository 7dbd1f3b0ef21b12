"""The sending side of an ingest bench: a process that sends a tape as fast as the socket takes it.

Owns the sockets. Plain asyncio over TLS with frames encoded and joined beforehand into large writes, so that it costs
a fraction of what any receiver costs. A second, plain port says when: a line ``ready`` has the frames numbered and
joined, a line ``go`` has them sent.

Run as ``python -m bench.pump TAPE CERTIFICATE KEY CORE``; prints its two ports, ends when its input does.
"""

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import machine, tape, wire
from bench.venue import Venue, subscribed

CHUNK_BYTES = 128 << 10
BUFFER_BYTES = 4 << 20


class Pump:
    """Serve one receiver after the other, each over as many connections as it opens."""

    def __init__(self, played: tape.Tape) -> None:
        self._tape = played
        self._writer: asyncio.StreamWriter | None = None
        self._carriers: dict[int, asyncio.StreamWriter] = {}
        self._open = 0
        self._venue = Venue(played)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Shake hands, then answer commands and pings; the stream itself is sent by ``control``."""
        if not self._open:
            self._venue, self._carriers = Venue(self._tape), {}
        self._open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
            writer.write(wire.upgrade(await reader.readuntil(b"\r\n\r\n")))
            self._writer = writer
            frames = wire.ClientFrames()
            while data := await reader.read(1 << 16):
                for opcode, payload in frames.feed(data):
                    if opcode == wire.PING:
                        writer.write(wire.frame(payload, wire.PONG))
                    elif opcode == wire.TEXT:
                        writer.write(b"".join(wire.frame(answer) for answer in self._venue.answer(payload)))
                        self._carriers |= dict.fromkeys(subscribed(payload), writer)
        self._open -= 1
        writer.transport.abort()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Prepare the frames at a line ``ready``, send them at ``go``."""
        if await reader.readline() != b"ready\n" or self._writer is None:
            writer.transport.abort()
            return
        chunks = list(self._chunks(self._writer))
        writer.write(b"%d\n" % sum(len(chunk) for _, chunk in chunks))
        if await reader.readline() == b"go\n":
            with contextlib.suppress(ConnectionError):
                for carrier, chunk in chunks:
                    carrier.write(chunk)
                    await carrier.drain()
        writer.close()

    def _chunks(self, writer: asyncio.StreamWriter) -> Iterator[tuple[asyncio.StreamWriter, bytes]]:
        """Yield what is to be written where: each message on the connection that subscribed it, else on ``writer``."""
        parts: dict[asyncio.StreamWriter, bytearray] = {}
        for kind, payload in zip(self._tape.kinds, tape.frames(self._tape, self._venue.next_seq), strict=True):
            carrier = self._carriers.get(tape.SIDS[kind], writer)
            part = parts.setdefault(carrier, bytearray())
            part += wire.frame(payload)
            if len(part) >= CHUNK_BYTES:
                yield carrier, bytes(parts.pop(carrier))
        for carrier, part in parts.items():
            yield carrier, bytes(part)


async def serve(played: tape.Tape, certificate: str, key: str) -> None:
    """Serve until standard input ends."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    pump = Pump(played)
    stream = await asyncio.start_server(pump.stream, "127.0.0.1", 0, ssl=tls)
    control = await asyncio.start_server(pump.control, "127.0.0.1", 0)
    print(*(server.sockets[0].getsockname()[1] for server in (stream, control)), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    stream.close()
    control.close()


if __name__ == "__main__":
    machine.pin(int(sys.argv[4]))
    asyncio.run(serve(tape.load(Path(sys.argv[1])), sys.argv[2], sys.argv[3]))
