"""The watchdog's decisions, without a clock, a process or a supervisord."""

from __future__ import annotations

import pytest

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.supervisor import Process
from lib.process.watchdog_rules import WAKE_DELAYS_NS, WatchdogRules

OWN_PID = 1
START_NS = 1000 * SECOND_NS
HANG_AFTER_NS = 2 * SECOND_NS
WATCHDOG = Process("watchdog", "RUNNING", OWN_PID)


def running(program: str, pid: int, state: str = "RUNNING") -> Process:
    return Process(program, state, pid)


class Scene:
    """The rules under a clock of their own, with processes that beat or do not."""

    def __init__(self, *processes: Process, hang_after_ns: int = HANG_AFTER_NS) -> None:
        self.now_ns = START_NS
        self.rules = WatchdogRules(OWN_PID, hang_after_ns, self.now_ns)
        self.processes = [WATCHDOG, *processes]
        self.answers = True
        self.silent: set[int] = set()
        """Those that no longer beat."""
        self.unborn: set[int] = set()
        """Those that have not beaten yet."""
        self.beats: dict[int, int] = {}
        self.asked_ns: list[int] = []
        self.killed: list[tuple[int, int]] = []
        """Who, and when."""
        self.given_up: list[str] = []

    def beat(self) -> None:
        for process in self.processes:
            if process.pid not in (0, OWN_PID) and process.pid not in self.silent | self.unborn:
                self.beats[process.pid] = self.now_ns

    def run(self, duration_ns: int) -> None:
        """Let time go by; the watchdog looks when it is due, and never late."""
        end_ns = self.now_ns + duration_ns
        while (deadline_ns := self.rules.next_deadline_ns()) <= end_ns:
            self.now_ns = max(self.now_ns, deadline_ns)
            self.beat()
            self.look()
            assert self.rules.next_deadline_ns() > self.now_ns, "it would spin"
        self.now_ns = end_ns
        self.beat()

    def look(self) -> None:
        if self.rules.look(dict(self.beats), self.now_ns):
            self.asked_ns.append(self.now_ns)
            if self.answers:
                given_up = self.rules.answered(self.processes, self.now_ns)
                self.given_up += [process.program for process in given_up]
                hangs = self.rules.hung(dict(self.beats))
                self.killed += [(hang.process.pid, self.now_ns) for hang in hangs]
            else:
                self.rules.unanswered(self.now_ns)

    def replace(self, old: Process, new: Process) -> None:
        self.processes[self.processes.index(old)] = new

    def asked_after_ms(self, since_ns: int) -> list[float]:
        return [(ns - since_ns) / MILLISECOND_NS for ns in self.asked_ns if ns >= since_ns]


GATEWAY = running("gateway", 10)
STRATEGY = running("strategy", 20)


# A role hangs


def test_a_role_that_stops_beating_is_killed_hang_after_its_last_beat_and_no_other():
    scene = Scene(GATEWAY, STRATEGY)
    scene.run(5 * SECOND_NS)
    last_ns = scene.beats[10]
    scene.silent.add(10)
    scene.run(10 * SECOND_NS)
    assert scene.killed == [(10, last_ns + HANG_AFTER_NS)]


def test_a_role_that_was_spared_is_judged_again():
    scene = Scene(GATEWAY)
    scene.run(SECOND_NS)
    for times in (1, 2):
        scene.now_ns += HANG_AFTER_NS
        scene.rules.look(scene.beats, scene.now_ns - SECOND_NS)
        assert scene.rules.look(scene.beats, scene.now_ns)
        scene.rules.answered(scene.processes, scene.now_ns)
        [hang] = scene.rules.hung(scene.beats)
        assert (hang.process, hang.silent_ns) == (GATEWAY, times * HANG_AFTER_NS)
        assert scene.rules.hung(scene.beats) == []
        scene.rules.spare(hang)


def scene_of_a_hang(*others: Process) -> Scene:
    """A gateway that has run for 5 s, and has beaten for the last time."""
    scene = Scene(GATEWAY, *others)
    scene.run(5 * SECOND_NS)
    scene.silent.add(10)
    return scene


@pytest.mark.parametrize(
    "gateway",
    [
        running("gateway", 11),  # the beats of its predecessor do not count against it
        *(running("gateway", 10, state) for state in ("STOPPING", "BACKOFF", "UNKNOWN")),
    ],
)
def test_a_role_that_is_starting_or_should_not_run_is_never_killed(gateway):
    scene = scene_of_a_hang()
    scene.unborn.add(11)
    scene.replace(GATEWAY, gateway)
    scene.run(100 * SECOND_NS)
    assert scene.killed == []


