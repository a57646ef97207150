"""The first page of the report: four answers in four lines, then every target and its judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench.report.comparison import (
    FLOOR,
    STACK,
    ZEROMQ,
    Contender,
    best_batching,
    contenders,
    fastest_alternative,
    named,
    one_message_a_tick,
)
from bench.report.speed_section import NOT_RECORDED, NOTHING, processor
from bench.report.targets import (
    BUSY_RATE,
    CLIENTS,
    LATENCY_RATE,
    Judgement,
    at_rate,
    default_segment,
    largest,
    lonely_order,
    lossless,
    missed,
    most_orders,
    stack_ticks_per_s,
    targets,
    unpaced,
)
from bench.results import LatencyDistribution, Recording
from lib.reports.markdown import table
from lib.reports.units import digits, megabytes, millions, time_of, times, whole

NOT_MEASURED: Final = Judgement.NOT_MEASURED.value


def first_page(recording: Recording | None, dropped_connections: str | None) -> str:
    """Return it in Markdown.

    `dropped_connections` is the last of the four answers, from the recording of the chaos lab.
    """
    answers = [
        ("Latency", _latency_in_one_line(recording)),
        ("Throughput", _throughput_in_one_line(recording)),
        ("Memory", _memory_in_one_line(recording)),
        ("Dropped connections", dropped_connections or _sentence([])),
    ]
    lines = "\n".join(f"- **{question}.** {answer}" for question, answer in answers)
    if recording is None:
        return f"{lines}\n\n{NOT_RECORDED}"
    return "\n\n".join([lines, _verdict(recording), _targets(recording)])


def _latency_in_one_line(recording: Recording | None) -> str:
    said = []
    if recording and (usual := at_rate(recording, LATENCY_RATE)):
        said.append(
            f"At {whole(LATENCY_RATE)} ticks/s the strategy has decided {_p50_p99(usual.from_sent)}"
            " after a tick was sent"
        )
    if recording:
        found = list(one_message_a_tick(contenders(recording, LATENCY_RATE)))
        against = [
            (other, _ratio_of_medians(found, name))
            for name, other in ((FLOOR, "the bare floor's"), (ZEROMQ, "ZeroMQ's"))
        ]
        shown = [f"{times(ratio)} {other}" for other, ratio in against if ratio is not None]
        if shown:
            said.append(f"the median is {' and '.join(shown)}")
    if recording and (busy := at_rate(recording, BUSY_RATE)):
        said.append(f"at {whole(BUSY_RATE)} ticks/s {_p50_p99(busy.from_sent)}")
    return _sentence(said)


def _p50_p99(latency: LatencyDistribution) -> str:
    return f"{time_of(latency.p50_ns)} (p50), {time_of(latency.p99_ns)} (p99)"


def _ratio_of_medians(found: Sequence[Contender], other: str) -> float | None:
    ours, theirs = (
        one.latency("p50_ns") if one else None for one in (named(found, STACK), named(found, other))
    )
    return ours.median / theirs.median if ours and theirs else None


def _throughput_in_one_line(recording: Recording | None) -> str:
    if recording is None:
        return _sentence([])
    said = []
    if (found := lossless(recording)) and found.ticks_per_s:
        said.append(
            f"{millions(found.ticks_per_s)} million ticks/s from the tape to the strategy's "
            f"decision, {found.symbols} symbols, nothing lost"
        )
    stack = stack_ticks_per_s(recording)
    for others, how in (
        (one_message_a_tick(unpaced(recording)), "with one message a tick"),
        (best_batching(unpaced(recording)), "with its best batching"),
    ):
        other = fastest_alternative(others)
        if stack and other:
            ratio = times(stack / other.ticks_per_s.median)
            said.append(f"{ratio} the fastest alternative {how} ({other.label})")
    if many := most_orders(recording, CLIENTS):
        said.append(
            f"{whole(many.orders / many.seconds)} durable orders/s from {many.clients} clients"
        )
    if lonely := lonely_order(recording):
        said.append(f"a lonely order is answered in {time_of(lonely.answer.p50_ns)}")
    return _sentence(said)


def _memory_in_one_line(recording: Recording | None) -> str:
    said = []
    if recording and (segment := default_segment(recording)):
        said.append(
            f"The price book takes {megabytes(segment.measured_bytes)} MB of shared memory at "
            f"default settings ({segment.symbols} symbols and the latest "
            f"{whole(segment.ring_capacity)} ticks)"
        )
    if recording and (daemon := largest(recording.at_rest)):
        said.append(
            f"the largest daemon ({daemon.role}) has {megabytes(daemon.resident_bytes)} MB "
            "resident, the price book included"
        )
    return _sentence(said)


def _sentence(said: Sequence[str]) -> str:
    text = "; ".join(said) or NOT_MEASURED
    return f"{text[0].upper()}{text[1:]}."


def _verdict(recording: Recording) -> str:
    counts = Counter(target.judgement for target in targets(recording))
    judged = counts[Judgement.REACHED] + counts[Judgement.MISSED]
    said = f"**{counts[Judgement.REACHED]} of {judged}** targets are reached"
    if unknown := counts[Judgement.NOT_MEASURED]:
        said += f", {unknown} not measured"
    said += f". Recorded on {recording.began_utc[:10]} on {processor(recording.machine)}."
    if recording.quick:
        said += " **This was a quick run: its figures are rough.**"
    lines = [
        f"- Missed: {target.what} is {target.measured}, wanted {target.wanted}."
        for target in missed(recording)
    ]
    if lines:
        lines.append("- What takes the time is in [the appendix](#where-each-microsecond-goes).")
    return "\n\n".join([said, "\n".join(lines)]).strip()


def _targets(recording: Recording) -> str:
    rows = [
        [
            target.what,
            target.wanted,
            target.measured,
            target.judgement,
            NOTHING if target.ratio is None else digits(target.ratio),
        ]
        for target in targets(recording)
    ]
    heading = ["target", "wanted", "measured", "judgement", "of the limit"]
    return table(heading, rows, right_from=4) + (
        "\n\n*Of the limit*: what was measured over what is wanted. Targets are judged by the "
        "figures of one recording, so ratios are of one machine and one run."
    )
