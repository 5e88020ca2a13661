"""Bytes sent to an HTTP server of ours, well formed or not, and what may come back."""

import re
import socket


def spoken(port: int, request: bytes) -> bytes:
    """Send bytes, say that there are no more, and return what comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        answer = b""
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(65536):
                answer += chunk
        except OSError:
            pass  # reset, for it was not read to its end
        return answer


def assert_refused_or_answered(answer: bytes, token: str) -> None:
    """Fail for an error of the server's, and for an answer in which its token stands."""
    statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d)", answer)}
    # 501: a transfer encoding that there is none of. 505: HTTP/2.
    assert all(100 <= status < 500 for status in statuses - {501, 505}), answer
    assert token.encode() not in answer
