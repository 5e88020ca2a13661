"""Listeners of a local API's events, for `benchmarks.local_api`: all in one process, and one connection never read.

    python -m benchmarks.local_api_listeners URL COUNT

It prints a line of JSON once all of them listen, and another one once the server has ended all streams.
"""

import json
import socket
import sys
from urllib.parse import urlsplit

import trio

REQUEST = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
# A tick has one event when it is over before it is looked at, and perhaps one before.
ENDED = b'"ended_at":"'


async def main(url: str, count: int) -> None:
    """Listen until the end."""
    parts = urlsplit(url)
    address = str(parts.hostname), int(parts.port or 0)
    heard: list[int] = []
    silent = trio.socket.socket()
    # Bytes, not megabytes, wait for who does not read them.
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    await silent.connect(address)
    async with trio.SocketStream(silent) as never_read:
        await never_read.send_all(REQUEST)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                await nursery.start(_listen, address, heard)
            print(json.dumps({"listening": count}), flush=True)
    print(json.dumps({"fewest": min(heard), "most": max(heard)}), flush=True)


async def _listen(
    address: tuple[str, int], heard: list[int], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(REQUEST)
        received = bytes(await stream.receive_some())
        task_status.started()
        ticks, missed = 0, False
        while chunk := await stream.receive_some():
            received += chunk
            *lines, received = received.split(b"\n")
            ticks += sum(line.startswith(b'data: {"batch_id"') and ENDED in line for line in lines)
            missed = missed or b"event: reset" in lines
        heard.append(0 if missed else ticks)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
