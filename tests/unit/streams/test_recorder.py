"""What is recorded of a stream: every frame once, whatever becomes of its connections."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lib.prices import MAX_PRICE, PRICE_SCALE, format_price
from lib.streams import recorder as recorder_module
from lib.streams.recorder import PART_NS, SentimentRows, StreamRecorder, TickRows
from lib.streams.stream_client import Frames
from lib.tape_files.parts import PartsWriter, join_parts
from lib.tapes.tape import TapeError
from tests.links import Link

SYMBOLS = ("AAPL", "MSFT")


class Written:
    """`Rows` that keeps what it is given."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, list[int]]] = []
        self.fails = False

    def write(self, tape: str, batches: list[Frames]) -> int:
        if self.fails:
            raise TapeError("the disk is full")
        first, count = batches[0].first, sum(batch.count for batch in batches)
        self.parts.append((tape, list(range(first, first + count))))
        return count


class Owner:
    """Owns a recorder, its link and its time."""

    def __init__(self, stream: Any = "price") -> None:
        self.now_ns = 10**12
        self.rows = Written()
        self.recorder = StreamRecorder(stream, self.connect, self.rows, lambda: self.now_ns)

    def connect(self, **callbacks: Any) -> Link:
        self.link = Link(**callbacks)
        return self.link

    def join(self, answer: bytes = b"HELLO,1,tape,5*") -> None:
        self.link.open()
        self.link.data(answer)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_it_begins_with_what_is_played_next(owner):
    owner.link.open()
    assert owner.link.taken() == b"HELLO,1,0*"


def test_what_has_come_is_written_some_seconds_later(owner):
    owner.join()
    assert owner.recorder.next_deadline_ns() is None
    owner.link.data(b"BATCH,5,2,9*A,1*B,2*")
    due_ns = owner.recorder.next_deadline_ns()
    assert due_ns == owner.now_ns + PART_NS
    owner.now_ns += 1
    owner.link.data(b"BATCH,7,1,9*A,3*")
    assert owner.recorder.next_deadline_ns() == due_ns
    owner.recorder.on_time(due_ns)
    assert owner.rows.parts == [("tape", [5, 6, 7])]
    assert owner.recorder.recorded == 3
    assert owner.recorder.next_deadline_ns() is None


def test_much_is_written_at_once(owner, monkeypatch):
    monkeypatch.setattr(recorder_module, "PART_FRAMES", 3)
    owner.join()
    owner.link.data(b"BATCH,5,2,9*A,1*B,2*")
    assert owner.rows.parts == []
    owner.link.data(b"BATCH,7,2,9*A,3*A,4*")
    assert owner.rows.parts == [("tape", [5, 6, 7, 8])]


def test_after_a_cut_it_asks_for_what_it_needs_and_nothing_is_missed(owner):
    owner.join()
    owner.link.data(b"BATCH,5,2,9*A,1*B,2*")
    owner.link.taken()
    owner.link.lost("cut")
    owner.link.open()
    assert owner.link.taken() == b"HELLO,1,7,tape*"
    owner.link.data(b"HELLO,1,tape,7*BATCH,7,1,9*A,3*")
    owner.recorder.flush()
    assert [number for _, part in owner.rows.parts for number in part] == [5, 6, 7]
    assert owner.recorder.missed == 0


def test_what_is_gone_is_logged_by_number_and_counted(owner):
    owner.join()
    owner.link.data(b"BATCH,5,1,9*A,1*")
    owner.link.lost("cut")
    with capture_logs() as logs:
        owner.join(b"HELLO,1,tape,11*")
    (missed,) = [log for log in logs if log["event"] == "ticks_missed"]
    assert (missed["first"], missed["last"], missed["tape"]) == (6, 10, "tape")
    assert owner.recorder.missed == 5
    owner.link.data(b"BATCH,11,1,9*A,1*")
    owner.recorder.flush()
    assert owner.rows.parts == [("tape", [5]), ("tape", [11])]


def test_a_new_tape_is_recorded_from_its_beginning_under_its_name(owner):
    owner.join()
    owner.link.data(b"BATCH,5,1,9*A,1*")
    owner.link.lost("cut")
    owner.join(b"HELLO,1,next,1*BATCH,1,2,9*A,1*A,2*")
    owner.recorder.flush()
    assert owner.rows.parts == [("tape", [5]), ("next", [1, 2])]


