"""Tick to decision while browsers show the dashboard, and while none does.

The browsers are Debian's Chromium without a window, on the same cores as the stack, so their own
CPU time is part of the effect; the same number of streams that are read but not drawn shows the
cost of the dashboard alone. The cases take turns on one private stack.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Final, TextIO

from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError
from bench.measure.latency import WARM_UP_S, latency_settings
from bench.measure.measured_stack import MeasuredStack, measured_stack
from bench.measure.observer import observe
from bench.plan import BROWSERS, WatchedRun
from bench.results import WatchedRecording, WatchedRound
from lib.clock import utc_stamp
from lib.dashboard.metrics import PAGES
from lib.reports.machine import machine_facts

START_S: Final = 30.0
"""How long the viewers may take until all of them are connected."""
SETTLE_S: Final = 2.0
"""The wait from then until the measurement begins."""
STOP_S: Final = 10.0
LOOK_S: Final = 0.1
BROWSER: Final = "chromium"
OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1280,800",
)


def record(plan: WatchedRun, progress_to: TextIO) -> WatchedRecording:
    """Measure all rounds; a failure becomes a gap."""
    found = WatchedRecording(utc_stamp(), machine_facts(), plan)
    try:
        if shutil.which(BROWSER) is None:
            raise BenchError("Chromium is not installed: apt-get install chromium")
        with measured_stack(latency_settings(plan.latency)) as stack:
            time.sleep(WARM_UP_S)
            for number in range(1, plan.rounds + 1):
                for count, kind in plan.viewers:
                    label = f"{count} {kind}" if count else kind
                    print(f"round {number} of {plan.rounds}: {label}", file=progress_to, flush=True)
                    with _watching(stack, count, kind):
                        seen = observe(stack, plan.latency.seconds)
                    found.rounds.append(
                        WatchedRound(number, label, seen.missed, seen.from_intended)
                    )
    except (BenchError, OSError) as error:
        found.gaps.append(str(error))
    return found


@contextmanager
def _watching(stack: MeasuredStack, count: int, kind: str) -> Iterator[None]:
    """Let browsers or streams watch a stack."""
    port = stack.settings.dashboard.port
    with ExitStack() as running:
        for _ in range(count):
            running.enter_context(_browser(port) if kind == BROWSERS else _stream(port))
        _wait_for_pages(port, count, kind)
        time.sleep(SETTLE_S)
        yield
        _wait_for_pages(port, count, kind)  # a viewer that has died has not watched


@contextmanager
def _stream(port: int) -> Iterator[None]:
    """Read views and discard them."""

    def read() -> None:
        with suppress(OSError):
            while sock.recv(1 << 20):
                pass

    with socket.create_connection(("127.0.0.1", port), START_S) as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            reader.join()


@contextmanager
def _browser(port: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
        browser = subprocess.Popen(
            [BROWSER, *OPTIONS, f"--user-data-dir={directory}", f"http://127.0.0.1:{port}/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # with the processes that it has started
            browser.wait(STOP_S)


def _wait_for_pages(port: int, count: int, kind: str) -> None:
    """Wait until so many pages are connected. Raises BenchError."""
    give_up_s = time.monotonic() + START_S
    while _open_pages(port) != count:
        if time.monotonic() > give_up_s:
            raise BenchError(f"{count} {kind}: not all are connected within {START_S:g} s")
        time.sleep(LOOK_S)


def _open_pages(port: int) -> int:
    """Return how many pages the dashboard serves, -1 if it does not answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=LOOK_S * 10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return -1
    finally:
        connection.close()
    families = text_string_to_metric_families(text)
    return next((round(one.samples[0].value) for one in families if one.name == PAGES), -1)
