"""The speed section of the report: every figure of a recording, in tables.

All numbers come from the recording or from constants; what the recording does not have is reported
as not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from bench.measure.observer import LAST_S, LOOK_S
from bench.measure.side_by_side import BELOW_HELD
from bench.measure.throughput import (
    CATCH_UP_S,
    END_LAG_S,
    FIRST_SHARE,
    PUBLISHED_SHARE,
    RESOLUTION,
)
from bench.report.comparison import (
    OTHER_WORK,
    STACK,
    UNPACED,
    Contender,
    Spread,
    best_batching,
    contenders,
    named,
    one_message_a_tick,
    paced_rates,
)
from bench.report.targets import Judgement, at_rate
from bench.results import LatencyDistribution, Recording, TickToDecision, Usage
from lib.clock import SECOND_NS
from lib.price_book.segment import Layout
from lib.reports.markdown import table
from lib.reports.units import bare, digits, megabytes, millions, percent, times, us, whole

PLOTS: Final = "report/bench"
"""The directory of the plots, relative to the report."""
LATENCY_PLOT: Final = "latency.svg"
SCALE_PLOT: Final = "scale.svg"
COMPARISON_PLOT: Final = "comparison.svg"

NOT_RECORDED: Final = "Nothing is recorded yet: `make bench` records it."
NOT_MEASURED: Final = f"{Judgement.NOT_MEASURED.value.capitalize()}."
NOTHING: Final = "-"

HOPS: Final = 3
"""The number of processes that a tick passes through: producer, relay, consumer."""


def speed_section(recording: Recording | None) -> str:
    """Return the whole section in Markdown."""
    if recording is None:
        return f"## Speed\n\n{NOT_RECORDED}"
    blocks = [
        "## Speed",
        "Every number in this section comes from one run of `make bench`, recorded in "
        "[report/bench](report/bench): the daemons as a user runs them, under supervisord, with "
        "private settings.",
        "### Tick to decision",
        *_tick_to_decision(recording),
        "### Throughput",
        *_throughput(recording),
        "### The stages alone",
        *_stages(recording),
        "### Orders",
        *_orders(recording),
        "### Footprint",
        *_footprint(recording),
        "### Scale",
        f"![How throughput, latency, stages, CPU and memory grow with symbols, readers and rate]"
        f"({PLOTS}/{SCALE_PLOT})",
        "### The floor and the alternatives",
        *_comparison(recording),
        "### How it was measured, and on what",
        *_method(recording),
    ]
    return "\n\n".join(block for block in blocks if block)


def usual_latencies(recording: Recording) -> list[TickToDecision]:
    """Return those with one strategy and the symbols that most rates are for, by rate."""
    rates = sorted({one.rate for one in recording.tick_to_decision})
    found = (at_rate(recording, rate) for rate in rates)
    return [one for one in found if one is not None]


def _tick_to_decision(recording: Recording) -> Iterator[str]:
    usual = usual_latencies(recording)
    if not usual:
        yield NOT_MEASURED
        return
    seconds = [bare(digits(one.seconds)) for one in usual]
    yield (
        f"{whole(usual[0].symbols)} symbols, one strategy; every tick of {_listed(seconds)} s "
        f"({_listed(whole(one.rate) for one in usual)} ticks/s). Times are "
        "microseconds. From *sent*: the gateway's SENT_NS. From *intended*: when the schedule "
        "had the tick due, so that a stall of the sender is not hidden. To *report*: from SENT_NS "
        "to the execution report of the order that the tick caused, after the order is on disk. "
        f"*Missed*: lost, lapped, or not decided {LAST_S:g} s after the end."
    )
    yield table(_LATENCY_HEADING, _latency_rows(usual), right_from=2)
    yield (
        f"![Quantiles of the times from tick to decision, for each rate]({PLOTS}/{LATENCY_PLOT})"
    )
    others = [one for one in recording.tick_to_decision if one not in usual]
    if others:
        yield "With other numbers of symbols and strategies:"
        rows = [
            [whole(one.symbols), whole(one.strategies), *row]
            for one in others
            for row in _latency_rows([one])
        ]
        yield table(["symbols", "strategies", *_LATENCY_HEADING], rows, right_from=4)


_LATENCY_HEADING: Final = (
    "ticks/s", "from, to", "samples", "missed", "p50", "p90", "p99", "p99.9", "max",
)  # fmt: skip


def _latency_rows(found: Iterable[TickToDecision]) -> Iterator[list[str]]:
    for one in found:
        for what, latency in (
            ("sent to decision", one.from_sent),
            ("intended to decision", one.from_intended),
            ("sent to report", one.to_report),
        ):
            if latency is None:
                yield [whole(one.rate), what, "0", whole(one.missed)]
            else:
                counts = whole(latency.count), whole(one.missed)
                yield [whole(one.rate), what, *counts, *quantiles(latency)]


def quantiles(latency: LatencyDistribution) -> tuple[str, ...]:
    """Return the figures of a distribution as a table shows them, in microseconds."""
    figures = latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns, latency.max_ns
    return tuple(us(figure) for figure in figures)


def _throughput(recording: Recording) -> Iterator[str]:
    if not recording.throughput:
        yield NOT_MEASURED
        return
    yield (
        "The highest rate at which every tick was generated, encoded, sent, decoded, booked and "
        "evaluated by every strategy, without one lost or lapped, found by search. Ticks/s are "
        "those of the slowest strategy while it held; the shares of a core are of that trial."
    )
    roles = _roles(usage for one in recording.throughput for usage in one.usage)
    rows = []
    for one in recording.throughput:
        shares = {usage.role: percent(usage.cpu_share) for usage in one.usage}
        rows.append(
            [
                whole(one.symbols),
                whole(one.strategies),
                millions(one.ticks_per_s) if one.ticks_per_s else "none held",
                f"{sum(trial.held for trial in one.trials)} of {len(one.trials)}",
                *(shares.get(role, NOTHING) for role in roles),
            ]
        )
    heading = ["symbols", "strategies", "million ticks/s", "trials that held", *roles]
    yield table(heading, rows, right_from=0)
    trials = [
        [
            whole(one.symbols),
            whole(one.strategies),
            millions(trial.rate) if trial.rate else "unpaced",
            digits(trial.seconds),
            whole(trial.published),
            whole(trial.evaluated),
            "yes" if trial.held else f"no: {trial.why}",
        ]
        for one in recording.throughput
        for trial in one.trials
    ]
    heading = [
        "symbols", "strategies", "asked for (M/s)", "seconds", "published", "evaluated", "held",
    ]  # fmt: skip
    yield _folded("Every trial of the search", table(heading, trials, right_from=0))


def _stages(recording: Recording) -> Iterator[str]:
    if not recording.stages:
        yield NOT_MEASURED
    else:
        yield (
            "Each stage in one process with nothing else in it, the best of several repetitions: "
            "nanoseconds a tick (million ticks/s). Many ticks go as arrays, a few one by one; a "
            "stage has both ways, and its role takes the one that suits what has come."
        )
        symbols = sorted({stage.symbols for stage in recording.stages})
        figures = {
            (stage.name, stage.batch_ticks, stage.symbols): stage.ns_per_tick
            for stage in recording.stages
        }
        rows = [
            [name, whole(batch), *(_stage_cell(figures.get((name, batch, n))) for n in symbols)]
            for name, batch in dict.fromkeys((s.name, s.batch_ticks) for s in recording.stages)
        ]
        heading = ["stage", "ticks a batch", *(f"{whole(n)} symbols" for n in symbols)]
        yield table(heading, rows, right_from=1)
    if recording.calls:
        yield "A call of `SharedPriceBook` as a user makes it, with no reader asleep:"
        rows = [
            [f"`{call.name}`", whole(call.symbols), digits(call.ns_per_call)]
            for call in recording.calls
        ]
        yield table(["call", "symbols", "ns"], rows, right_from=1)


def _stage_cell(ns_per_tick: float | None) -> str:
    if ns_per_tick is None:
        return NOTHING
    return f"{digits(ns_per_tick)} ({millions(SECOND_NS / ns_per_tick)})"


def _orders(recording: Recording) -> Iterator[str]:
    if not recording.orders:
        yield NOT_MEASURED
        return
    yield (
        "Each answer goes out after its order's transaction is on disk. Times are microseconds, "
        "from the sending of an order to its execution report: with many under way, most of it is "
        "the wait for those before it."
    )
    rows = [
        [
            whole(one.clients),
            whole(one.under_way),
            whole(one.orders),
            whole(one.orders / one.seconds),
            *quantiles(one.answer),
        ]
        for one in recording.orders
    ]
    heading = [
        "clients", "under way, each", "orders", "orders/s", "p50", "p90", "p99", "p99.9", "max",
    ]  # fmt: skip
    yield table(heading, rows, right_from=0)


def _footprint(recording: Recording) -> Iterator[str]:
    if recording.segments:
        yield f"{_formula(recording)}As measured, in /dev/shm:"
        rows = [
            [
                whole(one.symbols),
                whole(one.ring_capacity),
                whole(one.formula_bytes),
                whole(one.measured_bytes),
                megabytes(one.measured_bytes),
            ]
            for one in recording.segments
        ]
        heading = ["symbols", "ring (ticks)", "formula (bytes)", "measured (bytes)", "MB"]
        yield table(heading, rows, right_from=0)
    loads: list[tuple[str, Sequence[Usage]]] = []
    if recording.at_rest:
        loads.append(("at rest", recording.at_rest))
    loads += [(f"{whole(one.rate)}/s", one.usage) for one in usual_latencies(recording)]
    if not loads:
        yield f"The daemons: {Judgement.NOT_MEASURED}."
        return
    yield (
        "Each daemon by rate of ticks: its share of a core, and MB resident at the end. Resident "
        "counts the pages of the price book in every daemon that has touched them. *At rest* is "
        "the default rate, with the ring gone round; at a low rate it has not, in so short a time."
    )
    rows = []
    for role in _roles(usage for _, usages in loads for usage in usages):
        row = [role]
        for _, usages in loads:
            found = next((usage for usage in usages if usage.role == role), None)
            row.append(
                f"{percent(found.cpu_share)}, {megabytes(found.resident_bytes)}"
                if found
                else NOTHING
            )
        rows.append(row)
    yield table(["daemon", *(load for load, _ in loads)], rows, right_from=1)


def _formula(recording: Recording) -> str:
    """Return the formula for the size of a segment, if it still fits the recording."""

    def size(symbols: int, ring_capacity: int) -> int:
        return Layout(tuple(map(str, range(symbols))), ring_capacity).total_bytes

    if any(size(s.symbols, s.ring_capacity) != s.formula_bytes for s in recording.segments):
        return ""
    a_symbol, a_tick = size(2, 1) - size(1, 1), size(1, 2) - size(1, 1)
    fixed = size(1, 1) - a_symbol - a_tick
    return (
        f"The shared memory of S symbols and a ring of C ticks is **{whole(fixed)} + {a_symbol} S "
        f"+ {a_tick} C bytes**. "
    )


def _comparison(recording: Recording) -> Iterator[str]:
    if not recording.hops:
        yield NOT_MEASURED
        return
    rounds = len({hop.round for hop in recording.hops})
    symbols = _listed(whole(n) for n in sorted({hop.symbols for hop in recording.hops}))
    yield (
        f"The same work in the same run: one producer, one relay that keeps the latest prices, one "
        f"consumer that computes both averages; {symbols} symbols. The *floor* does the same hops "
        "without the work: receive, one store, wake, send; no stack with these hops can beat it. "
        f"All take turns for {rounds} rounds, each beginning with another program. A cell is the "
        "median of the rounds, with the least and the most of them."
    )
    yield (
        "![Latency and throughput of the stack, the floor and the alternatives, a dot each round]"
        f"({PLOTS}/{COMPARISON_PLOT})"
    )
    yield (
        "**One message a tick.** The stack always batches what has arrived; that cannot be turned "
        "off. At full speed, the others have end-to-end flow control. The stack has none, since no "
        "reader may block the writer: it runs by its gateway's schedule, at "
        f"{percent(BELOW_HELD)} of the rate that was found to hold above. "
        f"{_listed(OTHER_WORK)} does not do the same work, and no target depends on it: it shows "
        "the cost of decoding the text."
    )
    rates = {rate: contenders(recording, rate) for rate in paced_rates(recording)}
    fast = contenders(recording, UNPACED)
    yield _comparison_table(
        list(one_message_a_tick(fast)),
        {rate: list(one_message_a_tick(found)) for rate, found in rates.items()},
    )
    yield (
        "**The best batching of each**: with as many ticks in a message as its module fixes "
        "(`BEST_BATCH`), found by trying powers of two."
    )
    best = list(best_batching(fast))
    sizes = {(one.name, one.ticks_a_message) for one in best}
    yield _comparison_table(
        best,
        {
            rate: [one for one in found if (one.name, one.ticks_a_message) in sizes]
            for rate, found in rates.items()
        },
    )


def _comparison_table(fast: Sequence[Contender], paced: dict[float, list[Contender]]) -> str:
    """Return a row for each program: its latencies at each rate, and its full speed."""
    paced = {rate: found for rate, found in paced.items() if len(found) > 1}
    everyone = [one for found in (*paced.values(), fast) for one in found]
    stack = named(fast, STACK)
    rows = []
    for name in _in_order(everyone, fast):
        its = [one for one in everyone if one.name == name]
        unhurried = [named(found, name) for found in paced.values()]
        unpaced = named(fast, name)
        over = stack.ticks_per_s.median / unpaced.ticks_per_s.median if stack and unpaced else None
        rows.append(
            [
                its[0].label,
                NOTHING if its[0].is_stack else whole(its[0].ticks_a_message),
                *(
                    _spread(one.latency(figure) if one else None, us)
                    for one in unhurried
                    for figure in ("p50_ns", "p99_ns")
                ),
                _spread(unpaced.ticks_per_s if unpaced else None, millions),
                NOTHING if over is None else times(over),
                whole(sum(one.missing for one in its)),
            ]
        )
    heading = [
        *("", "ticks a message"),
        *(f"{p} at {whole(rate)}/s (µs)" for rate in paced for p in ("p50", "p99")),
        *("full speed (M ticks/s)", "stack over it", "ticks missing"),
    ]
    return table(heading, rows, right_from=1)


def _in_order(everyone: Iterable[Contender], fast: Iterable[Contender]) -> list[str]:
    """Return the names: the stack, the floors, then the alternatives from the fastest on."""
    speed = {one.name: one.ticks_per_s.median for one in fast}
    keys = {
        one.name: (
            not one.is_stack,
            one.is_alternative,
            -speed.get(one.name, 0) if one.is_alternative else 0,
        )
        for one in everyone
    }
    return sorted(keys, key=lambda name: keys[name])


def _spread(spread: Spread | None, shown: Callable[[float], str]) -> str:
    if spread is None:
        return NOTHING
    return f"{shown(spread.median)} ({shown(spread.least)} to {shown(spread.most)})"


def _method(recording: Recording) -> Iterator[str]:
    machine = recording.machine
    rows = [
        ["recorded", f"{recording.began_utc[:19]} to {recording.ended_utc[:19]} UTC"],
        ["with", f"`{recording.command}` ({recording.seconds / 60:.1f} minutes)"],
        ["processor", f"{processor(machine)}, {machine.get('memory_gib')} GiB of memory"],
        ["system", str(machine.get("kernel"))],
        ["load before", str(machine.get("load_average"))],
        ["software", ", ".join(f"{name} {ver}" for name, ver in recording.software.items())],
    ]
    yield table(["", ""], rows, right_from=2)
    settings = [
        [f"`{section}`", f"`{key}`", f"`{value}`"]
        for section, keys in recording.settings.items()
        for key, value in (keys.items() if isinstance(keys, dict) else [("", keys)])
    ]
    if settings:
        yield "Settings of the private stacks that are not the default:"
        yield table(["section", "setting", "value"], settings, right_from=3)
    yield (
        "All times are of the host's monotonic clock, which all processes share. Latencies are "
        "exact: each is computed from every sample, and each quantile is one of the samples (the "
        "nearest rank). A daemon's CPU time is as counted by the kernel."
    )
    yield (
        f"Every {1000 * LOOK_S:g} ms an observer reads the price book (when each tick was sent), "
        "the strategies' decision logs (when it was decided) and the roles' logs; it shares the "
        "cores with the stack. Ticks of the warm-up do not count. A rate is held if during the "
        "whole trial no tick was lost or lapped, "
        f"{percent(PUBLISHED_SHARE)} of the ticks due were published, no strategy was "
        f"ever {CATCH_UP_S:g} s behind, nor "
        f"{END_LAG_S:g} s at the end, and it holds so again. The first guess of a search is "
        f"{percent(FIRST_SHARE)} of what an unpaced gateway delivers; it ends when the lowest rate "
        f"that did not hold is at most {RESOLUTION:g} × the highest that did, or after a bounded "
        "number of trials, all of which are listed. Stages and calls alone are the best of many "
        "repetitions."
    )
    is_virtual = recording.machine.get("virtual")
    shared_cores = (
        "virtual cores are shared with other machines, and the longest times may be theirs. "
        if is_virtual
        else ""
    )
    cores = recording.machine.get("cores")
    few_cores = (
        f"Three busy processes of a program share {cores} cores and wait for each other; with more "
        "cores the figures would be others, and ratios too. "
        if isinstance(cores, int) and cores < HOPS
        else ""
    )
    yield (
        f"What these figures do not show: {shared_cores}{few_cores}All connections are on the "
        "loopback: there is no network card, no switch and no cable in any time. The tape is a "
        "random walk, generated as fast as it is read; a real feed has to parse another format. "
        "An order counts as on disk when this machine's disk reports so."
    )
    if recording.gaps:
        yield "What could not be measured in this run:"
        yield "\n".join(f"- {gap}" for gap in recording.gaps)


def processor(machine: dict[str, Any]) -> str:
    """Return the processor and the number of its cores."""
    virtual = "virtual " if machine.get("virtual") else ""
    return f"{machine.get('cpu')}, {machine.get('cores')} {virtual}cores"


def _roles(usages: Iterable[Usage]) -> list[str]:
    """Return the names of the daemons, in the order of their first occurrence."""
    return list(dict.fromkeys(usage.role for usage in usages))


def _listed(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _folded(title: str, content: str) -> str:
    """Return a block that is collapsed until the reader opens it."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
