"""The recorder's pure parts: the tape as it is heard, lines of logs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from chaos.recorder import (
    SUPERVISORD,
    Recorder,
    Recording,
    TapeListener,
    parse_event,
    parse_supervisor_line,
)
from chaos.records import BookedTick, Tick
from lib.prices import to_fixed
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook, remove_segments
from tests.helpers import wait_until


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


def test_of_a_long_tape_the_first_hello_asks_for_what_the_book_has() -> None:
    recording = Recording()
    recording.add_booked([(BookedTick("T", 9_000_000, "AAPL", 1), 5)], None, 77)
    assert TapeListener(recording).connected() == b"HELLO,1,9000000,T*"


def test_a_full_ring_may_lose_its_oldest_ticks_before_they_are_recorded() -> None:
    recording = Recording()
    recording.add_booked([(BookedTick("T", 9, "AAPL", 1), 5)], (0, 7), 77)
    assert recording.troubles == []
    recording.add_booked([(BookedTick("T", 20, "AAPL", 1), 5)], (9, 18), 78)
    assert recording.troubles == ["the recorder was lapped in the ring: (9, 18)"]
    assert (len(recording.booked), recording.booked_ns) == (2, [77, 78])
    assert recording.sent_ns == {"T": {9: 5, 20: 5}}


def test_the_tape_is_heard_as_far_as_the_book_was_read() -> None:
    recording = listen(ANSWER + BATCH)
    assert not recording.tape_reaches_book()  # there is no book yet
    recording.add_booked([(BookedTick("T", 6, "MSFT", 1), 5)], None, 77)
    assert recording.tape_reaches_book()
    recording.add_booked([(BookedTick("T", 7, "MSFT", 1), 5)], None, 77)
    assert not recording.tape_reaches_book()


def test_a_log_line_becomes_an_event() -> None:
    event = parse_event(7, "gateway", b'{"event":"started","role":"gateway","pid":3}')
    assert event == (7, "gateway", "started", {"role": "gateway", "pid": 3})


def test_what_a_role_says_comes_after_its_start_where_both_are_seen_late(
    tmp_path: Path,
) -> None:
    recorder = Recorder(msgspec.structs.replace(Settings(), var_dir=tmp_path))
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "strategy.jsonl").write_bytes(b'{"event": "started"}\n')
    (tmp_path / "supervisord.log").write_bytes(
        b"2026-01-01 00:00:00,000 INFO spawned: 'strategy' with pid 7\n"
    )
    recorder.look_at_logs()
    assert [event.name for event in recorder.recording.events] == ["spawned", "started"]


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


def test_a_book_that_is_removed_and_made_anew_is_read_on(tmp_path: Path) -> None:
    name = f"tw-test-{os.getpid()}-{secrets.token_hex(4)}"
    settings = msgspec.structs.replace(
        Settings(),
        var_dir=tmp_path,
        price_book=msgspec.structs.replace(Settings().price_book, name=name),
    )
    try:
        with Recorder(settings) as recorder:
            booked = recorder.recording.booked
            for tape in ("old", "new"):
                with SharedPriceBook(("AAPL",), name, ring_capacity=64) as book:
                    book.begin_epoch(tape)
                    book.update("AAPL", 1.0)
                    wait_until(lambda: booked and booked[-1].tape == tape, "it is read")  # noqa: B023
                remove_segments(name)  # as the keeper does when supervisord was killed
        assert [tick.tape for tick in booked] == ["old", "new"]
        assert recorder.recording.troubles == []
    finally:
        remove_segments(name)
