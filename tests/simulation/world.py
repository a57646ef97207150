"""One world: four roles, a clock, a network, a disk, and a script of faults drawn from a seed.

In each step every role that is up takes a few passes, in random order. When the world has come to
rest every tick is in the book, every tick is evaluated and every order answered. Then the judge
looks at what happened.

What happened is written down by the world itself, from what goes in and out of parts of the roles
(`tests.simulation.observers`), and from the durable files at the end; only the ticks that a role
reports as missed are taken from its log, and the world sees whether a lap was one.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from chaos.judge.judge import judge
from chaos.judge.records import NO_LAST, BookAttachment, BookedTick, Gap, PlayedTick, Records
from chaos.lab.gather import in_order_of_booking
from daemons import gateway, order_manager
from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns
from lib.execution.risk import HALT_FILE
from lib.ledger.reader import read_ledger
from lib.process.supervisor import Process
from lib.process.watchdog_rules import WatchdogRules
from lib.settings import (
    GatewaySettings,
    OrderManagerSettings,
    PriceBookSettings,
    Settings,
    StrategySettings,
)
from lib.shared_memory_utils import SharedPriceBook
from lib.streams import publication, subscriber
from lib.streams.publication import Stream
from lib.streams.server import LAGGING_NS
from lib.streams.stream_client import SILENCE_LIMIT_NS
from lib.trading import evaluator
from lib.trading.signal_pace import PASS_NS
from lib.wire.order_messages import ExecutionReport
from tests.simulation.bugs import BUGS
from tests.simulation.clients import (
    FIRST_ORDER_ID,
    PORTS,
    FiringClient,
    ForeignClient,
    NumberedReader,
    StalledClient,
    Watcher,
)
from tests.simulation.network import MOST_BYTES, SimulatedSocket
from tests.simulation.observers import (
    SlowSignal,
    SlowSingleSignal,
    StrategyWatch,
    watched_parts,
)
from tests.simulation.process import HANG_AFTER_NS, ROLES, ProcessKilled, SimulatedProcess
from tests.simulation.result import Result
from tests.simulation.seeded_world import (
    MOST_READING_NS,
    SYMBOLS,
    TAPE_SEEDS,
    Patches,
    SeededWorld,
    run_world,
    tape_of,
)

LEAST_TICKS = 520
"""Published before the tape stops …"""
LEAST_ORDERS = 22
"""… and so many sent."""
FEWEST_FAULTS, MOST_FAULTS = 6, 10
LONGEST_STEP_NS = 40 * MILLISECOND_NS
LONGEST_FAULT_NS = 3 * SECOND_NS
LATE_ANSWER = "the answer to HELLO came late"
"""The one protocol error that a slow network alone brings about."""
PLACES = {
    GatewaySettings().price_port: "price",
    GatewaySettings().news_port: "news",
    OrderManagerSettings().port: "orders",
}
"""By port: the names that the network knows."""
SURE_TO_LIVE_NS = HANG_AFTER_NS - 4 * PASS_NS
"""A signal that takes no longer for any tick, or for any batch, is never the reason of a kill."""
SLOW_SIGNALS = (
    (1, 300_000),
    (1, 10 * MILLISECOND_NS),
    (1, 300 * MILLISECOND_NS),
    (100, SECOND_NS),
    (3, SECOND_NS),
    (3, SURE_TO_LIVE_NS),
    (30, HANG_AFTER_NS + SECOND_NS),
)
"""Each how many ticks a signal takes how long; the last one is a signal that hangs."""
MOST_SLOW_READING_NS = MILLISECOND_NS
"""How long it takes at most to read the clock on a slow machine."""
MOST_CRASH_POINTS = 40
"""How many interactions a role has at most before it dies of a crash."""
STALL_LIMIT_NS = 2 * SECOND_NS
"""In these short lives."""
MAX_COMMIT_BYTES, RECEIVE_BYTES = 4096, 2048
"""So few that a few clients reach the bound of a commit."""
MOST_ORDERS_A_COMMIT = (MAX_COMMIT_BYTES + RECEIVE_BYTES) // 90
"""No order is shorter than that."""
MOST_READINGS = 100
"""Of the clock in one pass of the gateway, apart from what it does for clients that lag."""
OWN_PID = 1
"""The watchdog's."""


