"""Both clients keep the same promises: opening, talking, closing, breaking."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from lab.errors import UsageError
from lab.transport import ClosedError, Line, Socket, Transport, UpgradeError, chosen, connect
from lab.transport.socket import MESSAGE_BYTES_MAX

pytestmark = pytest.mark.usefixtures("each_loop")

Handler = Callable[[ServerConnection], Awaitable[None]]
both = pytest.mark.parametrize("transport", Transport)


class Heard:
    """What a connection told."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.ends: list[ClosedError] = []
        self._news = asyncio.Event()

    def hear(self, message: str | bytes) -> None:
        self.messages.append(message)
        self._news.set()

    def lose(self, why: ClosedError) -> None:
        self.ends.append(why)
        self._news.set()

    async def until(self, enough: Callable[[Heard], object]) -> None:
        async with asyncio.timeout(10):
            while not enough(self):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def served(handler: Handler, status: HTTPStatus | None = None) -> AsyncGenerator[str]:
    """A server of the reference library, which is strict; its URL."""

    def gate(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(status, "no\n") if status else None

    async with serve(handler, "127.0.0.1", 0, process_request=gate, close_timeout=1) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def story(
    transport: Transport, handler: Handler, told: Callable[[Socket, Heard], Awaitable[None]]
) -> Heard:
    """Tell a story with one connection to a server; what was heard in it."""

    async def run() -> Heard:
        heard = Heard()
        async with served(handler) as url:
            opened = connect(url, hear=heard.hear, lose=heard.lose, transport=transport)
            socket = await opened
            try:
                await told(socket, heard)
            finally:
                socket.abort()
                await heard.until(lambda h: h.ends)
        return heard

    return asyncio.run(run())


@both
def test_text_stays_text_and_bytes_stay_bytes_in_order(transport: Transport) -> None:
    sent = ["eins", b"\x00\xff", "", "zwölf €", b"", "x" * 200, b"y" * 70_000]

    async def told(socket: Socket, heard: Heard) -> None:
        for message in sent:
            socket.send(message)
        await heard.until(lambda h: len(h.messages) == len(sent))

    assert story(transport, echo, told).messages == sent


@both
def test_a_message_of_a_megabyte_comes_through_whole(transport: Transport) -> None:
    big = "0123456789abcdef" * (MESSAGE_BYTES_MAX // 16)

    async def told(socket: Socket, heard: Heard) -> None:
        socket.send(big)
        await heard.until(lambda h: h.messages)

    async def serving(connection: ServerConnection) -> None:
        await connection.send(await connection.recv())

    assert story(transport, serving, told).messages == [big]


@both
@pytest.mark.parametrize("whole", [True, False])
def test_a_longer_message_breaks_the_connection_with_1009(
    transport: Transport, whole: bool
) -> None:
    half = "x" * (MESSAGE_BYTES_MAX // 2 + 1)
    codes: list[int | None] = []

    async def serving(connection: ServerConnection) -> None:
        await connection.send(half + half if whole else [half, half])
        await connection.wait_closed()
        codes.append(connection.close_code)

    async def told(socket: Socket, heard: Heard) -> None:
        await heard.until(lambda h: h.ends)
        assert socket.closed is heard.ends[0]
        await asyncio.wait_for(_until(lambda: bool(codes)), 10)

    heard = story(transport, serving, told)
    assert not heard.messages
    assert codes == [1009]


@both
def test_fragments_are_put_together_and_pings_between_them_answered(transport: Transport) -> None:
    async def serving(connection: ServerConnection) -> None:
        async def parts() -> AsyncGenerator[str]:
            yield "a€"
            await asyncio.wait_for(await connection.ping(), 5)
            yield "b"
            yield "c"

        await connection.send(parts())
        await connection.send([b"\x01", b"\x02"])
        await connection.wait_closed()

    async def told(socket: Socket, heard: Heard) -> None:
        await heard.until(lambda h: len(h.messages) == 2)

    assert story(transport, serving, told).messages == ["a€bc", b"\x01\x02"]


@both
@pytest.mark.parametrize("code", [1000, 1001, 1011, 4401, 4403])
def test_the_servers_close_code_and_reason_are_told_once(transport: Transport, code: int) -> None:
    async def serving(connection: ServerConnection) -> None:
        await connection.send("last words")
        await connection.close(code, "because")

    async def told(socket: Socket, heard: Heard) -> None:
        await heard.until(lambda h: h.ends)
        with pytest.raises(ClosedError, match=f"{code} because"):
            socket.send("too late")
        await socket.close()

    heard = story(transport, serving, told)
    assert heard.messages == ["last words"]
    assert [(end.code, end.reason) for end in heard.ends] == [(code, "because")]


@both
def test_a_close_of_ours_says_goodbye_and_waits_for_it(transport: Transport) -> None:
    seen: list[tuple[int | None, str | None]] = []

    async def serving(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.append((connection.close_code, connection.close_reason))

    async def told(socket: Socket, heard: Heard) -> None:
        await socket.close(4000, "enough")
        assert len(heard.ends) == 1
        with pytest.raises(ClosedError):
            socket.send("too late")
        await socket.close()
        await asyncio.wait_for(_until(lambda: bool(seen)), 10)

    story(transport, serving, told)
    assert seen == [(4000, "enough")]


@both
def test_an_abort_is_no_goodbye(transport: Transport) -> None:
    seen: list[int | None] = []

    async def serving(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.append(connection.close_code)

    async def told(socket: Socket, heard: Heard) -> None:
        socket.abort()
        await heard.until(lambda h: h.ends)
        with pytest.raises(ClosedError):
            socket.send("too late")
        await asyncio.wait_for(_until(lambda: bool(seen)), 10)

    heard = story(transport, serving, told)
    assert [end.code for end in heard.ends] == [1006]
    assert seen == [1006]


@both
def test_a_connection_that_the_server_drops_is_1006(transport: Transport) -> None:
    async def serving(connection: ServerConnection) -> None:
        connection.transport.abort()

    async def told(socket: Socket, heard: Heard) -> None:
        await heard.until(lambda h: h.ends)

    assert [end.code for end in story(transport, serving, told).ends] == [1006]


@both
def test_a_server_that_never_says_goodbye_is_left_after_two_seconds(transport: Transport) -> None:
    async def run() -> float:
        heard, gone = Heard(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _upgrade_only(reader, writer)
            gone.set()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            socket = await connect(url, hear=heard.hear, lose=heard.lose, transport=transport)
            began = asyncio.get_running_loop().time()
            await socket.close()
            took = asyncio.get_running_loop().time() - began
            await asyncio.wait_for(gone.wait(), 10)
        return took

    assert 1.9 < asyncio.run(run()) < 8


async def _upgrade_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from websockets.utils import accept_key

    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(v for k, _, v in (s.partition(": ") for s in head.split("\r\n")) if k == KEY)
    answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{answer}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
    while await reader.read(1_000):
        pass
    writer.close()
    await writer.wait_closed()


KEY = "Sec-WebSocket-Key"


@both
@pytest.mark.parametrize("frame", [b"\x81\x01\xff", b"\x83\x00", b"\x80\x01x"])
def test_what_breaks_the_protocol_ends_the_connection_and_is_never_heard(
    transport: Transport, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Text that is not UTF-8, an unknown opcode, a continuation of nothing."""
    caplog.set_level(logging.CRITICAL)

    async def serving(connection: ServerConnection) -> None:
        connection.transport.write(frame)
        await connection.wait_closed()

    async def told(socket: Socket, heard: Heard) -> None:
        await heard.until(lambda h: h.ends)

    assert not story(transport, serving, told).messages


@both
@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_refused_upgrade_tells_its_status(transport: Transport, status: int) -> None:
    async def run() -> None:
        heard = Heard()
        async with served(echo, HTTPStatus(status)) as url:
            await connect(url, hear=heard.hear, lose=heard.lose, transport=transport)

    with pytest.raises(UpgradeError, match=str(status)) as caught:
        asyncio.run(run())
    assert caught.value.status == status
    assert isinstance(caught.value, ConnectionRefusedError)


@both
def test_nobody_there_is_an_os_error_and_no_http_an_upgrade_error(transport: Transport) -> None:
    async def refused() -> None:
        await connect("ws://127.0.0.1:1", hear=print, lose=print, transport=transport)

    async def garbage() -> None:
        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-what\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await connect(url, hear=print, lose=print, transport=transport)

    with pytest.raises(ConnectionRefusedError, match=r"Connect call failed|Connection refused"):
        asyncio.run(refused())
    with pytest.raises(UpgradeError):
        asyncio.run(garbage())


@both
def test_headers_are_sent_and_no_extension_is_offered(transport: Transport) -> None:
    async def serving(connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        await connection.send(f"{headers.get('X-Who')} {headers.get('Sec-WebSocket-Extensions')}")
        await connection.wait_closed()

    async def run() -> Heard:
        heard = Heard()
        async with served(serving) as url:
            socket = await connect(
                url, hear=heard.hear, lose=heard.lose, headers={"X-Who": "me"}, transport=transport
            )
            await heard.until(lambda h: h.messages)
            await socket.close()
        return heard

    assert asyncio.run(run()).messages == ["me None"]


def _key(text: str) -> tuple[str, str]:
    return text.split()[0], text


@both
def test_a_line_gives_each_question_its_own_answer_in_whatever_order(transport: Transport) -> None:
    async def backwards(connection: ServerConnection) -> None:
        asked = [str(await connection.recv()) for _ in range(50)]
        for text in [*reversed(asked), "nobody asked"]:
            await connection.send(text)
        await connection.wait_closed()

    async def run() -> tuple[list[str], list[str]]:
        async with served(backwards) as url:
            line = await Line(_key).open(url, transport=transport)
            asking = (line.ask(str(n), f"{n} question", 10) for n in range(50))
            answers = await asyncio.gather(*asking)
            async with asyncio.timeout(5):
                while not (heard := line.overheard()):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.001)
            await line.close()
        return answers, heard

    answers, heard = asyncio.run(run())
    assert answers == [f"{n} question" for n in range(50)]
    assert heard == ["nobody asked"]


@both
def test_a_line_raises_timeout_at_the_deadline_and_overhears_what_comes_late(
    transport: Transport,
) -> None:
    answer = asyncio.Event()

    async def late(connection: ServerConnection) -> None:
        text = await connection.recv()
        await answer.wait()
        await connection.send(text)
        await connection.send("second " + str(text))
        await connection.wait_closed()

    async def run() -> list[str]:
        async with served(late) as url:
            line = await Line(_key).open(url, transport=transport)
            with pytest.raises(TimeoutError):
                await line.ask("first", "first question", 0.05)
            asked = asyncio.create_task(line.ask("second", "x", 10))
            await asyncio.sleep(0)
            answer.set()
            await asked
            await line.close()
            return line.overheard()

    assert asyncio.run(run()) == ["first question"]


@both
def test_everybody_who_waits_on_a_line_is_told_that_it_ended(transport: Transport) -> None:
    async def expelled(connection: ServerConnection) -> None:
        for _ in range(3):
            await connection.recv()
        await connection.close(4401, "expired")

    async def run() -> list[object]:
        async with served(expelled) as url:
            line = await Line(_key).open(url, transport=transport)
            asking = (line.ask(str(n), str(n), 10) for n in range(3))
            told = await asyncio.gather(*asking, return_exceptions=True)
            assert line.closed is not None
            with pytest.raises(ClosedError):
                await line.ask("more", "more", 10)
            await line.close()
            return list(told)

    told = asyncio.run(run())
    assert [(type(e), getattr(e, "code", 0)) for e in told] == [(ClosedError, 4401)] * 3


@both
def test_an_answer_that_cannot_be_read_ends_the_line_and_is_overheard(transport: Transport) -> None:
    async def rude(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send("")
        await connection.wait_closed()

    async def run() -> list[str]:
        async with served(rude) as url:
            line = await Line(_key).open(url, transport=transport)
            with pytest.raises(ClosedError, match="cannot be read"):
                await line.ask("1", "1", 10)
            await line.close()
            return line.overheard()

    assert asyncio.run(run()) == [""]


def test_the_run_chooses_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_TRANSPORT", raising=False)
    assert chosen() is Transport.WEBSOCKETS
    monkeypatch.setenv("LAB_TRANSPORT", "picows")
    assert chosen() is Transport.PICOWS
    monkeypatch.setenv("LAB_TRANSPORT", "pigeon")
    with pytest.raises(UsageError, match="no transport 'pigeon'"):
        chosen()


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - a list has no event
        await asyncio.sleep(0.001)
