"""HTTP from outside: one request a connection, and nonsense gets an answer or nothing."""

from __future__ import annotations

import h11
import pytest

from lib.dashboard.http_session import (
    MAX_PARAMETERS,
    MAX_REQUEST_BYTES,
    HttpError,
    HttpSession,
    names_served,
)

NAMES = names_served("127.0.0.1", ())


def get(target: str, host: str = "127.0.0.1:8080") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def parsed(answer: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    """What a client understands of an answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    response = client.next_event()
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    return response.status_code, dict(response.headers), body


def test_a_request_may_come_in_any_number_of_pieces_and_what_comes_after_it_is_passed_over():
    session = HttpSession(NAMES)
    *pieces, last = [bytes([byte]) for byte in get("/events?symbol=BRK.B&x=%C3%96%20")]
    assert [session.receive(piece) for piece in pieces] == [None] * len(pieces)
    request = session.receive(last + get("/metrics"))
    assert request.path == "/events"
    assert request.parameters == {"symbol": "BRK.B", "x": "Ö "}
    assert session.receive(get("/metrics")) is None


@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False)])
def test_an_answer_has_its_length_and_ends_the_connection(method, has_body):
    session = HttpSession(NAMES)
    session.receive(get("/").replace(b"GET", method.encode()))
    body = b"y" * 1000
    pieces = session.respond(200, "text/plain", body, ("X-It", "is"))
    assert any(piece is body for piece in pieces) == has_body  # it is not copied
    status, headers, received = parsed(b"".join(pieces), method)
    assert (status, received) == (200, body if has_body else b"")
    assert headers[b"content-length"] == b"1000"
    assert headers[b"connection"] == b"close"
    assert headers[b"x-it"] == b"is"


def test_a_stream_comes_in_parts():
    session, head = HttpSession(NAMES), HttpSession(NAMES)
    session.receive(get("/events"))
    head.receive(get("/events").replace(b"GET", b"HEAD"))
    assert (session.is_head, head.is_head) == (False, True)
    answer = session.begin_stream("text/event-stream") + session.part(b"data: 1\n\n")
    status, headers, body = parsed(answer + session.part(b"data: 2\n\n"))
    assert (status, body) == (200, b"data: 1\n\ndata: 2\n\n")
    assert headers[b"content-type"] == b"text/event-stream"
    assert head.begin_stream("text/event-stream").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:1", "LOCALHOST:8080", "127.0.0.1", "[::1]:8080", "[::1]"),
        *("127.0.0.2", "127.0.0.2:8080"),
    ],
)
def test_the_names_of_the_loopback_are_ours_and_that_of_the_settings(host):
    assert HttpSession(names_served("127.0.0.2", ())).receive(get("/", host))


@pytest.mark.parametrize("host", ["prometheus", "Prometheus:9090", "[fd00::1]:80", "localhost"])
def test_the_settings_may_allow_further_names_with_any_port(host):
    names = names_served("127.0.0.1", ("prometheus", "FD00::1"))
    assert HttpSession(names).receive(get("/", host))


@pytest.mark.parametrize("further", [b"", b"Connection: keep-alive\r\n", b"Host: localhost\r\n"])
def test_an_old_client_is_answered_without_a_host_and_its_connection_ends(further):
    session = HttpSession(NAMES)
    assert session.receive(b"GET /health HTTP/1.0\r\n" + further + b"\r\n").path == "/health"
    status, headers, body = parsed(b"".join(session.respond(200, "text/plain", b"yes")))
    assert (status, body, headers[b"connection"]) == (200, b"yes", b"close")


def test_a_stream_to_an_old_client_has_no_chunks():
    session = HttpSession(NAMES)
    session.receive(b"GET /events HTTP/1.0\r\n\r\n")
    answer = session.begin_stream("text/event-stream")
    assert b"chunked" not in answer
    assert session.part(b"data: 1\n\n") == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/", "evil.example:8080"), 421),
        (get("/", "localhost.evil.example"), 421),
        (get("/", ""), 421),
        (get("/", "127.0.0.2"), 421),
        (b"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        (b"DELETE /orders HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (get("/?" + "&".join(f"a{n}=1" for n in range(MAX_PARAMETERS + 1))), 400),
        (get("//["), 400),
        (b"hello*\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_REQUEST_BYTES, 431),
    ],
)
def test_what_is_not_served_is_answered_with_a_reason(data, status):
    session = HttpSession(NAMES)
    with pytest.raises(HttpError) as refused:
        session.receive(data)
    assert refused.value.status == status
    assert session.receive(data) is None
    answer = b"".join(session.respond(status, "text/plain", str(refused.value).encode()))
    answered, headers, _ = parsed(answer)
    assert answered == status
    assert headers[b"allow"] == b"GET, HEAD"


def test_a_method_that_is_not_served_is_told_which_are():
    with pytest.raises(HttpError, match="GET and HEAD"):
        HttpSession(NAMES).receive(b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n")
