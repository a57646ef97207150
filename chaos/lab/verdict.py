"""The requirements after every experiment, whatever was broken, and the evidence for them.

No tick missed, repeated or out of order at the book or at the strategy, no order lost or doubled,
and no finding of the judge.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from chaos.judge.judge import judge
from chaos.judge.records import Records
from chaos.lab import figures
from chaos.lab.figures import STRATEGY, OrderCounts, TickCounts
from chaos.lab.gather import gather_records
from chaos.lab.recorder import StackRecording
from chaos.lab.target import TargetError, TargetStack, wait_for
from lib.clock import to_ns
from lib.ledger.reader import read_ledger
from lib.ledger.rows import BookedOrder
from lib.ledger.schema import LedgerError

SETTLE_S: Final = 5.0
"""How long ticks and orders in transit at the end may take to arrive."""
LOOK_S: Final = 0.02


@dataclass(frozen=True)
class Totals:
    """Counts over the whole recording, as `chaos.lab.figures` defines them."""

    book: TickCounts
    strategy: TickCounts
    orders: OrderCounts
    absence: int = 0
    """The part of the ticks missed at the strategy that were played while it was down."""


def wait_until_settled(target: TargetStack, recording: StackRecording) -> dict[str, int]:
    """Wait until all ticks and orders so far have arrived, for a bounded time.

    Of a private stack the ticks are stopped in between, so that nothing is in transit at the end.
    Returns the last sequence of each tape that had time to arrive.
    """
    complete_to = {tape: last_to_arrive(recording, tape) for tape in recording.tapes}
    last = (recording.playing, complete_to.get(recording.playing, 0))

    def have_arrived() -> bool:
        booked = recording.booked[-1][:2] if recording.booked else ("", 0)
        return booked >= last and target.last_evaluated() >= last

    if target.private:
        wait_for(have_arrived, SETTLE_S, LOOK_S)
        with suppress(TargetError):  # its supervisord is gone: the verdict shows that anyway
            target.stop_ticks()
    wait_for(lambda: have_arrived() and _all_answered(target, recording), SETTLE_S, LOOK_S)
    return complete_to


def last_to_arrive(recording: StackRecording, tape: str) -> int:
    """Return the last sequence of a tape; if it was cut off, the last that reached its book."""
    last = max(recording.tapes[tape], default=0)
    if tape not in recording.cut_off:
        return last
    booked = (tick.sequence for tick in recording.booked if tick.tape == tape)
    return min(last, max(booked, default=0))


def _all_answered(target: TargetStack, recording: StackRecording) -> bool:
    """Whether every order is in the ledger, and the last one was answered."""
    instance = figures.orders_by_instance(recording.events)[-1]
    sent = instance.to_be_booked
    booked = figures.booked_orders(ledger_orders(target), target.settings.strategy.client_id)
    return sent <= booked.keys() and (
        not sent or max(sent).order_id in instance.filled | instance.rejected
    )


def ledger_orders(target: TargetStack) -> list[BookedOrder]:
    """Return the orders in the ledger. Raises TargetError if it cannot be read."""
    try:
        with read_ledger(target.ledger) as ledger:
            return list(ledger.orders())
    except (FileNotFoundError, LedgerError) as error:
        raise TargetError(str(error)) from None


def count_totals(
    target: TargetStack, recording: StackRecording, complete_to: dict[str, int]
) -> Totals:
    """Count ticks and orders over the whole recording. Raises TargetError without a ledger.

    Orders that were sent just before now have a bounded time to be booked.
    """
    events = list(recording.events)
    client_id = target.settings.strategy.client_id
    order_ttl_ns = to_ns(target.settings.order_manager.order_ttl)

    def orders() -> OrderCounts:
        return figures.orders(events, ledger_orders(target), client_id, order_ttl_ns)

    wait_for(lambda: not orders().lost, SETTLE_S, LOOK_S)
    return Totals(
        figures.ticks_at_book(recording.tapes, recording.booked, complete_to),
        figures.ticks_at_strategy(events, recording.evaluated),
        orders(),
        figures.ticks_of_absence(events),
    )


def judge_findings(
    target: TargetStack, recording: StackRecording, complete_to: dict[str, int]
) -> tuple[list[str], str]:
    """Ask the judge, after the end of a private stack, or while another one keeps running.

    Returns its findings, and what it could not judge: of a private stack, that is a finding. Raises
    TargetError if there is no ledger.
    """
    left = target.left_behind() if target.private else []
    try:
        records = gather_records(target, recording, complete_to, left, settled=target.private)
    except (OSError, LedgerError) as error:
        raise TargetError(f"nothing to judge: {error}") from None
    findings, unjudged = judge(records), not_judged(records)
    if target.private and unjudged:
        return [*findings, f"not judged: {unjudged}"], ""
    return findings, unjudged


def not_judged(records: Records) -> str:
    """Say what the judge does not judge, and why; "" if it judges everything. Pure."""
    if not records.settled:
        return (
            "whether the orders follow the trading rules, what logons acknowledged, and whether "
            "ticks reported as missed were played: the stack keeps running"
        )
    if not records.whole:
        return (
            "whether the orders follow the trading rules: price book and log no longer go back to "
            "the stack's beginning"
        )
    return ""


def losses(totals: Totals, hit: Collection[str]) -> list[str]:
    """Say what was lost or done twice, a line each.

    `hit` are the roles that were hit. A strategy that was hit itself may report the ticks of its
    downtime as missed, but not that it was lapped.
    """
    strategy = totals.strategy
    if STRATEGY in hit:
        strategy = strategy._replace(missed=strategy.missed - totals.absence)
    counts = {
        f"ticks {what.replace('_', ' ')} at {where}": count
        for where, ticks in (("the book", totals.book), ("the strategy", strategy))
        for what, count in ticks._asdict().items()
    }
    counts |= {"orders lost": totals.orders.lost, "orders doubled": totals.orders.doubled}
    return [f"{count} {what}" for what, count in counts.items() if count]
