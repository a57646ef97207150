"""Signs of life: whose they are, how often they come, and what stops them."""

from __future__ import annotations

import faulthandler
import os
import signal
import time

import pytest
from structlog.testing import capture_logs

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.net.event_loop import EventLoop
from lib.process import heartbeat as heartbeat_module
from lib.process.heartbeat import (
    Heartbeat,
    beat_interval_ns,
    begin_to_beat,
    find_pulse,
    present_pulse,
)
from lib.process.kept_files import LOOK_NS
from lib.process.run_identity import run_of
from lib.process.state_file import create_state


@pytest.mark.parametrize(
    ("hang_after_s", "interval_ms"), [(0.1, 25), (1, 250), (2, 500), (60, 500)]
)
def test_an_idle_role_beats_four_times_before_it_would_hang_and_twice_a_second(
    hang_after_s, interval_ms
):
    assert beat_interval_ns(int(hang_after_s * SECOND_NS)) == interval_ms * MILLISECOND_NS


def test_a_role_has_a_pulse_as_soon_as_it_beats_and_no_other_process_has(tmp_path):
    assert find_pulse(tmp_path, "gateway", os.getpid()) is None
    begin_to_beat(tmp_path, "orderbook")
    assert find_pulse(tmp_path, "gateway", os.getpid()) is None
    before_ns = time.monotonic_ns()
    begin_to_beat(tmp_path, "gateway")
    pulse = find_pulse(tmp_path, "gateway", os.getpid())
    assert before_ns <= pulse.last_ns() <= time.monotonic_ns()
    assert find_pulse(tmp_path, "gateway", os.getppid()) is None


def test_the_last_beat_of_an_earlier_process_of_the_same_number_is_not_a_pulse(tmp_path):
    pid, start_ticks = run_of(os.getpid())
    path = tmp_path / "gateway.heartbeat"
    create_state(path, {"pid": pid, "start_ticks": start_ticks - 1}, [1])
    assert find_pulse(tmp_path, "gateway", pid) is None
    create_state(path, {"pid": pid, "start_ticks": start_ticks}, [1])
    assert find_pulse(tmp_path, "gateway", pid).last_ns() == 1


@pytest.mark.parametrize("header", [{}, {"tape": "t"}, {"pid": "x", "start_ticks": None}])
def test_a_file_that_is_no_heartbeat_is_no_pulse(tmp_path, header):
    create_state(tmp_path / "gateway.heartbeat", header, [1])
    assert find_pulse(tmp_path, "gateway", os.getpid()) is None


def test_a_pulse_stays_with_its_process_when_a_successor_beats(tmp_path):
    word = begin_to_beat(tmp_path, "gateway").words
    pulse = find_pulse(tmp_path, "gateway", os.getpid())
    last_ns = pulse.last_ns()
    begin_to_beat(tmp_path, "gateway").words[0] = last_ns + SECOND_NS
    assert pulse.last_ns() == last_ns
    word[0] = last_ns + 1
    assert pulse.last_ns() == last_ns + 1


def test_silence_does_not_count_while_the_process_waits_for_a_cpu(tmp_path, monkeypatch):
    waited = [500]
    monkeypatch.setattr(heartbeat_module, "waited_for_cpu_ns", lambda _: waited[0])
    word = begin_to_beat(tmp_path, "gateway").words
    pulse = find_pulse(tmp_path, "gateway", os.getpid())

    def since(beat_ns: int, waited_ns: int) -> int:
        word[0], waited[0] = beat_ns, waited_ns
        return pulse.silent_since_ns()

    assert since(1000, 500) == 1000
    assert since(1000, 530) == 1030
    assert since(1000, 580) == 1080
    assert since(2000, 600) == 2000
    assert since(2000, 601) == 2001
    assert since(2000, 0) == 2000  # it has ended


@pytest.fixture
def stack_on_request():
    """SIGUSR1 as it was."""
    yield
    faulthandler.unregister(signal.SIGUSR1)


@pytest.mark.usefixtures("stack_on_request")
@pytest.mark.parametrize("name", ["gateway.heartbeat", "gateway.stack"])
def test_a_heartbeat_or_stack_file_that_was_removed_is_put_back_and_beats_on(tmp_path, name):
    loop = EventLoop()
    heartbeat = Heartbeat(loop, tmp_path, "gateway", SECOND_NS)
    pulse = find_pulse(tmp_path, "gateway", os.getpid())
    with capture_logs() as logs:
        heartbeat.on_time(1)
        (tmp_path / name).unlink()
        # Until it is put back, the old file shows that the role is alive.
        loop.poll(may_sleep=False)
        assert present_pulse(pulse, tmp_path, "gateway", os.getpid()).last_ns() > 0
        heartbeat.on_time(2)
        heartbeat.on_time(3)
    assert [(log["event"], log["file"]) for log in logs] == [("file_lost", str(tmp_path / name))]
    pulse = present_pulse(pulse, tmp_path, "gateway", os.getpid())
    assert pulse.is_in_place()
    before_ns = time.monotonic_ns()
    loop.poll(may_sleep=False)
    assert pulse.last_ns() >= before_ns
    assert (tmp_path / "gateway.stack").exists()


@pytest.mark.usefixtures("stack_on_request")
def test_the_deadline_of_a_look_at_its_files_does_not_come_near(tmp_path):
    loop = EventLoop()
    loop.clock = lambda: now_ns
    now_ns = 0
    heartbeat = Heartbeat(loop, tmp_path, "gateway", SECOND_NS)
    now_ns = LOOK_NS - 1
    assert heartbeat.next_deadline_ns() == now_ns + LOOK_NS
    now_ns = LOOK_NS
    assert heartbeat.next_deadline_ns() == now_ns


@pytest.mark.usefixtures("stack_on_request")
def test_a_heartbeat_that_cannot_be_written_is_tried_again_until_it_is(tmp_path):
    loop = EventLoop()
    (tmp_path / "gateway.heartbeat").mkdir()
    with capture_logs() as logs:
        heartbeat = Heartbeat(loop, tmp_path, "gateway", SECOND_NS)
        heartbeat.on_time(heartbeat.next_deadline_ns())
        assert find_pulse(tmp_path, "gateway", os.getpid()) is None
        (tmp_path / "gateway.heartbeat").rmdir()
        heartbeat.on_time(heartbeat.next_deadline_ns())
        heartbeat.on_time(heartbeat.next_deadline_ns())
    assert [log["event"] for log in logs] == ["heartbeat_failed", "heartbeat_recovered"]
    assert logs[0]["file"] == logs[1]["file"] == str(tmp_path / "gateway.heartbeat")
    before_ns = time.monotonic_ns()
    loop.poll(may_sleep=False)
    assert find_pulse(tmp_path, "gateway", os.getpid()).last_ns() >= before_ns
