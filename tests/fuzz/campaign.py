"""A campaign: so many inputs on each port of a private stack, and what was found."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from tests.fuzz import vitals
from tests.fuzz.inputs import HTTP, NEWS, ORDERS, PORTS, PRICE, inputs_of
from tests.fuzz.sender import Sent, send
from tests.helpers import wait_until
from tests.stack import PrivateStack

CONNECTIONS_A_TURN = {PRICE: 512, NEWS: 512, ORDERS: 32, HTTP: 512}
"""After a turn it is looked whether all roles live. One that died is replayed connection by
connection."""
WARM_SHARE = 0.5
"""How much of the inputs warms up the stack: growth counts from then on. It takes minutes until all
that a role keeps a bounded number of is full, as the dashboard's last 2,000 trades are."""
CHECK_S = 5.0
"""How often valid clients are served, and the strategy must have traded on."""
DIES_S = 0.2
"""How long a role that dies of an input may take for it, when that is replayed."""
SHOWN_INPUTS = 10
SHOWN_BYTES = 300
ROLE_OF = {PRICE: "gateway", NEWS: "gateway", ORDERS: "order_manager", HTTP: "dashboard"}


@dataclass
class Campaign:
    """What was sent, and what was found. Prints as a summary."""

    seed: int
    inputs: Counter[str] = field(default_factory=Counter)
    """By port: how many were sent whole."""
    reached: Counter[str] = field(default_factory=Counter)
    """By port: how many of them the server has looked at. These are what a campaign counts."""
    connections: Counter[str] = field(default_factory=Counter)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    received_bytes: Counter[str] = field(default_factory=Counter)
    ended_by_server: Counter[str] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)
    """By port: the longest that a valid client took."""
    fills: int = 0
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{'port':<8}{'sent':>11}{'looked at':>11}{'connections':>13}{'ended by us':>13}"
            f"{'sent':>9}{'received':>10}{'longest valid client':>23}"
        ]
        for port in PORTS:
            ended = self.connections[port] - self.ended_by_server[port]
            lines.append(
                f"{port:<8}{self.inputs[port]:>11,}{self.reached[port]:>11,}"
                f"{self.connections[port]:>13,}{ended:>13,}"
                f"{self.sent_bytes[port] >> 20:>6} MB{self.received_bytes[port] >> 20:>7} MB"
                f"{self.longest_s.get(port, 0):>21.2f} s"
            )
        memory = ", ".join(
            f"{role} {self.before.get(role, 0) >> 20} to {after >> 20} MB"
            for role, after in self.after.items()
        )
        lines += [
            f"{self.took_s:.0f} s, seed {self.seed}; meanwhile the strategy had {self.fills} fills",
            f"memory since the warm-up: {memory}",
            *(self.findings or ["no death, no hang, no growth"]),
        ]
        return "\n".join(lines)

    def reached_everywhere(self) -> int:
        """How many inputs each role has looked at, at least."""
        return min(self.reached[port] for port in PORTS)

    def check_served(self, stack: PrivateStack) -> None:
        """Be a valid client of each port."""
        for port, took_s in vitals.serve_others(stack).items():
            self.longest_s[port] = max(took_s, self.longest_s.get(port, 0.0))

    def add(self, port: str, sent: Sent) -> None:
        self.inputs[port] += sent.inputs
        self.reached[port] += sent.reached
        self.connections[port] += sent.connections
        self.sent_bytes[port] += sent.sent_bytes
        self.received_bytes[port] += sent.received_bytes
        self.ended_by_server[port] += sent.ended_by_server


def run_campaign(inputs: int, seed: int, show: Callable[[str], None] = lambda _: None) -> Campaign:
    """Have each port of a private stack look at so many inputs, or until something is found.

    Whatever goes wrong is a finding, so that there is a summary with the seed in any case.
    """
    campaign = Campaign(seed)
    try:
        _run_campaign(campaign, inputs, show)
    except Exception:
        campaign.findings.append(f"the campaign could not go on:\n{traceback.format_exc()}")
    return campaign


def _run_campaign(campaign: Campaign, inputs: int, show: Callable[[str], None]) -> None:
    context = multiprocessing.get_context("spawn")
    with PrivateStack() as stack, ProcessPoolExecutor(len(PORTS), context) as pool:
        stack.start()
        fills = vitals.Fills(stack)
        fills.wait_for_more()
        begun_s = time.monotonic()
        try:
            _send_all(_Run(campaign, stack, pool, inputs, show), fills)
        finally:
            campaign.fills = fills.count
            campaign.took_s = time.monotonic() - begun_s
            campaign.findings += vitals.lines_that_do_not_decode(stack)


def port_number(stack: PrivateStack, port: str) -> int:
    """The port of a stack that inputs of this kind are for."""
    return {
        PRICE: stack.price_port,
        NEWS: stack.news_port,
        ORDERS: stack.order_port,
        HTTP: stack.dashboard_port,
    }[port]


