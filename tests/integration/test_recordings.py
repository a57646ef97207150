"""What a gateway plays is recorded, and the recording plays the same ticks again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lib.tapes.recording_files import news_file, parts_directory
from tests.clients import NumberedClient, joined
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"rate": 500.0, "news_interval": 0.2}}


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "recorded.parquet"


@pytest.fixture
def gateway(stack) -> PrivateStack:
    """A stack in which only the gateway runs."""
    stack.start_by_hand("gateway")
    stack.wait_for_event("gateway", "started")
    return stack


@contextmanager
def playing(file: Path, **gateway: Any) -> Iterator[PrivateStack]:
    """A gateway that plays this file."""
    settings = {"source": "file", "path": str(file), "rate": 1000.0, **gateway}
    with PrivateStack({"gateway": settings}) as stack:
        stack.start_by_hand("gateway")
        stack.wait_for_event("gateway", "started")
        yield stack


@contextmanager
def recording(stack: PrivateStack, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The program that records what this stack plays, for the time of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lib.tapes", "record", *arguments],
        cwd=PROJECT_ROOT,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Wait for its end; return what it has printed, and its log."""
    output, log = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, log
    return output, log


def recorded(file: Path) -> list[tuple[int, str]]:
    """The ticks of a recording, as number and frame."""
    with duckdb.connect() as connection:
        query = "SELECT sequence, symbol, CAST(price AS VARCHAR) FROM read_parquet($1)"
        rows = connection.execute(query, [str(file)]).fetchall()
    return [(number, f"{symbol},{price.rstrip('0')}") for number, symbol, price in rows]


def played(client: NumberedClient, last: int) -> dict[int, str]:
    """The frames that a client gets up to this number, by number; without the zeros at an end."""
    frames = {}
    while client.next <= last:
        first = client.next
        for number, frame in enumerate(client.batch().frames, first):
            text = frame.decode()
            frames[number] = text.rstrip("0") if "." in text else f"{text}."
    return frames


def first_part(file: Path) -> Path:
    return next(parts_directory(file).glob("part-*.parquet"), None)


def test_a_recording_is_what_every_client_gets_and_plays_the_same_ticks_again(gateway, file):
    with (
        joined(gateway.price_port) as client,
        recording(gateway, "--minutes", "0.05", file) as process,
    ):
        output, _ = ended(process)
        ticks = recorded(file)
        frames = played(client, ticks[-1][0])
    assert "ended: the time is over" in output
    assert f"{len(ticks):,} ticks in {file}" in output
    first = ticks[0][0]
    assert [number for number, _ in ticks] == list(range(first, first + len(ticks)))
    assert len(ticks) > 500
    assert dict(ticks) == {number: frames[number] for number, _ in ticks}
    assert not parts_directory(file).exists()

    with playing(file) as again, joined(again.price_port, 1) as client:
        replayed = played(client, len(ticks))
    assert [replayed[number] for number in sorted(replayed)] == [frame for _, frame in ticks]


def test_the_news_are_recorded_and_play_again(gateway, file):
    with (
        joined(gateway.news_port) as client,
        recording(gateway, "--minutes", "0.05", file) as process,
    ):
        ended(process)
        with duckdb.connect() as connection:
            news = connection.execute(
                "SELECT sequence, sentiment FROM read_parquet($1)", [str(news_file(file))]
            ).fetchall()
        first = client.next
        frames = dict(enumerate(client.read_to(news[-1][0]), first))
    assert len(news) > 5
    assert news == [(number, int(frames[number])) for number, _ in news]

    values = {"news_path": str(news_file(file)), "news_interval": 0.01}
    with playing(file, **values) as again, joined(again.news_port, 1) as client:
        # A client begins with the latest one.
        replayed = client.read_to(len(news))
    assert [int(frame) for frame in replayed] == [value for _, value in news][client.first - 1 :]


def test_it_ends_with_the_tape(gateway, file):
    with recording(gateway, "--minutes", "0.05", file) as process:
        ended(process)
    ticks = recorded(file)
    again = file.with_name("again.parquet")
    with playing(file, rate=400.0) as stack, recording(stack, again) as process:
        output, _ = ended(process)
    assert "ended: the tape has ended" in output
    (begin, _), *_ = recorded(again)
    assert recorded(again) == [
        (number, frame) for number, (_, frame) in enumerate(ticks, 1) if number >= begin
    ]