def test_of_news_what_is_gone_is_no_tick():
    owner = Owner("news")
    owner.join()
    owner.link.lost("cut")
    with capture_logs() as logs:
        owner.join(b"HELLO,1,tape,8*")
    assert [log["event"] for log in logs] == ["connected"]
    assert owner.recorder.missed == 3


def test_a_part_that_cannot_be_written_ends_it(owner):
    owner.join()
    owner.link.data(b"BATCH,5,1,9*A,1*")
    owner.rows.fails = True
    with pytest.raises(TapeError):
        owner.recorder.on_time(owner.now_ns + PART_NS)


# Rows


def read(file) -> list[tuple]:
    """What is in a recording, times in microseconds."""
    query = (
        "SELECT * REPLACE (epoch_us(time) AS time, CAST(price AS VARCHAR) AS price) "
        "FROM read_parquet($1)"
    )
    if "news" in file.name:
        query = "SELECT * REPLACE (epoch_us(time) AS time) FROM read_parquet($1)"
    with duckdb.connect() as connection:
        return connection.execute(query, [str(file)]).fetchall()


def recorded(file, make_rows, *batches: Frames) -> list[tuple]:
    parts = PartsWriter(file)
    make_rows(parts).write("tape", list(batches))
    parts.close()
    join_parts(file)
    return read(file)


def test_a_tick_has_its_number_its_time_by_the_wall_clock_and_its_exact_price(tmp_path):
    ticks = recorded(
        tmp_path / "a.parquet",
        lambda parts: TickRows(parts, 10**18, SYMBOLS),
        Frames(5, 2, b"MSFT,172.53*AAPL,9000000000*", 2_000),
        Frames(7, 1, b"AAPL,0.00000001*", 3_999),
    )
    assert ticks == [
        (5, 10**15 + 2, "MSFT", "172.53000000", "tape"),
        (6, 10**15 + 2, "AAPL", "9000000000.00000000", "tape"),
        (7, 10**15 + 3, "AAPL", "0.00000001", "tape"),
    ]


@given(st.lists(st.integers(1, MAX_PRICE), min_size=1, max_size=50))
def test_every_price_comes_back_exactly(tmp_path_factory, prices):
    frames = b"".join(b"AAPL,%b*" % format_price(price).encode() for price in prices)
    ticks = recorded(
        tmp_path_factory.mktemp("t") / "a.parquet",
        lambda parts: TickRows(parts, 0, SYMBOLS),
        Frames(1, len(prices), frames, 0),
    )
    found = [int(whole) * PRICE_SCALE + int(decimals)
             for whole, decimals in (tick[3].split(".") for tick in ticks)]  # fmt: skip
    assert found == prices


def test_what_is_no_tick_of_a_configured_symbol_is_skipped_and_counted(tmp_path):
    parts = PartsWriter(tmp_path / "a.parquet")
    rows = TickRows(parts, 0, SYMBOLS)
    written = rows.write("tape", [Frames(1, 4, b"NVDA,1.5*AAPL,2*AAPL,x*MSFT,3*", 0)])
    assert (written, rows.skipped) == (2, 2)
    assert rows.first_skipped in (b"NVDA,1.5", b"AAPL,x")
    parts.close()
    join_parts(tmp_path / "a.parquet")
    assert [tick[:3:2] for tick in read(tmp_path / "a.parquet")] == [(2, "AAPL"), (4, "MSFT")]


def test_nothing_is_written_where_nothing_is_a_tick(tmp_path):
    rows = TickRows(PartsWriter(tmp_path / "a.parquet"), 0, SYMBOLS)
    assert rows.write("tape", [Frames(1, 1, b"NVDA,1.5*", 0)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_sentiment_has_its_number_and_its_time(tmp_path):
    news = recorded(
        tmp_path / "a-news.parquet",
        lambda parts: SentimentRows(parts, 0),
        Frames(5, 3, b"0*x*100*", 7_000),
    )
    assert news == [(5, 7, 0, "tape"), (7, 7, 100, "tape")]