def test_a_role_is_not_killed_on_old_knowledge():
    scene = scene_of_a_hang()
    scene.answers = False  # as in a shutdown: supervisord says nothing of its programs any more
    scene.run(100 * SECOND_NS)
    assert scene.killed == []


def test_a_role_that_has_beaten_while_supervisord_was_asked_lives():
    scene = scene_of_a_hang()
    scene.run(HANG_AFTER_NS - SECOND_NS)
    scene.now_ns = scene.beats[10] + HANG_AFTER_NS
    assert scene.rules.look(scene.beats, scene.now_ns)
    scene.rules.answered(scene.processes, scene.now_ns + SECOND_NS)
    assert scene.rules.hung({10: scene.now_ns + 1}) == []


def test_the_watchdog_never_judges_itself():
    scene = Scene()
    scene.beats[OWN_PID] = START_NS
    scene.run(100 * SECOND_NS)
    assert scene.killed == []


@pytest.mark.parametrize("late_s", [1.6, 60])
def test_when_everything_stood_still_only_a_role_that_hangs_is_killed_hang_after_later(late_s):
    scene = scene_of_a_hang(STRATEGY)
    scene.now_ns += int(late_s * SECOND_NS)
    resumed_ns = scene.now_ns
    scene.look()  # the watchdog is the first to go on
    scene.run(100 * SECOND_NS)
    assert scene.killed == [(10, resumed_ns + HANG_AFTER_NS)]


def test_a_watchdog_that_has_just_started_gives_everybody_the_whole_time():
    scene = Scene(GATEWAY)
    scene.silent.add(10)
    scene.beats[10] = START_NS - 100 * SECOND_NS
    scene.run(100 * SECOND_NS)
    assert scene.killed == [(10, START_NS + HANG_AFTER_NS)]


@pytest.mark.parametrize("pid", [10, 11], ids=["same number", "another number"])
def test_a_successor_that_hangs_is_killed_as_well(pid):
    scene = scene_of_a_hang()
    scene.run(3 * SECOND_NS)
    scene.replace(GATEWAY, exited := running("gateway", 0, "EXITED"))
    scene.run(3 * SECOND_NS)
    scene.replace(exited, running("gateway", pid))
    scene.run(3 * SECOND_NS)
    scene.silent.add(pid)
    scene.run(3 * SECOND_NS)
    assert [killed for killed, _ in scene.killed] == [10, pid]


# A process ends


def scene_after_an_end() -> Scene:
    scene = Scene(GATEWAY)
    scene.run(5 * SECOND_NS + 1)
    scene.rules.ended(10, scene.now_ns)
    return scene


def test_after_an_end_supervisord_is_asked_until_there_is_a_successor():
    scene = scene_after_an_end()
    ended_ns = scene.now_ns
    scene.run(MILLISECOND_NS)  # supervisord has not reaped it yet
    scene.replace(GATEWAY, exited := running("gateway", 0, "EXITED"))
    scene.run(2 * MILLISECOND_NS)
    scene.replace(exited, running("gateway", 11, "STARTING"))
    scene.run(SECOND_NS)
    assert scene.asked_after_ms(ended_ns) == [0, 2, 4]


@pytest.mark.parametrize("answers", [True, False])
def test_without_a_successor_the_questions_end(answers):
    scene = scene_after_an_end()
    ended_ns = scene.now_ns
    scene.replace(GATEWAY, running("gateway", 0, "EXITED"))  # autorestart=false
    scene.answers = answers
    scene.run(3 * SECOND_NS)
    asked = scene.asked_after_ms(ended_ns)
    hurried_ms = sum(WAKE_DELAYS_NS) / MILLISECOND_NS
    assert len([ms for ms in asked if ms <= hurried_ms]) == 1 + len(WAKE_DELAYS_NS)
    assert len([ms for ms in asked if ms > hurried_ms]) == 2


def test_an_end_that_supervisord_reported_first_is_followed_up_too():
    scene = Scene(GATEWAY)
    scene.run(5 * SECOND_NS + 1)
    scene.replace(GATEWAY, running("gateway", 0, "EXITED"))
    scene.run(2 * SECOND_NS)
    assert scene.asked_after_ms(START_NS + 6 * SECOND_NS)[:3] == [0, 2, 4]


# A role is given up


def test_a_role_that_is_given_up_is_reported_once():
    scene, gateway = Scene(GATEWAY, STRATEGY), GATEWAY
    for pid in (30, 31):
        scene.run(2 * SECOND_NS)
        scene.replace(gateway, fatal := running("gateway", 0, "FATAL"))
        scene.run(10 * SECOND_NS)
        scene.replace(fatal, gateway := running("gateway", pid))
    assert scene.given_up == ["gateway", "gateway"]
