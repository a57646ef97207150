"""Record tick to decision while browsers show the dashboard, and while none does.

The browsers are Debian's Chromium without a window, on the same cores as the stack, so their own
CPU time is part of the effect; the same number of streams that are read but not drawn shows the
cost of the dashboard alone. The cases take turns on one private stack.

Exit codes: 0 the figures are written (a gap in them says what could not be measured), 1 they cannot
be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Final

from bench.errors import BenchError
from bench.measure.latency import WARM_UP_S, latency_settings
from bench.measure.measured_stack import MeasuredStack, bench_dir, measured_stack
from bench.measure.observer import observe
from bench.plan import LatencyRun
from bench.program import run_recorder
from bench.results import LatencyDistribution, WatchedRecording, WatchedRound
from lib.clock import utc_stamp
from lib.dashboard.metrics import PAGES
from lib.reports.machine import machine_facts

PROGRAM: Final = "python -m bench.watched"
OUTPUT: Final = "watched.json"
"""The name of the file in the directory of the bench."""
RUN: Final = LatencyRun(2_000.0, 5.0)
ROUNDS: Final = 3
COUNT: Final = 3
NO_VIEWER: Final = "no browser"
STREAMS: Final = "streams, not drawn"
BROWSERS: Final = "browsers"

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

    def say(text: str) -> None:
        print(text, flush=True)

    recorder = partial(record, RUN, ROUNDS, COUNT, say)
    return run_recorder(PROGRAM, __doc__, bench_dir() / OUTPUT, recorder)


def record(
    run: LatencyRun, rounds: int, browsers: int, say: Callable[[str], None]
) -> WatchedRecording:
    """Measure all rounds; a failure becomes a gap."""
    began_utc, machine = utc_stamp(), machine_facts()
    measured: list[WatchedRound] = []
    gaps: tuple[str, ...] = ()
    try:
        for one in measure(run, rounds, browsers):
            measured.append(one)
            say(f"watched by {one.watched_by}: round {one.number} of {rounds}")
    except (BenchError, OSError) as error:
        gaps = (str(error),)
    return WatchedRecording(began_utc, machine, run.rate, tuple(measured), gaps)


def measure(run: LatencyRun, rounds: int, browsers: int) -> Iterator[WatchedRound]:
    """Measure in rounds: without viewers, with streams, with browsers. Raises BenchError."""
    if shutil.which(BROWSER) is None:
        raise BenchError("Chromium is not installed: apt-get install chromium")
    with measured_stack(latency_settings(run)) as stack:
        time.sleep(WARM_UP_S)
        for number in range(1, rounds + 1):
            for what, count in ((NO_VIEWER, 0), (STREAMS, browsers), (BROWSERS, browsers)):
                with _watching(stack, what, count):
                    seen = observe(stack, run.seconds)
                if not len(seen.sequences):
                    raise BenchError("not a single tick was seen from its sending to its decision")
                yield WatchedRound(
                    number=number,
                    watched_by=f"{count} {what}" if count else what,
                    missed=seen.published - len(seen.sequences),
                    from_sent=LatencyDistribution.of(seen.decided_ns - seen.sent_ns),
                )


@contextmanager
def _watching(stack: MeasuredStack, what: str, count: int) -> Iterator[None]:
    """Let `count` browsers or streams watch a stack."""
    port = stack.settings.dashboard.port
    with ExitStack() as running:
        for _ in range(count):
            running.enter_context(_browser(port) if what == BROWSERS else _stream(port))
        give_up_s = time.monotonic() + START_S
        while _open_pages(stack) != count:
            if time.monotonic() > give_up_s:
                raise BenchError(f"{count} {what} do not watch the stack within {START_S:g} s")
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
    found = re.search(rf"^{PAGES} (\S+)$", text, re.MULTILINE)
    return round(float(found[1])) if found else -1


if __name__ == "__main__":
    sys.exit(main())
