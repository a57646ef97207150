"""The recorder's pure parts: the tape as it is heard, lines of logs."""

from __future__ import annotations

from chaos.recorder import SUPERVISORD, Recording, TapeListener, parse_event, parse_supervisor_line
from chaos.records import Tick
from lib.prices import to_fixed


def listen(*pieces: bytes) -> Recording:
    recording = Recording()
    listener = TapeListener(recording)
    listener.connected()
    for piece in pieces:
        listener.receive(piece, 77)
    return recording


ANSWER = b"HELLO,1,T,5*"
BATCH = b"BATCH,5,2,99*AAPL,172.5*MSFT,3*"


def test_ticks_are_kept_under_their_numbers() -> None:
    recording = listen(ANSWER + BATCH)
    assert recording.tapes == {
        "T": {5: Tick("AAPL", to_fixed(172.5)), 6: Tick("MSFT", to_fixed(3))}
    }
    assert (recording.playing, recording.troubles) == ("T", [])


def test_pieces_may_be_of_any_size() -> None:
    stream = ANSWER + BATCH + b"BATCH,7,0,99*BATCH,7,1,99*AAPL,1*"
    assert listen(*(bytes([byte]) for byte in stream)) == listen(stream)


def test_plain_frames_before_the_answer_are_skipped() -> None:
    assert listen(b"AAPL,1*AAPL,2*" + ANSWER + BATCH) == listen(ANSWER + BATCH)


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


def test_the_first_hello_asks_for_all_there_is() -> None:
    assert TapeListener(Recording()).connected() == b"HELLO,1,1*"


def test_a_log_line_becomes_an_event() -> None:
    event = parse_event(7, "gateway", b'{"event":"started","role":"gateway","pid":3}')
    assert event == (7, "gateway", "started", {"role": "gateway", "pid": 3})


def test_what_is_no_event_is_skipped() -> None:
    for line in (b"Traceback (most recent call last):", b"[1]", b'{"pid":3}', b"\xff"):
        assert parse_event(7, "gateway", line) is None


def test_supervisord_tells_of_the_life_of_a_role() -> None:
    told = {
        b"2026-01-01 00:00:00 INFO spawned: 'gateway' with pid 12": "spawned",
        b"2026-01-01 00:00:00 WARN exited: gateway (exit status 1; not expected)": "ended",
        b"2026-01-01 00:00:00 WARN stopped: gateway (exit status 0)": "ended",
    }
    for line, name in told.items():
        assert parse_supervisor_line(7, line) == (7, SUPERVISORD, name, {"role": "gateway"})
    assert parse_supervisor_line(7, b"2026-01-01 00:00:00 INFO supervisord started") is None
