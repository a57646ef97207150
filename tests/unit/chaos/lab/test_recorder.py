"""The recorder: the tape as received, the book, and when it must not blame the stack."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chaos.judge.records import BookedTick, PlayedTick
from chaos.lab import recorder as recorder_module
from chaos.lab.recorder import Recorder, SeenEvaluation, StackRecording, TapeListener
from chaos.lab.target import TargetError, TargetStack
from lib.prices import to_fixed
from lib.settings import Settings


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


def test_a_number_out_of_turn_and_one_tick_under_two_prices_are_troubles() -> None:
    [trouble] = listen(ANSWER + BATCH + b"BATCH,9,0,99*").troubles
    assert "expected sequence 7, got 9" in trouble
    recording = listen(ANSWER + BATCH)
    again = TapeListener(recording)
    assert again.connected() == b"HELLO,1,7,T*"
    again.receive(b"HELLO,1,T,6*BATCH,6,1,99*MSFT,4*", 78)
    [trouble] = recording.troubles
    assert "tick 6 was sent as" in trouble
    assert recording.tapes["T"][6].price == to_fixed(3)
    assert recording.heard_ns["T"] == {5: 77, 6: 77}


def test_a_full_ring_may_lose_its_oldest_ticks_before_they_are_recorded() -> None:
    recording = StackRecording()
    assert TapeListener(recording).connected() == b"HELLO,1,1*"
    recording.add_booked([(BookedTick("T", 9, "AAPL", 1), 5)], (0, 7), 77)
    assert recording.troubles == []
    assert TapeListener(recording).connected() == b"HELLO,1,9,T*"
    recording.add_booked([(BookedTick("T", 20, "AAPL", 1), 5)], (9, 18), 78)
    assert recording.troubles == ["the recorder was lapped in the ring: (9, 18)"]
    assert (len(recording.booked), recording.booked_ns) == (2, [77, 78])
    assert recording.sent_ns == {"T": {9: 5, 20: 5}}


def test_the_refill_of_another_price_book_is_compared_with_the_tape_and_not_booked_again() -> None:
    recording = StackRecording(tapes={"T": {n: PlayedTick("AAPL", n) for n in range(1, 8)}})
    ticks = {n: (BookedTick("T", n, "AAPL", n), 100 + n) for n in range(1, 8)}
    recording.begin_book()
    recording.add_booked([ticks[4], ticks[5]], None, 77)
    recording.begin_book()
    recording.add_booked([ticks[n] for n in range(1, 8)], None, 78)
    assert [tick.sequence for tick in recording.booked] == [4, 5, 6, 7]
    assert recording.booked_ns == [77, 77, 78, 78]
    assert recording.troubles == []
    recording.add_booked([ticks[7]], None, 79)  # the same book has it twice
    assert [tick.sequence for tick in recording.booked] == [4, 5, 6, 7, 7]
    recording.add_booked([(BookedTick("T", 5, "AAPL", 9), 1)], None, 80)
    [trouble] = recording.troubles
    assert "another price book has" in trouble


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


@pytest.mark.parametrize("why", ["of its own", "it keeps 2 ticks"])
def test_a_recorder_that_ended_early_says_so_instead_of_accusing_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    recorder = Recorder(TargetStack(msgspec.structs.replace(Settings(), var_dir=tmp_path)))
    if why == "of its own":
        monkeypatch.setattr(recorder, "look_at_logs", lambda: 1 / 0)
        why = "division by zero"
    else:  # they are only heard
        monkeypatch.setattr(recorder_module, "MAX_TICKS", 2)
        recorder.recording.tapes = listen(ANSWER + BATCH).tapes
    with recorder, pytest.raises(TargetError, match=rf"the recorder ended early: .*{why}"):
        recorder.wait_until_caught_up()
    assert recorder.recording.troubles == []
    with pytest.raises(TargetError, match="the recorder ended early"):
        recorder.require_sight()
