"""The dashboard over HTTP, beside a real stack: it shows what happens, and is never in the way."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemons.dashboard import MAX_CONNECTIONS
from tests.helpers import DEADLINE_S, wait_until
from tests.ledgers import write_ledger
from tests.stack import ROLES, PrivateStack


@pytest.fixture(scope="module")
def stack() -> Iterator[PrivateStack]:
    with PrivateStack({"gateway": {"rate": 500.0, "news_interval": 0.05}}) as made:
        made.start()
        yield made


def get(stack: PrivateStack, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a path."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.dashboard_port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def view(stack: PrivateStack, symbol: str = "AAPL") -> dict[str, Any]:
    status, _, body = get(stack, f"/view?symbol={symbol}")
    assert status == 200
    return json.loads(body)


def roles(stack: PrivateStack) -> dict[str, dict[str, Any]]:
    return {role["program"]: role for role in view(stack)["roles"]}


def test_everything_that_a_page_needs_comes_from_here(stack: PrivateStack) -> None:
    status, headers, page = get(stack, "/?symbol=MSFT")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert b"://" not in page.replace(b"http://www.w3.org", b"")
    for path in ("/page.js", "/page.css", "/icon.svg", "/plotly.min.js", "/symbols"):
        status, _, body = get(stack, path)
        assert (status, bool(body)) == (200, True)


def test_the_view_has_what_the_stack_does(stack: PrivateStack) -> None:
    def trades() -> dict[str, Any] | None:
        seen = view(stack)
        holds = any(price["position"] for price in seen["prices"])
        decides = seen["latency"]["p99_us"] is not None and seen["course"]["at"]
        return seen if seen["filled"] and holds and decides else None

    seen = wait_until(trades, "the stack trades")
    assert {role["program"] for role in seen["roles"]} == set(ROLES)
    assert all(role["is_up"] for role in seen["roles"])
    assert all(role["heartbeat_age_s"] is not None for role in seen["roles"])
    assert all(price["price"] > 0 for price in seen["prices"])
    assert 0 <= seen["news"]["sentiment"] <= 100
    assert seen["orders"][0]["status"] in ("FILLED", "REJECTED")
    assert seen["missing"] == {}
    assert 0 < seen["latency"]["p50_us"] <= seen["latency"]["p99_us"] <= seen["latency"]["p999_us"]
    assert view(stack, "MSFT")["course"]["symbol"] == "MSFT"


def test_a_role_that_dies_is_seen_to_be_down_and_up_again(stack: PrivateStack) -> None:
    wait_until(lambda: all(role["is_up"] for role in roles(stack).values()), "all are up")
    before = roles(stack)["gateway"]
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: not roles(stack)["gateway"]["is_up"], "it is seen to be down")

    def back() -> dict[str, Any] | None:
        now = roles(stack)["gateway"]
        return now if now["is_up"] and now["pid"] != before["pid"] else None

    assert wait_until(back, "it is back")["restarts"] == before["restarts"] + 1

    def recovered() -> list[dict[str, Any]]:
        return [
            one
            for one in view(stack)["incidents"]
            if one["where"] == "orderbook" and one["is_over"] and "price" in one["what"]
        ]

    assert wait_until(recovered, "the recovery of the connection is shown")[0]["duration_s"] > 0


def test_prometheus_can_read_the_metrics(stack: PrivateStack) -> None:
    _, headers, body = get(stack, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(body.decode())}
    up = {s.labels["program"] for s in families["tradewire_role_up"].samples}
    assert up == set(ROLES)
    assert families["tradewire_ticks"].samples[0].value > 0


def health(stack: PrivateStack) -> tuple[int, dict[str, Any]]:
    status, headers, body = get(stack, "/health")
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)


def test_its_health_is_that_of_the_stack(stack: PrivateStack) -> None:
    wait_until(lambda: health(stack)[0] == 200, "the stack is healthy")
    _, seen = health(stack)
    assert (seen["is_healthy"], seen["problems"]) == (True, [])
    assert {name: role["state"] for name, role in seen["roles"].items()} == dict.fromkeys(
        ROLES, "RUNNING"
    )
    stack.supervisorctl("stop", "strategy")
    wait_until(lambda: "strategy is STOPPED" in health(stack)[1]["problems"], "it is missed")
    status, seen = health(stack)
    assert (status, seen["is_healthy"]) == (503, False)
    stack.supervisorctl("start", "strategy")
    wait_until(lambda: health(stack)[0] == 200, "the stack is healthy again")


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_an_old_probe_asks_without_a_host(stack: PrivateStack, path: str) -> None:
    for method in (b"GET", b"HEAD"):
        with socket.create_connection(("127.0.0.1", stack.dashboard_port), DEADLINE_S) as sock:
            sock.sendall(method + f" {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda sock=sock: sock.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
        assert b"connection: close" in head.lower()
        assert bool(body) == (method == b"GET")


@contextmanager
def listening(stack: PrivateStack, path: str = "/events") -> Iterator[socket.socket]:
    """A page that has asked for views."""
    with socket.create_connection(("127.0.0.1", stack.dashboard_port), DEADLINE_S) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield sock


def test_hundreds_of_pages_and_some_that_read_nothing_delay_no_other(stack: PrivateStack) -> None:
    pids = {role: stack.pid(role) for role in ROLES}
    before = roles(stack)["dashboard"]["resident_bytes"]
    with ExitStack() as pages:
        for _ in range(100):  # they ask for the largest file, and do not take it
            pages.enter_context(listening(stack, "/plotly.min.js"))
        reading = [pages.enter_context(listening(stack, "/events?symbol=GOOG")) for _ in range(200)]
        for sock in reading:
            data = b""
            while data.count(b"data: {") < 2:
                data += sock.recv(1 << 16)
        # They have the file in common.
        assert roles(stack)["dashboard"]["resident_bytes"] < before + 50_000_000
    assert data.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in data
    assert b'"symbol":"GOOG","at":[' in data
    assert {role: stack.pid(role) for role in ROLES} == pids
    assert all(role["is_up"] for role in roles(stack).values())


def test_more_than_so_many_are_refused_and_it_lives_on(stack: PrivateStack) -> None:
    with ExitStack() as pages:
        for _ in range(MAX_CONNECTIONS + 20):
            pages.enter_context(listening(stack))
        refused = stack.wait_for_event("dashboard", "client_refused")
        assert refused["examples"][0]["reason"] == f"{MAX_CONNECTIONS} clients already"

    def answers() -> bool:
        with suppress(OSError, http.client.HTTPException):
            return bool(view(stack))
        return False

    wait_until(answers, "there is room again")
    assert len(stack.events("dashboard", "started")) == 1


def test_whatever_is_asked_is_answered_and_does_not_end_it(stack: PrivateStack) -> None:
    pid = stack.pid("dashboard")
    for path, status in (
        ("/page.js/../../dashboard.py", 404),
        ("/view?symbol=" + "A" * 5000, 200),
        ("/view?symbol=%00%ff%3Cscript%3E", 200),
    ):
        assert get(stack, path)[0] == status
    assert get(stack, "/view", Host="evil.example")[0] == 421
    for noise in (b"\x16\x03\x01" * 100, b"A" * 100_000, b"POST / HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", stack.dashboard_port), DEADLINE_S) as sock:
            sock.sendall(noise + b"\r\n\r\n")
            sock.recv(4096)
    assert view(stack)["roles"]
    assert stack.pid("dashboard") == pid


def test_many_scrapes_at_once_of_thousands_of_symbols_do_not_hang_it() -> None:
    symbols = [f"S{number}" for number in range(5_000)]
    sections: dict[str, dict[str, Any]] = {
        "": {"symbols": symbols},
        "price_book": {"ring_capacity": 1 << 19},
        "dashboard": {"allowed_hosts": ["prometheus.example"]},
    }
    history = "\n".join(f"alice {n} BUY 1 S{n - 1} @ 100" for n in range(1, 5_001))
    with PrivateStack(sections) as stack:
        stack.var_dir.mkdir(parents=True, exist_ok=True)
        write_ledger(stack.var_dir / "orders.sqlite", history)
        stack.start()
        wait_until(lambda: b'shares{symbol="S4999"} 1.0' in get(stack, "/metrics")[2], "it is read")
        pid = stack.pid("dashboard")
        with ExitStack() as scrapers:
            socks = [scrapers.enter_context(listening(stack, "/metrics")) for _ in range(30)]
            texts = {b"".join(iter(lambda s=s: s.recv(1 << 16), b"")) for s in socks}
        # Made once a second: thirty of their own would be thirty texts, at different times.
        assert 1 <= len(texts) < 10
        assert all(b'shares{symbol="S4999"} 1.0' in text for text in texts)
        assert get(stack, "/metrics", Host="prometheus.example:9090")[0] == 200
        assert stack.pid("dashboard") == pid