def replay(port: str, connection: int, seed: int) -> list[str]:
    """Send the inputs of one connection to a new stack; return what was found."""
    with PrivateStack() as stack:
        stack.start()
        return _findings_of(stack, port, connection, seed)


@dataclass
class _Run:
    """What a running campaign works with."""

    campaign: Campaign
    stack: PrivateStack
    pool: ProcessPoolExecutor
    inputs: int
    show: Callable[[str], None]
    running: dict[Future[Sent], tuple[str, range]] = field(default_factory=dict)
    next_connection: Counter[str] = field(default_factory=Counter)

    def submit_turns(self) -> bool:
        """Let each port that needs more have a turn; False if none needs any."""
        for port in PORTS:
            is_running = any(port == other for other, _ in self.running.values())
            if self.campaign.reached[port] >= self.inputs or is_running:
                continue
            first = self.next_connection[port]
            numbers = range(first, first + CONNECTIONS_A_TURN[port])
            self.next_connection[port] = numbers.stop
            arguments = (port, port_number(self.stack, port), numbers, self.campaign.seed)
            self.running[self.pool.submit(send, *arguments)] = port, numbers
        return bool(self.running)

    def wait_for_a_turn(self) -> list[tuple[str, range]]:
        """Wait until a turn is over; return all that are."""
        over = []
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            port, numbers = self.running.pop(future)
            sent = future.result()
            self.campaign.add(port, sent)
            self.campaign.findings += [
                f"{port}, connection {number}: not accepted, read and ended in time"
                for number in sent.hung
            ]
            over.append((port, numbers))
        return over

    def wait_for_all(self) -> list[tuple[str, range]]:
        """Wait until no turn is running; return those that were."""
        over = []
        while self.running:
            over += self.wait_for_a_turn()
        return over


def _send_all(run: _Run, fills: vitals.Fills) -> None:
    campaign, stack = run.campaign, run.stack
    begun_s = checked_s = time.monotonic()
    at_start = vitals.look(stack)
    warm, warm_inputs = at_start, 0
    while run.submit_turns():
        over = run.wait_for_a_turn()
        if dead := vitals.deaths(at_start, vitals.look(stack)):
            campaign.findings += dead
            over += run.wait_for_all()
            campaign.findings += _first_failure(stack, dead, over, campaign.seed)
        if campaign.findings:
            run.wait_for_all()
            return
        if not warm_inputs and campaign.reached_everywhere() >= run.inputs * WARM_SHARE:
            warm, warm_inputs = vitals.look(stack), campaign.inputs.total()
        if time.monotonic() > checked_s + CHECK_S:
            fills.wait_for_more()
            campaign.check_served(stack)
            checked_s = time.monotonic()
            counts = ", ".join(f"{port} {campaign.reached[port]:,}" for port in PORTS)
            memory = _memory(vitals.look(stack).resident)
            run.show(f"{checked_s - begun_s:.0f} s: {counts}; {memory}")
    campaign.check_served(stack)
    fills.wait_for_more()
    campaign.findings += vitals.deaths(at_start, vitals.look(stack))
    campaign.findings += vitals.kept_descriptors(stack, warm)
    campaign.findings += vitals.growth(stack, warm, campaign.inputs.total() - warm_inputs)
    campaign.before, campaign.after = warm.resident, vitals.look(stack).resident


def _memory(resident: dict[str, int]) -> str:
    return ", ".join(f"{role} {size >> 20} MB" for role, size in resident.items())


def _first_failure(
    stack: PrivateStack, dead: list[str], turns: list[tuple[str, range]], seed: int
) -> list[str]:
    """Replay the turns before a death, one connection after the other; name the first that kills.

    Only those that the dead roles serve.
    """
    for port, numbers in turns:
        if any(line.startswith(ROLE_OF[port]) for line in dead):
            for number in numbers:
                if found := _findings_of(stack, port, number, seed):
                    return found
    return ["no connection alone does this again"]


def _findings_of(stack: PrivateStack, port: str, connection: int, seed: int) -> list[str]:
    """Send the inputs of one connection; return what was found, with the inputs and the command."""
    role = ROLE_OF[port]
    pid = wait_until(lambda: vitals.look(stack).pids[role], f"the {role} runs")
    sent = send(port, port_number(stack, port), range(connection, connection + 1), seed)
    found = ["not accepted, read and ended in time"] if sent.hung else []
    time.sleep(DIES_S)
    if vitals.look(stack).pids[role] != pid:
        found.append(f"the {role} dies")
    if not found:
        return []
    inputs = inputs_of(port, connection, seed)
    return [
        f"{port}, connection {connection}: {', '.join(found)}; again: python -m tests.fuzz "
        f"--seed {seed} --port {port} --connection {connection}",
        *(f"  {one[:SHOWN_BYTES]!r}" for one in inputs[:SHOWN_INPUTS]),
        f"  {len(inputs)} inputs in all",
    ]