def test_a_recording_that_is_killed_plays_up_to_its_last_part(gateway, file):
    with recording(gateway, file) as process:
        wait_until(lambda: first_part(file), "a part is written")
        process.kill()
        process.communicate()
    parts = recorded(parts_directory(file) / "part-*.parquet")
    assert not file.exists()

    look = subprocess.run(
        [sys.executable, "-m", "lib.tapes", file, "--json"],
        cwd=PROJECT_ROOT, env=gateway.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(look.stdout)["ticks"] == len(parts)
    with playing(file) as again, joined(again.price_port, 1) as client:
        replayed = played(client, len(parts))
    assert [replayed[number] for number in sorted(replayed)] == [frame for _, frame in parts]

    with recording(gateway, file) as process:  # it is not written over
        _, log = ended(process, 1)
    assert "record --join" in log
    with recording(gateway, "--join", file) as process:
        ended(process)
    assert recorded(file) == parts
    assert not parts_directory(file).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_lost(gateway, file, number):
    with joined(gateway.price_port) as client, recording(gateway, file) as process:
        wait_until(lambda: first_part(file), "a part is written")
        process.send_signal(number)
        output, _ = ended(process)
        frames = played(client, recorded(file)[-1][0])
    assert "ended: as asked" in output
    assert dict(recorded(file)).items() <= frames.items()


def test_a_gateway_that_is_killed_costs_no_tick(stack, file):
    stack.start()
    with recording(stack, file) as process:
        wait_until(lambda: first_part(file), "a part is written")
        killed = stack.pid("gateway")
        os.kill(killed, signal.SIGKILL)
        begun = stack.events("gateway", "tape_started")
        continued = stack.wait_for_event("gateway", "tape_continued", tape=begun[0]["tape"])
        with joined(stack.price_port, 1) as client:
            client.read_to(continued["next_sequence"] + 500)
        process.send_signal(signal.SIGTERM)
        _, log = ended(process)
    numbers = [number for number, _ in recorded(file)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[-1] > continued["next_sequence"]
    assert "disconnected" in log
    assert "missed" not in log.replace("missed=0", "")


def test_a_new_run_is_recorded_from_its_beginning(gateway, file):
    with recording(gateway, file) as process:
        wait_until(lambda: first_part(file), "a part is written")
        gateway.kill_by_hand()
        gateway.start_by_hand("gateway")
        assert process.stderr
        while " tape=" not in (line := process.stderr.readline()) or "first=1 " not in line:
            assert line, "it has ended"
        wait_until(lambda: len(list(parts_directory(file).iterdir())) > 2, "of both tapes")
        process.send_signal(signal.SIGTERM)
        ended(process)
    with duckdb.connect() as connection:
        query = (
            "SELECT tape, min(sequence), count(*) - max(sequence) + min(sequence) "
            "FROM read_parquet($1) GROUP BY tape ORDER BY tape"
        )
        (_, _, gap), (_, begin, no_gap) = connection.execute(query, [str(file)]).fetchall()
    assert (gap, begin, no_gap) == (1, 1, 1)


def test_at_full_speed_it_sets_the_pace_and_loses_no_tick(file):
    with PrivateStack({"gateway": {"rate": 0}}) as stack:
        stack.start_by_hand("gateway")
        stack.wait_for_event("gateway", "started")
        with recording(stack, "--minutes", "0.05", file) as process:
            _, log = ended(process)
    numbers = [number for number, _ in recorded(file)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) > 10_000
    assert "missed" not in log.replace("missed=0", "")


def test_without_a_gateway_it_says_so_and_leaves_nothing(stack, file):
    with recording(stack, file) as process:
        assert process.stderr
        assert (
            process.stderr.readline() == f"waiting for a gateway on 127.0.0.1:{stack.price_port}\n"
        )
        process.send_signal(signal.SIGTERM)
        output, _ = ended(process, 1)
    assert "no tick came" in output
    assert list(file.parent.iterdir()) == []
