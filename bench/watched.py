"""Record tick to decision while browsers show the dashboard, and while none does.

The browsers are Debian's Chromium without a window, on the same cores as the stack, so their own
CPU time is part of the effect; the same number of streams that are read but not drawn shows the
cost of the dashboard alone. The cases take turns on one private stack.

Exit codes: 0 the figures are written (a gap in them says what could not be measured), 1 they cannot
be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError
from bench.measure.latency import WARM_UP_S, latency_settings
from bench.measure.measured_stack import MeasuredStack, bench_dir, measured_stack
from bench.measure.observer import observe
from bench.plan import BROWSERS, WATCHED, Viewers, WatchedRun
from bench.program import run_recorder
from bench.results import WatchedRecording, WatchedRound
from lib.clock import utc_stamp
from lib.dashboard.metrics import PAGES
from lib.long_program import CommandLine
from lib.reports.machine import machine_facts

PROGRAM: Final = "python -m bench.watched"
OUTPUT: Final = "watched.json"
"""The name of the file in the directory of the bench."""
START_S: Final = 30.0
"""How long the browsers may take until all of them get views."""
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


def main() -> int:
    """Record; return the exit code."""
    parser = CommandLine(PROGRAM, __doc__)
    return run_recorder(parser, bench_dir() / OUTPUT, lambda _: record(WATCHED))


def record(plan: WatchedRun) -> WatchedRecording:
    """Measure all rounds; a failure becomes a gap."""
    began_utc, machine = utc_stamp(), machine_facts()
    measured: list[WatchedRound] = []
    gaps: tuple[str, ...] = ()
    try:
        for one in measure(plan):
            measured.append(one)
            print(f"watched by {one.watched_by}: round {one.number} of {plan.rounds}", flush=True)
    except (BenchError, OSError) as error:
        gaps = (str(error),)
    return WatchedRecording(began_utc, machine, plan.latency.rate, tuple(measured), gaps)


def measure(plan: WatchedRun) -> Iterator[WatchedRound]:
    """Measure in rounds, with each kind of viewers. Raises BenchError."""
    if shutil.which(BROWSER) is None:
        raise BenchError("Chromium is not installed: apt-get install chromium")
    with measured_stack(latency_settings(plan.latency)) as stack:
        time.sleep(WARM_UP_S)
        for number in range(1, plan.rounds + 1):
            for viewers in plan.viewers:
                with _watching(stack, viewers):
                    seen = observe(stack, plan.latency.seconds)
                yield WatchedRound(number, viewers.label, seen.missed, seen.from_sent)


@contextmanager
def _watching(stack: MeasuredStack, viewers: Viewers) -> Iterator[None]:
    """Let browsers or streams watch a stack."""
    port = stack.settings.dashboard.port
    with ExitStack() as running:
        for _ in range(viewers.number):
            running.enter_context(_browser(port) if viewers.kind == BROWSERS else _stream(port))
        give_up_s = time.monotonic() + START_S
        while _open_pages(stack) != viewers.number:
            if time.monotonic() > give_up_s:
                raise BenchError(f"{viewers.label}: not all connected within {START_S:g} s")
            time.sleep(LOOK_S)
        time.sleep(SETTLE_S)
        yield


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


def _open_pages(stack: MeasuredStack) -> int:
    """Return how many pages the dashboard serves, -1 if it does not answer."""
    connection = HTTPConnection("127.0.0.1", stack.settings.dashboard.port, timeout=LOOK_S * 10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return -1
    finally:
        connection.close()
    families = text_string_to_metric_families(text)
    return next((round(one.samples[0].value) for one in families if one.name == PAGES), -1)


if __name__ == "__main__":
    sys.exit(main())
