"""The book as a user holds it, with real processes that are killed, stopped and replaced."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import re
import select
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.price_book import writer as writer_module
from lib.price_book.book import (
    Batch,
    PriceBookError,
    PriceBookInUse,
    PriceBookMismatch,
    SharedPriceBook,
    remove_segments,
)
from lib.price_book.segment import PUBLISHED, RETIRED
from lib.price_book.segment_files import SHM_DIR, retire
from lib.process.run_identity import Run
from lib.wire.ticks import TICK
from tests.helpers import wait_until
from tests.price_books import (
    RING,
    SYMBOLS,
    assert_true_ticks,
    files_of,
    open_by_name,
    positions,
    ticks_of,
    write,
)
from tests.processes import Child, forked, run_python


def follow(name: str, sleeps: bool) -> None:
    """Read until the book is retired; check every record and the order of all of them."""
    with SharedPriceBook.attach(name) as book, book.reader(0) as reader:
        expected = None
        newest = dict.fromkeys(SYMBOLS, 0)
        while True:
            retired = reader.retired
            few = reader.read_few()
            batch = Batch(np.array(few, TICK), None) if few else reader.read()
            assert_true_ticks(batch.ticks)
            got = positions(batch)
            if batch.missed is not None:
                assert expected is None or batch.missed[0] == expected
                assert batch.missed[1] >= batch.missed[0]
                expected = batch.missed[1] + 1
            if got:
                assert expected is None or got[0] == expected
                assert got == list(range(got[0], got[-1] + 1))
                expected = got[-1] + 1
            for symbol in SYMBOLS:
                latest = book.latest(symbol)
                assert latest is not None or not newest[symbol]
                if latest is not None:
                    assert latest.position >= newest[symbol]
                    newest[symbol] = latest.position
                    index, price, _, _ = ticks_of(np.array([latest.sequence]), latest.sent_ns >> 40)
                    assert SYMBOLS[index[0]] == symbol
                    assert price[0] == latest.price
            if retired and not got:
                return
            if sleeps and not got:
                reader.wait(1)


class TestProcesses:
    def test_a_segment_belongs_to_the_run_of_the_writer_that_took_over(self, name, book):
        book.update("AAPL", 1)
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING, run=Run(8, 80)) as second:
            assert book.run is None  # it has not written, and may not
            book.close()
            second.become_writer()
            assert second.run == Run(8, 80)
            assert second.read("AAPL") == 1

    def test_a_writer_is_killed_hundreds_of_times_and_its_successor_carries_on(self, name):
        ring = 1_000
        book = open_by_name(name, ring)
        seed = random.randrange(2**32)
        chance = random.Random(seed)

        def writer(number: int) -> None:
            with open_by_name(name, ring) as book:
                lengths = random.Random(seed + number)
                while True:
                    count = lengths.choice((1, 2, 15, 40, 400, 1_500))
                    write(book, book.resume_point().next_sequence, count, writer=number)

        with (
            forked(lambda: follow(name, sleeps=True)) as sleeper,
            forked(lambda: follow(name, sleeps=False)) as poller,
        ):
            for number in range(1, 301):
                before = book._segment.words[PUBLISHED]
                with forked(lambda number=number: writer(number)) as child:
                    enough = before + chance.randrange(1, 3_000)
                    while book._segment.words[PUBLISHED] < enough and not child.has_ended():
                        pass
                    child.kill()
                    assert child.join() == -signal.SIGKILL, f"seed {seed}"
                assert not sleeper.has_ended(), f"seed {seed}"
                assert not poller.has_ended(), f"seed {seed}"
            book.unlink()
            assert (sleeper.join(), poller.join()) == (0, 0), f"seed {seed}"
        book.close()

    def test_a_second_writer_is_refused_until_the_first_is_killed(self, name):
        book = open_by_name(name)

        def writer():
            with open_by_name(name) as book:
                book.update("AAPL", 1)
                signal.pause()

        with forked(writer) as first:
            wait_until(lambda: book.read("AAPL") == 1, "the first writer writes")
            with pytest.raises(PriceBookInUse, match=f"process {first.pid};") as refusal:
                book.update("AAPL", 2)
            assert refusal.value.pid == first.pid
            first.kill()
            first.join()
            book.update("AAPL", 2)
            assert book.latest("AAPL").position == 2
        book.close()

    def test_a_child_of_the_writer_is_no_writer(self, name, book):
        book.update("AAPL", 1)

        ours, theirs = socket.socketpair()

        def child():
            with pytest.raises(PriceBookInUse):
                book.update("AAPL", 2)
            theirs.send(b"refused")
            signal.pause()

        with ours, theirs, forked(child):
            book.update("AAPL", 3)
            assert ours.recv(100) == b"refused"
            book.close()
            # Nor does it hold the lock for its parent.
            with open_by_name(name) as successor:
                successor.update("AAPL", 4)

    def test_relatives_that_share_a_lock_may_all_write(self, name):
        lock = multiprocessing.Lock()
        book = SharedPriceBook(SYMBOLS, name, ring_capacity=5_000, lock=lock)

        def relative():
            with SharedPriceBook(SYMBOLS, name, ring_capacity=5_000, lock=lock) as book:
                for number in range(100):
                    book.update(SYMBOLS[number % 3], 1 + number)

        with forked(relative) as a, forked(relative) as b:
            for _ in range(100):
                book.update("AAPL", 1)
            with (
                SharedPriceBook(SYMBOLS, name, ring_capacity=5_000) as stranger,
                pytest.raises(PriceBookInUse),
            ):
                stranger.update("AAPL", 1)
            assert (a.join(), b.join()) == (0, 0)
        ticks = book.reader(0).read().ticks
        assert ticks["sequence"].tolist() == list(range(1, 301))
        book.close()

    def test_a_lock_that_is_never_released_is_a_timeout(self, name, monkeypatch):
        monkeypatch.setattr(writer_module, "LOCK_TIMEOUT_S", 0.01)
        lock = multiprocessing.Lock()
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING, lock=lock) as book:
            with lock, pytest.raises(TimeoutError, match="lock="):
                book.update("AAPL", 1)
            book.update("AAPL", 2)
            assert book.read("AAPL") == 2

    def test_a_book_can_be_handed_to_a_process_that_is_spawned(self, book):
        book.update("AAPL", 1.25)
        with pickle.loads(pickle.dumps(book)) as copy:
            assert copy.read("AAPL") == 1.25
            assert copy.symbols == SYMBOLS


class TestReplacing:
    def test_a_segment_that_does_not_match_retires_it_and_wakes_its_readers(self, name, book):
        with book.reader() as reader:
            assert reader.arm()
            with SharedPriceBook(["TSLA"], name, ring_capacity=RING) as replacement:
                assert select.select([reader], [], [], 0)[0]
                assert book.retired
                assert reader.retired
                assert not reader.arm()
                assert reader.wait(0)
                assert not replacement.retired

    @pytest.mark.parametrize(
        ("symbols", "ring"), [(SYMBOLS[::-1], RING), (SYMBOLS, RING + 1), (SYMBOLS[:2], RING)]
    )
    def test_what_matches_is_the_same_symbols_in_the_same_order_and_the_ring(
        self, name, book, symbols, ring
    ):
        with open_by_name(name):
            assert not book.retired
        with SharedPriceBook(symbols, name, ring_capacity=ring) as replacement:
            assert book.retired
            assert replacement.symbols == symbols

    def test_a_live_writer_is_not_replaced(self, name, book):
        book.update("AAPL", 1)
        with pytest.raises(PriceBookInUse, match=f"process {os.getpid()};"):
            SharedPriceBook(["TSLA"], name)
        assert not book.retired

    @pytest.mark.parametrize("has_written", [True, False])
    def test_a_writer_whose_segment_was_removed_gets_an_error(self, name, book, has_written):
        if has_written:
            book.update("AAPL", 1)
        remove_segments(name)
        for _ in range(2):
            with pytest.raises(PriceBookError, match="open it again"):
                book.update("AAPL", 2)
        with open_by_name(name) as successor:
            successor.update("AAPL", 3)

    def test_a_segment_left_retired_is_replaced_and_not_attached_to(self, name, book):
        book._segment.words[RETIRED] = 1
        with pytest.raises(PriceBookMismatch, match="retired"):
            SharedPriceBook.attach(name)
        with open_by_name(name) as successor:
            assert not successor.retired

    def test_unlink_removes_all_files_which_only_its_user_may_open_and_wakes_the_readers(
        self, name, book
    ):
        with book.reader() as reader:
            book.update("AAPL", 1)
            reader.read()
            assert reader.arm()
            files = files_of(name)
            assert files == [name, f"{name}.lock", f"{name}.reader-16"]
            assert {(SHM_DIR / file).stat().st_mode & 0o7777 for file in files} == {0o600}
            book.unlink()
            assert files_of(name) == []
            assert select.select([reader], [], [], 30)[0]
            assert reader.retired


class TestCreating:
    def test_what_a_killed_creator_left_is_removed(self, name):
        dead = Child(lambda: None)
        dead.join()
        leftover = SHM_DIR / f"{name}.new-{dead.pid}"
        leftover.touch()
        live = SHM_DIR / f"{name}.new-{os.getppid()}"
        live.touch()
        with open_by_name(name):
            assert files_of(name) == [name, live.name]

    def test_a_full_memory_is_one_clear_line_and_leaves_nothing(self, name, monkeypatch):
        def no_room(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", no_room)
        room = r"/dev/shm has [\d,]+ bytes free; set price_book.ring_capacity lower"
        with pytest.raises(PriceBookError, match=f"{name} of [\\d,]+ bytes: {room}"):
            open_by_name(name)
        assert files_of(name) == []

    @pytest.mark.parametrize(
        ("impossible", "said"),
        [
            *[({"name": name}, "letters") for name in ("", "a.b", "../a", "ä", "x" * 101)],
            *[({"symbols": [symbol]}, "symbol") for symbol in ("A,B", "A*", "A" * 17, "", "A\0")],
            *[({"symbols": symbols}, "symbol") for symbols in ([], ["A", "A"], "AAPL")],
            *[({"ring_capacity": ticks}, "ring_capacity") for ticks in (0, 2**40)],
        ],
    )
    def test_what_no_price_book_can_have_is_refused(self, impossible, said):
        with pytest.raises(ValueError, match=said):
            SharedPriceBook(**{"symbols": SYMBOLS, **impossible})

    def test_no_path_is_attached_to(self):
        with pytest.raises(ValueError, match="letters"):
            SharedPriceBook.attach("../a")


def overwrite(offset: int, data: bytes):
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return damage


def truncate(size: int):
    return lambda path: os.truncate(path, size)


class TestVanishing:
    """The files in /dev/shm are removed from outside: by a person, systemd, a resource tracker."""

    def test_a_book_knows_whether_its_name_still_names_it(self, name, book):
        with SharedPriceBook.attach(name) as attached:
            assert (book.loss(), attached.loss()) == ("", "")
            (SHM_DIR / name).unlink()
            for one in (book, attached):
                assert re.search(rf"{name} was removed: .*RemoveIPC.*SharedMemory", one.loss())
            with open_by_name(name) as successor:
                assert successor.loss() == ""
                assert f"{name} was replaced" in book.loss() == attached.loss()

    def test_a_lost_book_that_is_retired_wakes_its_readers_and_ends_its_writer(self, name, book):
        with book.reader() as reader:
            reader.fileno()
            assert reader.arm()
            book.update("AAPL", 1)  # the writer has the FIFO open
            reader.read()
            assert reader.arm()
            for file in files_of(name):
                (SHM_DIR / file).unlink()
            with open_by_name(name) as successor:
                book.retire()
                assert select.select([reader], [], [], 30)[0]
                assert reader.retired
                assert not successor.retired
            with pytest.raises(PriceBookError, match="replaced or removed"):
                book.update("AAPL", 2)

    def test_a_writer_knows_whether_its_lock_still_keeps_others_out(self, name, book):
        assert book.lock_loss() == ""  # it has none yet
        book.become_writer()
        assert book.lock_loss() == ""
        lock = SHM_DIR / f"{name}.lock"
        for replace in (lock.unlink, lock.touch):
            replace()
            assert f"{lock} was removed or replaced" in book.lock_loss()

    def test_a_reader_whose_fifo_vanished_takes_a_slot_again(self, name, book):
        with book.reader() as reader:
            assert not reader.has_lost_its_fifo()  # it has not slept yet
            reader.fileno()
            assert not reader.has_lost_its_fifo()
            (SHM_DIR / f"{name}.reader-16").unlink()
            assert reader.has_lost_its_fifo()
            reader.close()
            assert reader.arm()
            assert not reader.has_lost_its_fifo()
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]


PLANTS = {
    "a symbolic link": lambda path: path.symlink_to("/dev/null"),
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
}


class TestPlanted:
    """What is not a regular file of ours alone is neither read nor replaced; a line says why."""

    @pytest.mark.parametrize("kind", PLANTS)
    @pytest.mark.parametrize("end", ["", ".lock"])
    def test_other_kinds_of_files(self, name, kind, end):
        path = SHM_DIR / f"{name}{end}"
        PLANTS[kind](path)
        before = path.lstat()
        with (
            pytest.raises(PriceBookError, match=f"{path}: it is {kind}, not a regular file"),
            open_by_name(name) as book,
        ):
            book.become_writer()
        assert os.path.samestat(path.lstat(), before)
        path.rmdir() if path.is_dir() else path.unlink()

    def test_a_segment_that_others_may_write_to(self, name, book):
        book.update("AAPL", 1)
        (SHM_DIR / name).chmod(0o666)
        for use in (SharedPriceBook.attach, open_by_name):
            with pytest.raises(
                PriceBookError, match=rf"{name}: others may write to it \(mode 0666"
            ):
                use(name)
        retire(name)
        assert not book.retired

    @pytest.mark.parametrize("content", [b"", b"nonsense" * 100, None])
    def test_a_segment_of_another_user_whatever_is_in_it(self, name, book, monkeypatch, content):
        path = SHM_DIR / name
        if content is not None:
            path.write_bytes(content)
        there = path.read_bytes()
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        for use in (SharedPriceBook.attach, open_by_name):
            with pytest.raises(PriceBookError, match=f"{path}: it belongs to user .*chown"):
                use(name)
        assert path.read_bytes() == there


class TestForeignSegments:
    @pytest.mark.parametrize(
        ("damage", "complaint"),
        [
            (truncate(0), "it is empty"),
            (truncate(767), "it has no header"),
            (truncate(768), "damaged: it has 768 bytes"),
            (truncate(5_000), "damaged: it has 5,000 bytes"),
            (overwrite(0, b"\x7fELF"), "does not begin with TWPRICES"),
            (overwrite(8, b"\x63"), "is of version 99; this program reads 2"),
            (overwrite(32, b"\0" * 8), "damaged: it says 0 symbols"),
            (overwrite(32, b"\4"), "damaged: it has"),
            (overwrite(40, b"\xff" * 8), "a ring of 18446744073709551615 ticks"),
            (overwrite(40, b"\x3f"), "damaged: it has"),
            (overwrite(56, b"12345678"), "digest"),
            (overwrite(64, b"\xff" * 8), "damaged: it says that .* ticks are published"),
            (overwrite(768, b"B"), "digest"),
        ],
    )
    def test_are_refused_with_one_line_and_replaced(self, name, book, damage, complaint):
        damage(SHM_DIR / name)
        with pytest.raises(PriceBookMismatch, match=complaint) as refusal:
            SharedPriceBook.attach(name)
        assert "\n" not in str(refusal.value)
        assert name in str(refusal.value)
        with open_by_name(name) as successor:
            successor.update("AAPL", 1)
        with SharedPriceBook.attach(name) as attached:
            assert attached.read("AAPL") == 1

    @given(
        st.lists(
            st.tuples(st.integers(0, 64 + 3 * 16 + 64 * 80 + 70 * 48), st.binary(min_size=1)),
            min_size=1,
            max_size=8,
        )
    )
    @settings(max_examples=150)
    def test_full_of_nonsense_never_crash_a_reader_nor_the_next_writer(self, scribbles):
        with SharedPriceBook(SYMBOLS, ring_capacity=RING) as book:
            book.begin_epoch("tape")
            write(book, 1, RING + 10)
            for offset, data in scribbles:
                if offset + len(data) <= len(book._segment._bytes) - 64:
                    book._segment._bytes[offset + 64 : offset + 64 + len(data)] = data
            for work in (_assert_reader_survives, _assert_writer_survives):
                work(book)


def _assert_reader_survives(book: SharedPriceBook) -> None:
    for symbol in book.symbols:
        try:
            book.read(symbol)
        except PriceBookError as error:
            assert "damaged" in str(error)  # noqa: PT017
    book.resume_point()
    for reader in (book.reader(0), book.reader()):
        for _ in range(3):
            ticks = reader.read().ticks
            assert (ticks["symbol"] < len(book.symbols)).all()
            assert (ticks["symbol"] >= 0).all()
        with reader:
            reader.arm()


def _assert_writer_survives(book: SharedPriceBook) -> None:
    try:
        book.begin_epoch("next")
        book.update("AAPL", 2)
        write(book, 1, 30)
    except PriceBookError as error:
        assert "damaged" in str(error)  # noqa: PT017


PREAMBLE = """
import sys
from lib.price_book.book import SharedPriceBook
def nothing_is_tracked():
    from multiprocessing import resource_tracker
    return resource_tracker._resource_tracker._fd is None