class World(SeededWorld):
    """One seed's world."""

    longest_life_ns = 120 * SECOND_NS
    longest_fault_ns = LONGEST_FAULT_NS
    rest_ns = 40 * SECOND_NS
    longest_step_ns = LONGEST_STEP_NS
    longest_rest_step_ns = 5 * LONGEST_STEP_NS
    book_name: str

    def __init__(self, seed: int, path: Path) -> None:
        super().__init__(seed, path, PLACES)
        random = self.random
        self.book_name = f"{path.name}-book"
        self._slow_until_ns = 0
        self._wall_clock_s = 0
        # Of the world, and with arrays or without.
        signal = random.choice([SlowSignal, SlowSingleSignal])
        self.strategy_settings = StrategySettings(
            signal_class=f"{signal.__module__}:{signal.__name__}",
            short_window=random.randint(1, 3),
            long_window=random.randint(4, 9),
            quantity=random.randint(1, 10),
            news_timeout=random.choice([0.8, 1.5, 5.0]),
            max_tick_age=random.choice([0.3, 1.0, 3600.0, 3600.0]),
        )
        self.rate = random.choice([50.0, 100.0, 200.0])
        self.news_rate = random.choice([5.0, 20.0])
        self.order_ttl = random.choice([0.5, 1.0, 5.0])
        self.ring_capacity = random.choice([128, 4096, 4096])
        self.stored_to = 0
        """The position in the book up to which ticks were stored, if only by a writer that died."""
        self.replay_ticks = random.choice([100, 262_144, 262_144])
        self.ticks_a_pass = random.randint(5, 100)
        self._slow_every, self._slow_ns = 1, 0
        self._looked_at = 0
        """Ticks, by all signals."""
        self.run = 1
        self._tape_seed = random.randrange(TAPE_SEEDS)
        self.disk_refuses = False
        self.is_halted = False
        self.protocol_errors: list[str] = []
        settings = self.strategy_settings
        self.records = Records(
            SYMBOLS,
            settings.short_window,
            settings.long_window,
            settings.bullish_threshold,
            settings.bearish_threshold,
            settings.quantity,
            order_ttl_ns=to_ns(self.order_ttl),
        )
        self.stall_limit_ns = STALL_LIMIT_NS
        self.firing_order_ids = count(FIRST_ORDER_ID)
        self.batch_frames = random.choice([8, 4096])
        self.foreign_client = ForeignClient(self)
        self.clients = [self.foreign_client, *(Watcher(self, stream) for stream in PORTS)]
        """Those that are no roles. Each takes a step whenever time goes on."""
        self.gateway_was_late_ns = self.now_ns
        """Until when the gateway was down, stood still, or ran on a slow machine."""
        self._pids = count(OWN_PID + 1)
        self._processes: dict[str, SimulatedProcess | None] = dict.fromkeys(ROLES)
        self._starts_ns = dict.fromkeys(ROLES, 0)
        self._wakes_ns = dict.fromkeys(ROLES, 0)
        self._held_since_ns: int | None = None
        """Since when the signal is taking its time."""
        self._watchdog = WatchdogRules(OWN_PID, HANG_AFTER_NS, self.now_ns)
        self.strategy_watch = StrategyWatch(self)
        self._doomed: dict[str, int] = {}
        """By role: at which of its next crash points it dies."""
        self.book = SharedPriceBook(SYMBOLS, self.book_name, ring_capacity=self.ring_capacity)
        self._book_reader = self.book.reader(0)
        self._played: dict[str, tuple[int, int]] = {}
        """By tape: the run that played it, and how far."""

    # What the roles ask for.

    def read_clock(self) -> int:
        """Return the time to a role, to which it takes time to read it."""
        network = self.network
        network.now_ns += self.reading_ns
        return network.now_ns

    def wall_ns(self) -> int:
        """Return what the wall clock says, in ns since 1970; it jumps."""
        return super().wall_ns() + self._wall_clock_s * SECOND_NS

    def settings_for_a_start(self) -> Settings:
        """Return what a role finds in its settings file now: each run plays another tape."""
        return Settings(
            symbols=SYMBOLS,
            var_dir=self.path,
            gateway=GatewaySettings(
                rate=self.rate, news_interval=1 / self.news_rate, seed=self._seed_of(self.run)
            ),
            price_book=PriceBookSettings(name=self.book_name, ring_capacity=self.ring_capacity),
            strategy=self.strategy_settings,
            order_manager=OrderManagerSettings(order_ttl=self.order_ttl),
        )

    def _seed_of(self, run: int) -> int:
        return (self._tape_seed + run) % TAPE_SEEDS

    def process(self, role: str) -> SimulatedProcess:
        """Return the process of a role that is up."""
        process = self._processes[role]
        assert process is not None
        return process

    def latest(self, symbol: str) -> int | None:
        """Return the price book's latest price."""
        tick = self.book.latest(symbol)
        return tick.price if tick else None

    def crash_point(self, role: str) -> None:
        """Die here, if that has been decided."""
        left = self._doomed.get(role)
        if left is not None:
            self._doomed[role] = left - 1
            if left == 0:
                raise ProcessKilled

    def look_at_ticks(self, count: int) -> None:
        """Let the time pass that the signal takes for its next ticks, in one call."""
        before, self._looked_at = self._looked_at, self._looked_at + count
        slow = self._looked_at // self._slow_every - before // self._slow_every
        takes_ns = slow * self._slow_ns
        if not takes_ns:
            return
        strategy = self.process("strategy")
        self.events["signal is slow"] += 1
        self._held_since_ns = self.now_ns
        end_ns = self.now_ns + takes_ns
        while self.now_ns < end_ns:
            self._pass_time(min(LONGEST_STEP_NS, end_ns - self.now_ns), busy="strategy")
            if self._processes["strategy"] is not strategy:
                raise ProcessKilled
        self._held_since_ns = None

    def note_commit(self, orders: int) -> None:
        """So many orders are in one transaction."""
        if orders > MOST_ORDERS_A_COMMIT:
            self.misjudged.append(
                f"{orders} orders in one commit, and the bound is {MOST_ORDERS_A_COMMIT}"
            )

    def note_pass(self, role: str, took_ns: int) -> None:
        """A pass of the gateway is bounded, however many clients lag."""
        if role == "gateway" and took_ns > 4 * LAGGING_NS + MOST_READINGS * self.reading_ns:
            self.misjudged.append(
                f"a pass of the gateway took {took_ns / MILLISECOND_NS:.0f} ms, and the others "
                "had to wait"
            )

    def note_booking(self, report: ExecutionReport) -> None:
        """An order is recorded, under a halt or not."""
        if (report.reason == "halted") != self.is_halted:
            state = "is" if self.is_halted else "is not"
            self.misjudged.append(
                f"order {report.order_id}: {report.status} ({report.reason}) while trading "
                f"{state} halted"
            )
        self.events["order rejected as halted"] += self.is_halted

    def hear(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        """Take a line of a role's log. Is a structlog processor."""
        name = event["event"]
        self.events[name] += 1
        if name == "ticks_missed":
            where = event["where"]
            self.events[f"ticks_missed {where}"] += 1
            gap = Gap(event["tape"], event["first"], event["last"] or NO_LAST)
            gaps = self.records.book_gaps if where == "gateway" else self.records.strategy_gaps
            gaps.append(gap)
            if where == "ring":
                self._check_lap(gap)
        elif name == "attached" and "tape" in event:
            self._check_attachment(event["tape"], event["sequence"])
            attached = self.records.attached
            attached[-1] = attached[-1]._replace(refilled=event["refilled"])
            if attached[-1].evaluations_before in self.records.lapped_at_first:
                # A refill that was lapped begins anew, and ends at a later tick.
                later = {"tape": event["tape"], "sequence": event["sequence"]}
                attached[-1] = attached[-1]._replace(**later)
        elif name == "refill_begun_anew":
            self.records.lapped_at_first.add(len(self.records.evaluations))
        elif name == "order_error" and event["order_id"] is not None:
            self.records.answered_with_error.add(event["order_id"])
        elif name == "order_given_up":
            self.records.given_up.add(event["order_id"])
        elif name == "protocol_error" and event.get("reason") != LATE_ANSWER:
            self.protocol_errors.append(f"{event}")
        raise structlog.DropEvent

    def note_attached(self) -> None:
        """The strategy begins with what the book holds now."""
        tape, sequence = self.records.booked[-1][:2] if self.records.booked else ("", 0)
        attached = BookAttachment(tape, sequence, len(self.records.evaluations))
        self.records.attached.append(attached)

    def _check_attachment(self, tape: str, sequence: int) -> None:
        """What the strategy says of where it attached is so, unless it was lapped meanwhile."""
        attached = self.records.attached[-1]
        lapped = self.records.lapped_at_first
        if attached[:2] != (tape, sequence) and attached.evaluations_before not in lapped:
            self.misjudged.append(f"{attached}, and the log says {sequence} of {tape}")

    def _check_lap(self, gap: Gap) -> None:
        """What the ring has lost is no longer in it, or is in the part that a lapped one leaves."""
        positions = (
            position
            for position, tick in enumerate(self.records.booked, 1)
            if tick.tape == gap.tape and gap.first <= tick.sequence <= gap.last
        )
        left = self.ring_capacity // evaluator.REFILL_MARGIN
        if max(positions, default=0) > self.stored_to - self.ring_capacity + left:
            self.misjudged.append(f"{gap} was reported as lost in the ring, and is there")

    # The faults.

    def crash(self, role: str) -> None:
        """Kill it soon, in the middle of something, and start it again a while later."""
        if self._processes[role] and role not in self._doomed:
            self._doomed[role] = self.random.randrange(MOST_CRASH_POINTS)
            self.after(300 * MILLISECOND_NS, lambda: self._kill_doomed(role))

    def freeze(self) -> None:
        """Stop a process that stays alive."""
        role = self.random.choice(list(ROLES))
        self._wakes_ns[role] = self.now_ns + self.random.randrange(LONGEST_FAULT_NS)

    def cut(self) -> None:
        """Reset a connection."""
        self.network.reset(self.random.choice(self._connections()))

    def blackhole(self) -> None:
        """Let a connection die without a word, or the next ones be dead from their birth."""
        if self.random.random() < 0.5:
            self.network.stillborn.update(PLACES.values())
        else:
            self.network.blackhole(self.random.choice(self._connections()))

    def slow(self) -> None:
        """Make everything late on its way to or from one server."""
        until_ns = self.now_ns + self.random.randrange(LONGEST_FAULT_NS)
        late_ns = self.random.randrange(1500 * MILLISECOND_NS)
        self.network.slow[self.random.choice(list(PLACES.values()))] = (until_ns, late_ns)

    def dribble(self) -> None:
        """Let everything arrive byte by byte."""
        until_ns = self.now_ns + self.random.randrange(SECOND_NS // 4)
        self.network.dribbling[self.random.choice(list(PLACES.values()))] = until_ns

    def refuse_commits(self) -> None:
        """Let the disk of the ledger refuse to write."""
        self.disk_refuses = True
        self._last(lambda: setattr(self, "disk_refuses", False))

    def halt(self) -> None:
        """Let a person halt trading for a while."""
        self._set_halt(True)
        self._last(lambda: self._set_halt(False))

    def _set_halt(self, is_halted: bool) -> None:
        self.is_halted = is_halted
        if is_halted:
            (self.path / HALT_FILE).touch()
        else:
            (self.path / HALT_FILE).unlink(missing_ok=True)

    def jump(self) -> None:
        """Put the wall clock forward or back."""
        self._wall_clock_s += self.random.randint(-5000, 5000)

    def silence_news(self) -> None:
        """Let nothing arrive about the news for a while, not even that there is none."""
        self.network.held["news"] = self.now_ns + self.random.randrange(LONGEST_FAULT_NS)

    def join_far_behind(self) -> None:
        """Let clients join that need all ticks, and take them at any pace, while little time is."""
        for most_bytes in (MOST_BYTES, MOST_BYTES, self.random.choice([50, 500])):
            self.clients.append(NumberedReader(self, "price", 1, most_bytes))
        self._slow_until_ns = max(self._slow_until_ns, self.now_ns + SECOND_NS)

    def stall(self) -> None:
        """Let a client join that takes nothing."""
        self.clients.append(StalledClient(self))

    def fire_orders(self) -> None:
        """Let clients send many orders at once."""
        self.clients.append(FiringClient(self))

    def slow_machine(self) -> None:
        """Let everything take more time."""
        self._slow_until_ns = self.now_ns + self.random.randrange(LONGEST_FAULT_NS)

    def slow_signal(self) -> None:
        """Let the signal take its time for some ticks, or for all."""
        self._slow_every, self._slow_ns = self.random.choice(SLOW_SIGNALS)
        # Long enough for ticks to wait behind a slow one, which a pass would take with it.
        for_ns = self.random.randrange(2 * SECOND_NS, LONGEST_FAULT_NS)
        self.after(for_ns, lambda: setattr(self, "_slow_ns", 0))

    def begin_run(self) -> None:
        """Let the next gateway be one of another run, so that it plays another tape."""
        self.kill("gateway")
        self._note_tail()
        self.run += 1

    def _connections(self) -> list[tuple[SimulatedSocket, SimulatedSocket]]:
        """Those that have something to lose, if there are any."""
        return [c for c in self.network.connections if c[0].open] or self.network.connections

    def _last(self, end: Callable[[], None]) -> None:
        self.after(self.random.randrange(LONGEST_FAULT_NS), end)

    def _kill_doomed(self, role: str) -> None:
        if role in self._doomed:
            self.kill(role)

    def kill(self, role: str) -> None:
        """Let a role die where it stands."""
        self._doomed.pop(role, None)
        process, self._processes[role] = self._processes[role], None
        if process:
            if role == "gateway" and hasattr(process.role, "_prices"):
                stream = process.role._prices.publication.stream
                self._played[stream.tape] = (self.run, stream.next_sequence - 1)
            process.kill()
            if process.pid in self._watchdog.processes:
                self._watchdog.ended(process.pid, self.now_ns)
            if role == "strategy":
                self._held_since_ns = None
            self._wakes_ns[role] = 0
            down_ns = self.random.choice([30 * MILLISECOND_NS, SECOND_NS, 2 * SECOND_NS])
            self._starts_ns[role] = self.now_ns + self.random.randrange(down_ns)

    # Time.

    def step(self, longest_ns: int) -> None:
        """Let a little time pass, and every role that is up take a pass."""
        self._pass_time(self.random.randrange(longest_ns))

    def _pass_time(self, duration_ns: int, busy: str = "") -> None:
        """Let this time pass; all roles take a pass but the one that is busy with its own."""
        is_slow = self.now_ns + duration_ns < self._slow_until_ns
        self.let_pass(duration_ns, MOST_SLOW_READING_NS if is_slow else MOST_READING_NS)
        self._look_at_beats()
        is_late = not self._processes["gateway"] or self._wakes_ns["gateway"] > self.now_ns
        if is_late or self.now_ns < self._slow_until_ns:
            self.gateway_was_late_ns = self.now_ns
        for client in self.clients:
            client.step()
        roles = list(ROLES)
        self.random.shuffle(roles)
        for role in roles:
            if role != busy and self._wakes_ns[role] <= self.now_ns:
                self._step_role(role)

    def _step_role(self, role: str) -> None:
        process = self._processes[role]
        try:
            if process is not None:
                process.step(self)
            elif self._starts_ns[role] <= self.now_ns:
                self._start(role)
        except ProcessKilled:
            self.kill(role)

    def _start(self, role: str) -> None:
        process = self._processes[role] = SimulatedProcess(self, role, next(self._pids))
        if role == "strategy":
            self.strategy_watch = StrategyWatch(self)
        process.start(self)

    def _look_at_beats(self) -> None:
        """What the watchdog does: ask supervisord, and kill what hangs."""
        if self.now_ns < self._watchdog.next_deadline_ns():
            return
        up = {process.pid: process for process in self._processes.values() if process}
        beats = {pid: process.beat[0] for pid, process in up.items() if process.beat[0]}
        if not self._watchdog.look(beats, self.now_ns):
            return
        answer = [
            Process(role, "RUNNING", process.pid) if process else Process(role, "STARTING", 0)
            for role, process in self._processes.items()
        ]
        self._watchdog.answered(answer, self.now_ns)
        for hang in self._watchdog.hung(beats):
            self._judge_the_watchdog(hang.process.program, hang.silent_ns)
            self.kill(hang.process.program)

    def _judge_the_watchdog(self, role: str, silent_ns: int) -> None:
        """What is killed was held up for long, by a fault or by its signal."""
        self.events[f"{role} killed as hung"] += 1
        held_ns = self._wakes_ns[role] - self.process(role).beat[0]
        why = "nothing held it up"
        if role == "strategy" and self._held_since_ns is not None:
            held_ns = max(held_ns, self.now_ns - self._held_since_ns)
            why = f"its signal took {held_ns / SECOND_NS:.1f} s"
        if held_ns <= SURE_TO_LIVE_NS:
            self.misjudged.append(
                f"{role} was killed after {silent_ns / SECOND_NS:.1f} s of silence, and {why}"
            )

    @property
    def book_position(self) -> int:
        """How many ticks have ever been booked."""
        return self._book_reader.position

    def read_book(self) -> None:
        """What an independent reader sees."""
        batch = self._book_reader.read()
        assert not batch.missed, "the world itself reads the book after every write"
        for _, sequence, price, _, symbol, epoch in batch.ticks.tolist():
            tape = self.book.tape(epoch)
            self.records.booked.append(BookedTick(tape, sequence, SYMBOLS[symbol], price))

    @property
    def ticks(self) -> int:
        """How many were published, of all tapes."""
        played = {tape: last for tape, (_, last) in self._played.items()}
        if stream := self._stream():
            played[stream.tape] = stream.next_sequence - 1
        return sum(played.values())

    @property
    def orders(self) -> int:
        """How many orders the strategy has sent."""
        return len(self.records.sent)

    def _stream(self) -> Stream | None:
        """Return the price stream of the gateway, if that is up."""
        process = self._processes["gateway"]
        return process.role._prices.publication.stream if process else None

    def must_go_on(self) -> bool:
        """Whether ticks must still come, so that the last strategy has some to evaluate."""
        return (
            not self._processes["gateway"]
            or not self._processes["strategy"]
            or bool(self._doomed)
            or bool(self._slow_ns)  # a strategy that hangs is killed
            or self._wakes_ns["strategy"] > self.now_ns  # as is one that stands still for too long
            or self.strategy_watch.is_new
            or self.ticks < LEAST_TICKS
            or self.orders < LEAST_ORDERS
        )

    def _note_tail(self) -> None:
        """The last ticks of a tape that ends in mid-air may be in the book or not."""
        tape, next_sequence = self.book.resume_point()
        played = next(reversed(self._played))
        self.records.tail_begins[played] = next_sequence if played == tape else 1

    def end_faults(self) -> None:
        """None lasts for longer than LONGEST_FAULT_NS."""

    def unfinished(self) -> list[str]:
        """Say what is left to do."""
        unfinished = [
            f"{role} is down" for role, process in self._processes.items() if process is None
        ]
        if stream := self._stream():
            tape, next_sequence = self.book.resume_point()
            if (tape, next_sequence) != (stream.tape, stream.next_sequence):
                unfinished.append(f"the book is before {next_sequence} of {tape}")
        if process := self._processes["strategy"]:
            strategy = process.role
            position = strategy._reader.position if strategy._reader else 0
            if position != self.book_position:
                unfinished.append(f"the strategy has read up to {position}")
            news, client = strategy._evaluator._news, strategy._evaluator._client
            heard_ns = news.heard_ns or 0
            if not news.joined or self.now_ns - heard_ns > SILENCE_LIMIT_NS:
                unfinished.append("the strategy does not hear the news")
            if client.unanswered:
                unfinished.append(f"unanswered: {sorted(client.unanswered)}")
        return unfinished

    # The end.

    def findings(self) -> list[str]:
        """Let it happen, and judge it."""
        duration_ns = int(LEAST_TICKS / self.rate * SECOND_NS) + SECOND_NS
        faults = self.random.randint(FEWEST_FAULTS, MOST_FAULTS)
        is_enough = self.play_faults(FAULTS, faults, 300 * MILLISECOND_NS, duration_ns)
        too_little = [] if is_enough else ["too little has happened"]
        unfinished = self.come_to_rest()
        self.records.settled = not unfinished
        for role in ROLES:
            self.kill(role)
        self._complete_records()
        return too_little + unfinished + self._check() + judge(self.records)

    def _complete_records(self) -> None:
        for tape, (run, published) in self._played.items():
            symbols, prices = tape_of(SYMBOLS, self._seed_of(run)).read(1, published)
            ticks = zip(symbols.tolist(), prices.tolist(), strict=True)
            self.records.tapes[tape] = {
                sequence: PlayedTick(SYMBOLS[symbol], price)
                for sequence, (symbol, price) in enumerate(ticks, 1)
            }
        client_id = self.strategy_settings.client_id
        with read_ledger(self.path / "orders.sqlite") as ledger:
            self.misjudged += self.foreign_client.booked(ledger.orders())
            self.records.ledger = in_order_of_booking(
                [order for order in ledger.orders() if order.client_id == client_id]
            )
            self.records.positions = {
                held.symbol: held.position
                for held in ledger.positions()
                if held.client_id == client_id
            }

    def _check(self) -> list[str]:
        """What the judge cannot know: what is printed, who was halted, whose fault a gap is."""
        findings = [f"protocol error: {error}" for error in self.protocol_errors]
        findings += self.misjudged
        findings += self.printed_twice()
        for tape, first, last in self.records.book_gaps:
            _, published = self._played.get(tape, (0, 0))
            if published - first < self.replay_ticks:
                findings.append(f"{first} to {last} of {tape} were missed and could be replayed")
        return findings

    def patches(self) -> Patches:
        """Return what watches the roles, and the bounds of these short lives."""
        return (
            *watched_parts(self),
            (publication, "REPLAY_TICKS", self.replay_ticks),
            (evaluator, "TICKS_A_PASS", self.ticks_a_pass),
            (subscriber, "MAX_BATCH_FRAMES", self.batch_frames),
            (gateway, "STALL_LIMIT_NS", STALL_LIMIT_NS),
            (order_manager, "MAX_COMMIT_BYTES", MAX_COMMIT_BYTES),
            (order_manager, "RECEIVE_BYTES", RECEIVE_BYTES),
        )

    def close(self) -> None:
        """End all roles, and close the files."""
        for role in ROLES:
            self.kill(role)
        self.book.close()


FAULTS: dict[str, Callable[[World], None]] = {
    "gateway crashes": lambda world: world.crash("gateway"),
    "orderbook crashes": lambda world: world.crash("orderbook"),
    "strategy crashes": lambda world: world.crash("strategy"),
    "order manager crashes": lambda world: world.crash("order_manager"),
    "process stands still": World.freeze,
    "connection cut": World.cut,
    "connection dead, unnoticed": World.blackhole,
    "network slow": World.slow,
    "network byte by byte": World.dribble,
    "disk refuses": World.refuse_commits,
    "trading halted": World.halt,
    "wall clock jumps": World.jump,
    "news silent": World.silence_news,
    "signal slow": World.slow_signal,
    "machine slow": World.slow_machine,
    "new tape": World.begin_run,
    "clients far behind": World.join_far_behind,
    "client takes nothing": World.stall,
    "many orders at once": World.fire_orders,
    "foreign clock": lambda world: world.foreign_client.send_some(),
}


def run_seed(seed: int, bug: str | None = None) -> Result:
    """Let one seed happen, perhaps with one of `tests.simulation.bugs` in the product."""
    return run_world(seed, World, BUGS[bug] if bug else None)
