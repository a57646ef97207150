"""The recorder: the tape as received, log lines, a stack in parts."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from chaos.judge.records import BookedTick, PlayedTick
from chaos.lab import recorder as recorder_module
from chaos.lab.recorder import (
    SUPERVISORD,
    Recorder,
    SeenEvaluation,
    StackRecording,
    TapeListener,
)
from chaos.lab.target import TargetError, strategy_state
from lib.prices import to_fixed
from lib.process.log_events import TapeEnded
from lib.process.state_file import create_state
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook, remove_segments
from lib.stack.log_follower import SupervisorEvent
from lib.stack.private_stack import free_ports
from tests.helpers import wait_until


def listen(*pieces: bytes) -> StackRecording:
    recording = StackRecording()
    listener = TapeListener(recording)
    listener.connected()
    for piece in pieces:
        listener.receive(piece, 77)
    return recording


ANSWER = b"HELLO,1,T,5*"
BATCH = b"BATCH,5,2,99*AAPL,172.5*MSFT,3*"


def test_ticks_are_kept_under_their_numbers_in_whatever_pieces_they_come() -> None:
    recording = listen(b"AAPL,1*AAPL,2*" + ANSWER + BATCH)  # plain frames come before the answer
    assert recording.tapes == {
        "T": {5: PlayedTick("AAPL", to_fixed(172.5)), 6: PlayedTick("MSFT", to_fixed(3))}
    }
    assert (recording.playing, recording.troubles) == ("T", [])
    stream = ANSWER + BATCH + b"BATCH,7,0,99*BATCH,7,1,99*AAPL,1*"
    assert listen(*(bytes([byte]) for byte in stream)) == listen(stream)


def test_a_number_out_of_turn_is_a_trouble() -> None:
    [trouble] = listen(ANSWER + BATCH + b"BATCH,9,0,99*").troubles
    assert "expected sequence 7, got 9" in trouble


def test_one_tick_under_two_prices_is_a_trouble() -> None:
    recording = listen(ANSWER + BATCH)
    again = TapeListener(recording)
    assert again.connected() == b"HELLO,1,7,T*"
    again.receive(b"HELLO,1,T,6*BATCH,6,1,99*MSFT,4*", 78)
    [trouble] = recording.troubles
    assert "tick 6 was sent as" in trouble
    assert recording.tapes["T"][6].price == to_fixed(3)
    assert recording.heard_ns["T"] == {5: 77, 6: 77}


def test_the_first_hello_asks_for_what_the_book_has_and_each_later_one_for_what_follows() -> None:
    recording = StackRecording()
    assert TapeListener(recording).connected() == b"HELLO,1,1*"
    recording.add_booked([(BookedTick("T", 9_000_000, "AAPL", 1), 5)], None, 77)
    listener = TapeListener(recording)
    assert listener.connected() == b"HELLO,1,9000000,T*"
    listener.receive(ANSWER + BATCH, 77)
    recording.tapes["T"].clear()  # it does not look through what may be millions of ticks
    assert [listener.connected() for _ in range(2)] == [b"HELLO,1,7,T*"] * 2


def test_a_full_ring_may_lose_its_oldest_ticks_before_they_are_recorded() -> None:
    recording = StackRecording()
    recording.add_booked([(BookedTick("T", 9, "AAPL", 1), 5)], (0, 7), 77)
    assert recording.troubles == []
    recording.add_booked([(BookedTick("T", 20, "AAPL", 1), 5)], (9, 18), 78)
    assert recording.troubles == ["the recorder was lapped in the ring: (9, 18)"]
    assert (len(recording.booked), recording.booked_ns) == (2, [77, 78])
    assert recording.sent_ns == {"T": {9: 5, 20: 5}}


def test_all_of_one_stack_must_be_seen() -> None:
    recording = StackRecording()
    steps = (
        lambda: recording.add_booked([(BookedTick("T", 6, "MSFT", 1), 5)], None, 77),
        lambda: recording.tapes.update(T={5: PlayedTick("MSFT", 1)}),
        lambda: recording.evaluated.append(SeenEvaluation(78, "another", 6)),
        lambda: recording.evaluated.append(SeenEvaluation(79, "T", 5)),
        lambda: recording.tapes["T"].update({6: PlayedTick("MSFT", 1)}),
    )
    for step in steps:
        assert not recording.sees_one_stack()
        step()
    assert recording.sees_one_stack()
    recording.evaluated.append(SeenEvaluation(80, "another", 6))
    assert not recording.sees_one_stack()


def test_events_are_recorded_and_the_end_of_the_tape_is_noticed(tmp_path: Path) -> None:
    recorder = Recorder(msgspec.structs.replace(Settings(), var_dir=tmp_path))
    recording = recorder.recording
    recording.playing = "T"
    (tmp_path / "log").mkdir()
    log, ended = tmp_path / "log" / "gateway.jsonl", []
    for tape in ("another", "T"):
        line = msgspec.json.encode({"event": "tape_ended", "tape": tape, "ticks": 9})
        log.open("ab").write(line + b"\nTraceback\n")
        recorder.look_at_logs()
        ended.append(recording.tape_ended)
    assert ended == [False, True]
    said = "2026-11-22 17:04:04,100 INFO spawned: 'gateway' with pid 7\n"
    (tmp_path / "supervisord.log").write_text(said)
    recorder.look_at_logs()
    assert [(event.source, type(event.what)) for event in recording.events] == [
        ("gateway", TapeEnded),
        ("gateway", TapeEnded),
        (SUPERVISORD, SupervisorEvent),
    ]


def test_a_tape_that_runs_as_fast_as_it_can_is_refused() -> None:
    gateway = msgspec.structs.replace(Settings().gateway, rate=0.0)
    with pytest.raises(TargetError, match=r"with gateway.rate = 0 the tape runs too fast"):
        Recorder(msgspec.structs.replace(Settings(), gateway=gateway))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """The settings of a stack that does not exist yet."""
    replace = msgspec.structs.replace
    name = f"tw-test-{os.getpid()}-{secrets.token_hex(4)}"
    [port] = free_ports(1)
    yield replace(
        Settings(),
        var_dir=tmp_path,
        price_book=replace(Settings().price_book, name=name),
        gateway=replace(Settings().gateway, price_port=port),
    )
    remove_segments(name)


def book_of(settings: Settings, tape: str = "T", ticks: int = 1) -> SharedPriceBook:
    book = SharedPriceBook(("AAPL",), settings.price_book.name, ring_capacity=64)
    book.begin_epoch(tape)
    for _ in range(ticks):
        book.update("AAPL", 1.0)
    return book


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_gateway_that_comes_late_is_heard_wherever_it_listens(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    gateway = msgspec.structs.replace(settings.gateway, host=host)
    settings = msgspec.structs.replace(settings, gateway=gateway)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tries = []
    create_connection = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *to: (tries.append(to), create_connection(*to))[1]
    )
    with book_of(settings), Recorder(settings) as recorder:
        create_state(strategy_state(settings), {"tape": "T"}, [1])
        wait_until(lambda: len(tries) > 3, "it has tried in vain")
        with closing(socket.create_server((host, gateway.price_port), family=family)) as server:
            peer, _ = server.accept()
            with closing(peer):
                assert peer.recv(100) == b"HELLO,1,1,T*"
                peer.sendall(b"HELLO,1,T,1*BATCH,1,1,99*AAPL,1*")
                recorder.wait_until_caught_up()


def test_a_refused_connection_is_not_tried_at_every_look(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "CONNECT_RETRY_S", 1e9)
    looks = []
    monkeypatch.setattr(Recorder, "_look_at_strategy", lambda _: looks.append(1))
    with book_of(settings), Recorder(settings):
        wait_until(lambda: len(looks) > 9, "it has looked many times")
        address = (settings.gateway.host, settings.gateway.price_port)
        with closing(socket.create_server(address)) as server:
            server.setblocking(False)
            seen = len(looks)
            wait_until(lambda: len(looks) > seen + 9, "it has looked many times more")
            with pytest.raises(BlockingIOError):
                server.accept()


def test_where_nothing_can_be_seen_there_is_nothing_to_experiment_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "CATCH_UP_S", 0.0)
    refused = pytest.raises(TargetError, match=r"not all of one stack .* --config")
    with Recorder(settings) as recorder, refused:
        recorder.wait_until_caught_up()
    assert recorder.recording.troubles == []


def test_a_recorder_that_ended_by_an_error_says_so_instead_of_accusing_the_stack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_recorder: Recorder) -> None:
        raise ValueError("of its own")

    monkeypatch.setattr(Recorder, "_look_at_strategy", fail)
    refused = pytest.raises(TargetError, match=r"the recorder ended early: .*of its own")
    with Recorder(settings) as recorder, refused:
        recorder.wait_until_caught_up()
    assert recorder.recording.troubles == []
    with pytest.raises(TargetError, match="the recorder ended early"):
        recorder.require_sight()


def test_a_recorder_that_has_as_many_ticks_as_it_keeps_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MAX_TICKS", 5)
    with book_of(settings, ticks=4) as book, Recorder(settings) as recorder:
        wait_until(lambda: len(recorder.recording.booked) == 4, "four are read")
        assert recorder.recording.ended_early == ""
        book.update("AAPL", 1.0)
        wait_until(lambda: recorder.recording.ended_early, "it ends")
        assert "it keeps 5 ticks" in recorder.recording.ended_early


def test_ticks_that_are_only_heard_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = listen(ANSWER + BATCH)
    assert not recording.is_full()
    monkeypatch.setattr(recorder_module, "MAX_TICKS", 2)
    assert recording.is_full()
