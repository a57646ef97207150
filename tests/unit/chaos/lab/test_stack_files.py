"""Which files a stack has, who holds them, and which events name one."""

from __future__ import annotations

import mmap
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from chaos.lab.stack_files import (
    HeldFiles,
    events_naming,
    files_in_shm,
    files_in_var,
    short_name,
)
from chaos.lab.target import TargetStack
from lib.price_book.segment_files import SHM_DIR
from lib.settings import Settings
from tests.log_lines import recorded

HOLDER = """
import mmap, sys
opened = open(sys.argv[1])
with open(sys.argv[2], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
print("holds", flush=True)
sys.stdin.read()
"""


def stack_in(var_dir: Path) -> TargetStack:
    return TargetStack(msgspec.structs.replace(Settings(), var_dir=var_dir))


@contextmanager
def holding(var_dir: Path, program: str, *paths: Path) -> Iterator[None]:
    """A process of the stack in `var_dir` has the first file open and the second one mapped."""
    environment = {"TRADING_VAR_DIR": str(var_dir), "SUPERVISOR_PROCESS_NAME": program}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *paths],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == b"holds\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_the_files_of_a_var_directory_are_all_but_its_directories(tmp_path: Path) -> None:
    target = stack_in(tmp_path)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "gateway.out").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    names = [short_name(target, path) for path in files_in_var(target)]
    assert names == ["fifo", "link", "log/gateway.out"]


def test_the_files_of_a_price_book_are_those_that_no_observer_of_ours_has_made() -> None:
    name = f"tw-test-{os.getpid()}-{secrets.token_hex(4)}"
    settings = Settings()
    book = msgspec.structs.replace(settings.price_book, name=name)
    target = TargetStack(msgspec.structs.replace(settings, price_book=book))
    segment, lock, fifo = (SHM_DIR / f"{name}{part}" for part in ("", ".lock", ".reader-16"))
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        lock.touch()
        segment.touch()
        with segment.open("rb"):  # everybody reads the price book itself
            assert files_in_shm(target) == [segment, lock]
    finally:
        os.close(fd)
        for path in (segment, lock, fifo):
            path.unlink(missing_ok=True)


def test_a_file_in_shared_memory_is_named_without_its_stack() -> None:
    book = Settings().price_book.name
    assert short_name(stack_in(Path("/x")), SHM_DIR / f"{book}.lock") == "price book.lock"


def test_a_file_is_in_use_while_every_program_that_used_it_has_it_open_or_mapped(
    tmp_path: Path,
) -> None:
    target = stack_in(tmp_path)
    opened, mapped = tmp_path / "opened", tmp_path / "mapped"
    for path in (opened, mapped):
        path.write_bytes(bytes(mmap.PAGESIZE))
    with holding(tmp_path, "gateway", opened, mapped):
        held = HeldFiles(target)
        assert held.holders(opened) == held.holders(mapped) == {"gateway"}
        assert held.is_in_use(mapped, {"gateway"})
        assert not held.is_in_use(mapped, {"gateway", "watchdog"})
        mapped.rename(tmp_path / "moved")
        assert not HeldFiles(target).is_in_use(mapped, {"gateway"})
        mapped.write_bytes(bytes(mmap.PAGESIZE))  # there again, but nobody uses it
        assert not HeldFiles(target).is_in_use(mapped, {"gateway"})
        assert HeldFiles(target).is_in_use(mapped, ())
    assert HeldFiles(target).holders(opened) == frozenset()


def test_a_process_of_another_stack_holds_nothing_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with holding(tmp_path / "another", "gateway", path, path):
        assert HeldFiles(stack_in(tmp_path)).holders(path) == frozenset()


def test_an_event_names_a_file_by_its_whole_name() -> None:
    def naming(text: str, name: str) -> bool:
        events = [recorded(1, "strategy", "state_not_written", {"path": text, "reason": None})]
        return bool(events_naming(Path("/x", name), events))

    assert naming("/x/strategy.state", "strategy.state")
    assert naming("strategy.state.", "strategy.state")
    assert not naming("/x/strategy.state.new", "strategy.state")
    assert not naming("/x/orders.sqlite-wal", "orders.sqlite")
    assert not naming("/x/second-strategy.state", "strategy.state")


def test_only_warnings_and_errors_that_are_about_no_order_name_a_file() -> None:
    fields = {"path": "/x/a.state", "reason": None}
    rejected = {"client_id": "c", "symbol": "AAPL", "reason": "a.state is lost"}
    events = [
        recorded(1, "strategy", "state_not_written", fields),
        recorded(2, "order_manager", "order_rejected", rejected),
        recorded(3, "orderbook", "cannot_start", {"reason": "a.state belongs to nobody"}),
        recorded(4, "strategy", "attached", {"price_book": "a.state"}),
        recorded(5, "supervisord", "spawned", {"role": "a.state"}),
    ]
    found = events_naming(Path("/x/a.state"), events)
    assert [(one.source, one.event) for one in found] == [
        ("strategy", "state_not_written"),
        ("orderbook", "cannot_start"),
    ]


def test_what_is_said_about_a_price_book_is_about_each_part_of_it() -> None:
    unusable = {"price_book": "book", "reason": "it is damaged"}
    events = [recorded(1, "strategy", "price_book_unusable", unusable)]
    assert events_naming(SHM_DIR / "book.lock", events, book="book")
    assert not events_naming(SHM_DIR / "book.lock", events)