"""


class TestTheEndOfAProcess:
    def test_that_attached_or_was_killed_removes_nothing_and_starts_no_tracker(self, name):
        done = run_python(
            PREAMBLE
            + "import os, signal\n"
            + "book = SharedPriceBook(['AAPL'], sys.argv[1]); book.update('AAPL', 1.5)\n"
            + "assert nothing_is_tracked()\n"
            + "os.kill(os.getpid(), signal.SIGKILL)",
            name,
        )
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        for _ in range(2):
            done = run_python(
                PREAMBLE
                + "book = SharedPriceBook.attach(sys.argv[1])\n"
                + "print(book.read('AAPL'), nothing_is_tracked())",
                name,
            )
            assert (done.stdout, done.stderr) == ("1.5 True\n", "")

    @pytest.mark.parametrize(
        "forgotten",
        [
            "reader = book.reader(); reader.arm()",
            "view = book._segment.ring[:5]",
            "import threading, time\n"
            "threading.Thread(target=lambda ring: time.sleep(60), "
            "args=(book._segment.ring,), daemon=True).start()",
            "book.self = book",
            "raise SystemExit(3)",
        ],
    )
    def test_that_forgot_to_close_is_quiet_and_removes_its_own_segment(self, forgotten):
        done = run_python(
            PREAMBLE
            + "book = SharedPriceBook(['AAPL']); book.update('AAPL', 1)\n"
            + "print(book.name)\n"
            + forgotten
        )
        assert done.stderr == ""
        assert files_of(done.stdout.strip()) == []

    def test_that_was_forked_leaves_its_parents_segment(self):
        with SharedPriceBook(SYMBOLS) as book:
            with forked(book.close) as child:
                assert child.join() == 0
            assert files_of(book.name) == [book.name]
        assert files_of(book.name) == []
