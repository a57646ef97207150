"""The script of the video: captions, and what is typed meanwhile. Plain data."""

from __future__ import annotations

from typing import Final, NamedTuple

INTERRUPT: Final = "C-c"
"""The text of `Scene.typed` that stands for Ctrl-C."""
STACK, SHELL = 0, 1
"""The panes in which commands are typed."""


class Scene(NamedTuple):
    """One scene of the video."""

    caption: str
    """At most 100 characters."""
    seconds: float
    """How long the scene lasts."""
    typed: str = ""
    """A command, or INTERRUPT."""
    pane: int = SHELL
    page: str = ""
    """What the browser shows from this scene on; "" for no change."""


SCENES: Final = (
    Scene("Tradewire: one command starts the whole stack", 11.0, "python main.py", STACK, "/"),
    Scene("Each role is a process of its own, with a log of its own", 7.0),
    Scene(
        "Price and news agree: the strategy trades, and each order is printed once it is on disk",
        9.0,
    ),
    Scene(
        "Restart the gateway: the orderbook comes back to the same tape, and nothing is missed",
        10.0,
        "supervisorctl restart gateway",
    ),
    Scene(
        "The chaos lab kills the gateway, and measures. Its card turns red, and green again",
        14.0,
        "python chaos/drop_gateway.py",
    ),
    Scene(
        "A frozen strategy has no heartbeat: the watchdog kills it, and it comes back",
        11.0,
        "kill -STOP $(supervisorctl pid strategy)",
    ),
    Scene(
        "The ledger is checked against itself, and against the strategy's log",
        8.0,
        "python -m lib.ledger --check",
    ),
    Scene(
        "How fast it is, beside what people would use instead (make bench)",
        10.0,
        r"grep -E '^\| (Latency|Throughput)' performance_report.md",
        page="report/bench/comparison.svg",
    ),
    Scene("All the while, it has traded on", 5.0, page="/"),
    Scene("Ctrl-C stops it clean, and the page says so", 8.0, INTERRUPT, STACK),
    Scene("No shared memory is left behind", 6.0, "ls /dev/shm"),
)
