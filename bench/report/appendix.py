"""The appendix of the report: where the time of the hot daemons goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.profile_results import DaemonProfile, LoadProfile, Profile
from bench.report.speed_section import NOT_RECORDED
from lib.clock import SECOND_NS
from lib.reports.markdown import table
from lib.reports.units import digits, percent, whole

TITLE: Final = "## Where each microsecond goes"
SHOWN: Final = 10
"""How many functions of each daemon are shown; the rest is one row."""


def appendix(profile: Profile | None) -> str:
    """Return it in Markdown."""
    return "\n\n".join([TITLE, *(_blocks(profile) if profile else [NOT_RECORDED])])


def _blocks(profile: Profile) -> Iterator[str]:
    yield (
        "The CPU time of each daemon as counted by the kernel, over the ticks that the strategy "
        "evaluated in that time, divided among the functions in which "
        f"{profile.sampler or 'a sampler'} then found it, {whole(profile.samples_per_s)} times a "
        "second. A function's time includes what it calls outside of the project: NumPy, the "
        "interpreter, the kernel. A daemon that has just gone to sleep can look busy, so under "
        "light load the share of `EventLoop._wait`, in which it waits, is too large. "
        f"Recorded on {profile.began_utc[:10]}."
    )
    for load in profile.loads:
        yield f"### {_name(load)}"
        for daemon in load.daemons:
            yield _daemon(load, daemon)
    if profile.gaps:
        yield "Not profiled:\n\n" + "\n".join(f"- {gap}" for gap in profile.gaps)


def _name(load: LoadProfile) -> str:
    found = f"{whole(load.ticks / load.seconds)} ticks/s, {whole(load.symbols)} symbols"
    return found if load.rate else f"As fast as it goes: {found}"


def _daemon(load: LoadProfile, daemon: DaemonProfile) -> str:
    a_tick_ns = daemon.cpu_ns / load.ticks if load.ticks else 0.0
    rows = [
        [f"`{hot.function}`", _code(hot.line), _percent(hot.share), digits(hot.share * a_tick_ns)]
        for hot in daemon.functions[:SHOWN]
    ]
    rest = sum(hot.share for hot in daemon.functions[SHOWN:])
    if rest:
        rows.append(["the rest", "", _percent(rest), digits(rest * a_tick_ns)])
    kernel = daemon.kernel_ns / daemon.cpu_ns if daemon.cpu_ns else 0.0
    return (
        f"**{daemon.role}**: {percent(daemon.cpu_ns / SECOND_NS / load.seconds)} of a core, "
        f"{digits(a_tick_ns)} ns a tick, {percent(kernel)} of it in the kernel "
        f"({whole(daemon.samples)} samples)\n\n"
        + table(["function", "its hottest line", "share", "ns a tick"], rows, right_from=2)
    )


def _code(line: str) -> str:
    return f"`{line}`" if line else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
