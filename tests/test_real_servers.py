"""What the tests of the stores stand on: a proxy as bad as it is told to be, whole families of processes."""

import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from .real_servers import PATIENCE, ServerProcess, family, free_port, missing
from .real_servers.proxy import Proxy

#: Answers every line with the same in capitals, from a child of its own.
ECHO = """
import os, socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
if os.fork():
    os.wait()
else:
    os.setsid()
    Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


class EchoServer:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.process = ServerProcess(folder)

    def start(self) -> None:
        self.process.start([sys.executable, "-c", ECHO, str(self.port)], self.answers)

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
            client.sendall(b"ping\n")
            return client.recv(5) == b"PING\n"


@pytest.fixture
def server(tmp_path: Path) -> Generator[EchoServer, None, None]:
    server = EchoServer(tmp_path)
    server.start()
    yield server
    server.process.kill()


@pytest.fixture
def proxy(server: EchoServer) -> Generator[Proxy, None, None]:
    with Proxy(server.port) as proxy:
        yield proxy


async def connect(proxy: Proxy) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


async def asked(stream: trio.SocketStream, line: bytes) -> bytes:
    with trio.fail_after(PATIENCE):
        await stream.send_all(line)
        return await stream.receive_some()


async def assert_nothing_answers(stream: trio.SocketStream) -> None:
    with trio.move_on_after(0.2) as patience:
        await stream.receive_some()
    assert patience.cancelled_caught


async def test_proxy_passes_everything_on(proxy: Proxy) -> None:
    async with await connect(proxy) as one, await connect(proxy) as other:
        assert await asked(one, b"one\n") == b"ONE\n"
        assert await asked(other, b"other\n") == b"OTHER\n"
        await one.send_eof()
        assert await one.receive_some() == b""
        assert (proxy.connections, proxy.cuts) == (2, 0)


async def test_proxy_that_is_cut_breaks_what_there_is_and_passes_on_what_is_new(proxy: Proxy) -> None:
    async with await connect(proxy) as broken:
        await asked(broken, b"one\n")
        proxy.cut()
        with pytest.raises(trio.BrokenResourceError):
            await broken.receive_some()
    async with await connect(proxy) as fresh:
        assert await asked(fresh, b"two\n") == b"TWO\n"
    assert proxy.cuts == 1


async def test_proxy_loses_one_request(proxy: Proxy) -> None:
    proxy.lose_request(containing=b"two")
    async with await connect(proxy) as stream:
        assert await asked(stream, b"one\n") == b"ONE\n"
        with pytest.raises(trio.BrokenResourceError):
            await asked(stream, b"two\n")
    async with await connect(proxy) as stream:
        assert await asked(stream, b"two\n") == b"TWO\n"


async def test_proxy_loses_one_answer_after_the_server_has_given_it(proxy: Proxy) -> None:
    proxy.lose_answer(containing=b"two")
    async with await connect(proxy) as stream:
        assert await asked(stream, b"one\n") == b"ONE\n"
        with pytest.raises(trio.BrokenResourceError):
            await asked(stream, b"two\n")
    async with await connect(proxy) as stream:
        assert await asked(stream, b"two\n") == b"TWO\n"


async def test_proxy_that_is_a_black_hole_answers_nothing_until_it_is_healed(proxy: Proxy) -> None:
    async with await connect(proxy) as old:
        await asked(old, b"one\n")
        proxy.black_hole()
        async with await connect(proxy) as new:
            for stream in (old, new):
                await stream.send_all(b"two\n")
                await assert_nothing_answers(stream)
            proxy.heal()
            for stream in (old, new):
                with trio.fail_after(PATIENCE):
                    assert await stream.receive_some() == b"TWO\n"


async def test_proxy_delays_each_way(proxy: Proxy) -> None:
    async with await connect(proxy) as stream:
        await asked(stream, b"one\n")
        proxy.delay = 0.2
        begun = trio.current_time()
        assert await asked(stream, b"two\n") == b"TWO\n"
        assert trio.current_time() - begun >= 0.4


async def test_proxy_of_a_server_that_is_gone_breaks_connections(server: EchoServer, proxy: Proxy) -> None:
    server.process.kill()

    async def listen() -> None:
        async with await connect(proxy) as stream:
            await stream.receive_some()

    # Broken as soon as it is made, or a moment later.
    with pytest.raises((OSError, trio.BrokenResourceError), match="connect"), trio.fail_after(PATIENCE):
        await listen()


def test_proxy_takes_the_place_of_host_and_port_in_a_url() -> None:
    proxy = Proxy(1)
    proxy.port = 7
    assert proxy.instead_of("redis://me:pass@localhost:6379/3?a=b") == "redis://me:pass@127.0.0.1:7/3?a=b"
    assert proxy.instead_of("http://localhost/base") == "http://127.0.0.1:7/base"


def test_server_is_killed_with_its_children_and_started_again(server: EchoServer) -> None:
    popen = server.process._popen
    assert popen is not None
    assert len(family(popen.pid)) == 2
    server.process.kill()
    with pytest.raises(ConnectionRefusedError):
        server.answers()
    server.start()
    assert server.answers()


async def test_server_that_is_frozen_does_not_answer_until_it_thaws(server: EchoServer) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        server.process.freeze()
        await stream.send_all(b"one\n")
        await assert_nothing_answers(stream)
        server.process.thaw()
        with trio.fail_after(PATIENCE):
            assert await stream.receive_some() == b"ONE\n"


def test_server_that_ends_at_once_says_what_it_printed(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path)
    with pytest.raises(AssertionError, match="out of luck"):
        process.start([sys.executable, "-c", "raise SystemExit('out of luck')"], lambda: False)
    process.kill()
    process.stop()


def test_server_is_stopped_by_its_signal(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path, stop_signal=signal.SIGINT)
    program = "import signal; print('up', flush=True); signal.sigwait([signal.SIGINT]); print('down')"
    program = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); {program}"
    process.start([sys.executable, "-c", program], lambda: "up" in process.output.read_text())
    process.freeze()
    process.stop()
    assert process.output.read_text() == "up\ndown\n"


def test_missing_server_skips_but_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such wheel"):
        missing("no such wheel")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such wheel"):
        missing("no such wheel")
