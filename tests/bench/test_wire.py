import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from bench import wire


def sent(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A client's frame, as the library writes it."""
    return Frame(opcode, payload).serialize(mask=True)


def read(data: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as found:
        next(parsing)
    return found.value.value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_those_the_library_reads(size: int) -> None:
    payload = b"x" * size
    frame = read(wire.frame(payload))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)
    assert read(wire.frame(b"pong", wire.PONG)).opcode is Opcode.PONG


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_what_a_client_sends_is_read_however_it_is_cut(step: int) -> None:
    messages = [(Opcode.TEXT, b""), (Opcode.PING, b"ab"), (Opcode.TEXT, b"y" * 126), (Opcode.TEXT, bytes(70_000))]
    data = b"".join(sent(payload, opcode) for opcode, payload in messages)
    frames = wire.ClientFrames()
    found = []
    for start in range(0, len(data), step):
        found += frames.feed(data[start : start + step])
    assert found == [(int(opcode), payload) for opcode, payload in messages]


def test_the_handshake_is_answered_as_the_standard_has_it() -> None:
    request = b"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in wire.upgrade(request)
    with pytest.raises(KeyError):
        wire.upgrade(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
