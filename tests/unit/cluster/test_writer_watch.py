from lib.clock import SECOND_NS
from lib.cluster.writer_watch import LOOK_NS, WORD_NS, WriterWatch


def looks(watch: WriterWatch, first_ns: int, count: int, *, has_leader: bool = True) -> int:
    for number in range(count):
        watch.looked(first_ns + number * LOOK_NS, has_leader=has_leader)
    return first_ns + count * LOOK_NS


def test_silence_counts_only_while_the_stream_has_a_leader() -> None:
    watch = WriterWatch(3 * SECOND_NS, 0)
    end_ns = looks(watch, 0, 9)  # 2 s
    end_ns = looks(watch, end_ns, 100, has_leader=False)
    assert not watch.is_over()
    looks(watch, end_ns, 4)
    assert not watch.is_over()
    looks(watch, end_ns + SECOND_NS, 1)
    assert watch.is_over()


def test_a_word_begins_it_anew() -> None:
    watch = WriterWatch(3 * SECOND_NS, 0)
    end_ns = looks(watch, 0, 100)
    assert watch.is_over()
    watch.heard(end_ns)
    assert not watch.is_over()
    assert not watch.is_silent(end_ns + 2 * WORD_NS)
    assert watch.is_silent(end_ns + 2 * WORD_NS + 1)


def test_a_standby_that_slept_does_not_count_its_sleep() -> None:
    watch = WriterWatch(3 * SECOND_NS, 0)
    watch.looked(0, has_leader=True)
    watch.looked(60 * SECOND_NS, has_leader=True)
    assert not watch.is_over()
