"""Draw the plots of the speed section, from a recording, in the house's style."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.comparison import (
    FLOORS,
    LATENCY_RATE,
    UNPACED,
    Contender,
    best_batching,
    contenders,
    one_message_a_tick,
)
from bench.report.figures import usual_latencies
from bench.report.targets import USUAL_SYMBOLS
from bench.results import CURVE, LatencyDistribution, Recording, TickToDecision
from lib.reports.plotting import (
    DOTS,
    GRID,
    MEDIAN,
    WIDTH_INCHES,
    height_in_row,
    house_style,
    plain_ticks,
    save,
)
from lib.reports.units import MICROSECOND_NS, MILLION, whole

COLOURS: Final = ("#2a6fb0", "#d55e00", "#009e73", "#b5529a", "#c99700", "#4fb3d9", "#555555")
"""The colours of the lines, distinguishable for colour-blind readers (after Okabe and Ito)."""
MARKERS: Final = "os^DvP*"
FLOOR_DOTS: Final = "#888888"
OTHER_DOTS: Final = "#d55e00"
DOT_ROW_INCHES: Final = 0.27
"""The height of one row of dots."""
DASHES: Final = (0, (4, 2))
PANELS: Final = "AA;BC;DE;FG"
"""The places of the panels of the scale plot, row by row: the first one is as wide as two."""

SCALE_RATE: Final = 20_000.0
"""The rate at which tick to decision was measured with other numbers of symbols and strategies."""
LATENCY: Final = "microseconds from tick to decision"

Point = tuple[str, float, float]
"""A point of a plot: the label of its line, x and y."""


def draw_latency(recording: Recording, file: Path) -> None:
    """Draw the quantiles of tick to decision, a line a rate; the rarer, the further right."""
    usual = usual_latencies(recording)
    with house_style():
        figure, axes = pyplot.subplots(figsize=(WIDTH_INCHES, 4.2), layout="constrained")
        if usual:
            _draw_curves(axes, usual)
        save(figure, file)


def _draw_curves(axes: Axes, found: Sequence[TickToDecision]) -> None:
    for colour, one in zip(COLOURS, found, strict=False):
        label = f"{whole(one.rate)} ticks/s"
        axes.plot(*_curve(one.from_sent), color=colour, linewidth=1.6, label=label)
        axes.plot(*_curve(one.from_intended), color=colour, linewidth=1.1, linestyle=DASHES)
    axes.plot([], [], color=MEDIAN, label="from SENT_NS")
    axes.plot([], [], color=MEDIAN, linestyle=DASHES, label="from the intended time")
    _fix_places(axes, [2, 10, 100, 1e3, 1e4, 1e5, 1e6], _centile)
    axes.set_xlim(left=1)
    axes.set_xlabel("share of the ticks that were decided within this time")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_ylabel(LATENCY)
    axes.grid(color=GRID, linewidth=0.6)
    axes.legend(loc="upper left", frameon=False, ncols=2)


def _curve(latency: LatencyDistribution) -> tuple[list[float], list[float]]:
    """Return where the quantiles lie: one in how many ticks takes longer, and the time in µs.

    The last point is the maximum, which one in all ticks reaches; quantiles beyond it say no more.
    """
    points = [
        (1 / (1 - quantile), time_ns)
        for quantile, time_ns in zip(CURVE, latency.curve_ns, strict=True)
        if quantile < 1 - 1 / latency.count
    ]
    points.append((float(latency.count), latency.max_ns))
    return [rarity for rarity, _ in points], [time_ns / MICROSECOND_NS for _, time_ns in points]


def _centile(rarity: float, _: int | None) -> str:
    return f"{100 - 100 / rarity:.10g} %"


def _fix_places(
    axes: Axes, places: Sequence[float], label: Callable[[float, int | None], str]
) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(label))


def draw_scale(recording: Recording, file: Path) -> None:
    """Draw how the figures grow: a panel a figure."""
    with house_style():
        figure, places = pyplot.subplot_mosaic(
            PANELS, figsize=(WIDTH_INCHES, 12.5), layout="constrained"
        )
        for place, panel in zip(sorted(places), _panels(recording), strict=True):
            _draw_panel(places[place], *panel)
        save(figure, file)


def _panels(recording: Recording) -> Iterator[tuple[str, str, Iterable[Point]]]:
    """Yield what each panel shows, over what, and its points."""
    usual = usual_latencies(recording)
    scaled = [one for one in recording.tick_to_decision if one.rate == SCALE_RATE]
    alone = [one for one in scaled if one.strategies == 1]
    few = [one for one in scaled if one.symbols == USUAL_SYMBOLS]
    usages = [(one.rate, usage) for one in usual for usage in one.usage]
    at_rate = f"{LATENCY}, {whole(SCALE_RATE)} ticks/s"
    stages = [stage for stage in recording.stages if stage.batch_ticks > 1]

    speeds = [
        (f"strategies: {found.strategies}", found.symbols, found.ticks_per_s)
        for found in recording.throughput
    ]
    yield "million ticks/s end to end", "symbols", _in_units(speeds, MILLION)
    yield LATENCY, "ticks/s", _latency_over(usual, lambda one: one.rate)
    yield at_rate, "symbols", _latency_over(alone, lambda one: one.symbols)
    yield at_rate, "strategies", _latency_over(few, lambda one: one.strategies)
    of_stages = [(stage.name, stage.symbols, stage.ns_per_tick) for stage in stages]
    yield "nanoseconds a tick of a stage alone", "symbols", of_stages
    yield "% of a core", "ticks/s", [(u.role, rate, 100 * u.cpu_share) for rate, u in usages]
    memory = [(u.role, rate, u.resident_bytes) for rate, u in usages]
    yield "MB resident", "ticks/s", _in_units(memory, MILLION)


def _in_units(points: Iterable[Point], unit: int) -> list[Point]:
    return [(label, across, height / unit) for label, across, height in points]


def _latency_over(
    found: Iterable[TickToDecision], over: Callable[[TickToDecision], float]
) -> list[Point]:
    points = [
        (label, over(one), time_ns)
        for one in found
        for label, time_ns in (
            ("p50", one.from_sent.p50_ns),
            ("p99", one.from_sent.p99_ns),
            ("p99.9", one.from_sent.p999_ns),
        )
    ]
    return _in_units(points, MICROSECOND_NS)


def _draw_panel(axes: Axes, what: str, over: str, points: Iterable[Point]) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for label, across, height in points:
        lines.setdefault(label, []).append((across, height))
    axes.set_title(what, loc="left", fontsize=9.0)
    axes.set_xlabel(over)
    if not lines:
        return
    for number, (label, of_it) in enumerate(lines.items()):
        axes.plot(
            *zip(*sorted(of_it), strict=True),
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4.5,
            linewidth=1.3,
            label=label,
        )
    places = sorted({across for of_it in lines.values() for across, _ in of_it})
    heights = [height for of_it in lines.values() for _, height in of_it]
    _fix_places(axes, places, lambda value, _: whole(value))
    axes.set_xlim(places[0] / 1.5, places[-1] * 1.5)
    least, most = min(heights), max(heights)
    if least and most / least > 6:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis, (1, 2, 5) if most / least < 100 else (1, 3))
    else:
        axes.set_ylim(0, most * 1.15)
    axes.grid(color=GRID, linewidth=0.6)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.08), frameon=False, fontsize=7.5, ncols=3,
        borderaxespad=0.0, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def draw_comparison(recording: Recording, file: Path) -> None:
    """Draw the rounds of the stack, the floor and the alternatives: a row each, a dot a round."""
    fast = contenders(recording, UNPACED)
    panels: list[tuple[str, list[Contender], Callable[[Contender], list[float]]]] = [
        (
            f"p50 from sending to decision at {whole(LATENCY_RATE)} ticks/s, µs",
            contenders(recording, LATENCY_RATE),
            lambda one: [latency.p50_ns / MICROSECOND_NS for latency in one.latencies],
        ),
        (
            "million ticks/s at full speed, one message a tick",
            one_message_a_tick(fast),
            _millions_of_rounds,
        ),
        (
            "million ticks/s at full speed, the best batching of each",
            best_batching(fast),
            _millions_of_rounds,
        ),
    ]
    rows = [max(1, len(shown)) for _, shown, _ in panels]
    with house_style():
        figure, grid = pyplot.subplots(
            len(panels),
            figsize=(WIDTH_INCHES, 0.75 * len(panels) + DOT_ROW_INCHES * sum(rows)),
            height_ratios=rows,
            layout="constrained",
        )
        for axes, (what, shown, figures) in zip(grid, panels, strict=True):
            axes.set_title(what, loc="left", fontsize=9.0)
            if shown:
                _draw_rows(axes, shown, figures)
        save(figure, file)


def _millions_of_rounds(one: Contender) -> list[float]:
    return [hop.ticks_per_s / MILLION for hop in one.rounds]


def _draw_rows(
    axes: Axes, shown: Sequence[Contender], figures: Callable[[Contender], list[float]]
) -> None:
    for row, one in enumerate(shown):
        dots = DOTS if one.is_stack else FLOOR_DOTS if FLOORS in one.name else OTHER_DOTS
        values = figures(one)
        heights = [height_in_row(row, number) for number in range(len(values))]
        axes.plot(values, heights, "o", color=dots, alpha=0.7, markersize=4.5, markeredgewidth=0)
        axes.plot([median(values)] * 2, [row - 0.36, row + 0.36], color=MEDIAN, linewidth=1.6)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, (1, 2, 5))
    axes.set_yticks(range(len(shown)), [_label(one) for one in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)  # the first row is at the top
    axes.grid(axis="x", color=GRID, linewidth=0.6)


def _label(one: Contender) -> str:
    size = f", {whole(one.ticks_a_message)} a message" if one.ticks_a_message > 1 else ""
    return f"{one.label.strip('*')}{size}"
