"""The store of prepared tapes: what is found again, what is not, and what is left behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.process.file_lock import LockHeldError, lock_file
from lib.process.run_identity import Run
from lib.tapes import store as store_module
from lib.tapes.prepared import PRICES, About, PreparedTape
from lib.tapes.recipe import NewsRecipe, Recipe, TickRecipe
from lib.tapes.store import KEPT_OUTCOMES, KEPT_TAPES, Refused, TapeStore
from lib.tapes.tape import TapeError
from tests.tapes import write_sentiments, write_ticks

RUN = Run(4711, 12345)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_text("a file")
    return path


@pytest.fixture
def store(tmp_path: Path) -> TapeStore:
    return TapeStore(tmp_path / "var")


@pytest.fixture
def recipe(source: Path) -> TickRecipe:
    return TickRecipe(path=str(source), symbols=("AAPL",))


def ticks(*prices: int) -> Callable[[Path], About]:
    return lambda directory: write_ticks(directory, prices)


def refuse(_directory: Path) -> About:
    raise TapeError("no tape")


def prepare(store: TapeStore, recipe: Recipe, *prices: int, in_use: tuple[str, ...] = ()) -> str:
    """Prepare ticks; return the name of the prepared tape."""
    made = store.prepare(recipe, ticks(*prices), RUN, in_use)
    assert isinstance(made, About)
    found = store.find(recipe)
    assert isinstance(found, PreparedTape)
    return found.directory.name


def prices(store: TapeStore, recipe: TickRecipe) -> list[int] | None:
    found = store.find(recipe)
    return found.read(1, 100)[1].tolist() if isinstance(found, PreparedTape) else None


def files(store: TapeStore) -> list[str]:
    return sorted(entry.name for entry in store.directory.iterdir())


def test_a_prepared_tape_is_found_for_its_recipe_alone(store: TapeStore, recipe: TickRecipe):
    assert store.find(recipe) is None
    name = prepare(store, recipe, 1, 2)
    assert prices(store, recipe) == [1, 2]
    assert files(TapeStore(store.directory.parent))[-1] == "lock"
    assert len(files(store)) == 3  # the tape, its outcome and the lock
    other = TickRecipe(path=recipe.path, symbols=("MSFT",))
    assert store.find(other) is None
    assert store.open(other, name) is None


def test_it_is_not_found_for_files_that_have_changed_but_still_opened_by_its_name(
    store: TapeStore, recipe: TickRecipe, source: Path
):
    name = prepare(store, recipe, 1, 2)
    assert store.is_of_present_files(recipe, name)
    before = source.stat()
    source.write_text("b file")  # as long as before, and with its old time
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find(recipe) is None
    assert not store.is_of_present_files(recipe, name)
    prepare(store, recipe, 3)
    assert prices(store, recipe) == [3]
    source.unlink()
    assert store.find(recipe) is None
    opened = store.open(recipe, name)
    assert opened
    assert opened.read(1, 9)[1].tolist() == [1, 2]


@pytest.mark.parametrize("query", ["SELECT * FROM 'PLACE'", 'FROM "PLACE"', "FROM 'DIR/s*.csv'"])
def test_a_query_depends_on_the_files_that_it_names(store: TapeStore, source: Path, query: str):
    sql = query.replace("PLACE", str(source)).replace("DIR", str(source.parent))
    recipe = TickRecipe(query=sql, symbols=("AAPL",))
    prepare(store, recipe, 1)
    assert prices(store, recipe) == [1]
    source.write_text("a longer file")
    assert prices(store, recipe) is None


def test_a_pattern_depends_on_each_of_its_files(store: TapeStore, source: Path):
    recipe = TickRecipe(path=str(source.parent / "*.csv"), symbols=("AAPL",))
    prepare(store, recipe, 1)
    assert prices(store, recipe) == [1]
    (source.parent / "another.csv").write_text("x")
    assert prices(store, recipe) is None


def test_a_refusal_is_found_like_a_tape_and_holds_for_the_files_as_they_were(
    store: TapeStore, recipe: TickRecipe, source: Path
):
    refused = store.prepare(recipe, refuse, RUN)
    assert refused == Refused(reason="no tape", run=RUN, lasts=True)
    assert store.find(recipe) == refused
    assert len(files(store)) == 2  # its outcome and the lock: nothing half made
    source.write_text("now it is one")
    assert store.find(recipe) is None
    prepare(store, recipe, 1)


def test_a_full_disk_is_a_refusal_that_does_not_last(store: TapeStore, recipe: TickRecipe):
    def fill_the_disk(directory: Path) -> About:
        raise OSError(errno.ENOSPC, "No space left on device", str(directory))

    refused = store.prepare(recipe, fill_the_disk, RUN)
    assert isinstance(refused, Refused)
    assert not refused.lasts
    assert "No space left on device" in refused.reason


def test_a_file_that_changes_while_it_is_read_is_refused(
    store: TapeStore, recipe: TickRecipe, source: Path
):
    def read(directory: Path) -> About:
        source.write_text("grows and grows")
        return write_ticks(directory, [1])

    refused = store.prepare(recipe, read, RUN)
    assert isinstance(refused, Refused)
    assert "changed while it was read" in refused.reason
    assert not refused.lasts
    source.write_text("has grown again")
    assert store.find(recipe) == refused


def test_a_damaged_tape_is_made_anew_in_its_place(store: TapeStore, recipe: TickRecipe):
    name = prepare(store, recipe, 1, 2)
    os.truncate(store.directory / name / PRICES, 8)
    assert store.find(recipe) is None
    assert prepare(store, recipe, 1, 2) == name


def test_what_a_killed_preparation_left_is_removed_by_the_next(
    store: TapeStore, recipe: TickRecipe
):
    def die(directory: Path) -> About:
        (directory / "scratch").mkdir()
        (directory / "scratch" / PRICES).write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prepare(recipe, die, RUN)
    assert ".preparing" in files(store)
    assert store.find(recipe) is None
    prepare(store, recipe, 1)
    assert not [name for name in files(store) if name.startswith(".")]


def test_what_is_discarded_leaves_nothing(store: TapeStore, recipe: TickRecipe):
    def stop(directory: Path) -> About:
        write_ticks(directory, [1])
        store.discard()  # as another thread would
        return write_ticks(directory, [1])

    with pytest.raises(FileNotFoundError):
        store.prepare(recipe, stop, RUN)
    assert files(store) == ["lock"]


def test_one_process_prepares_at_a_time(store: TapeStore, recipe: TickRecipe):
    prepare(store, recipe, 1)
    lock = lock_file(store.directory / "lock", "another")
    with pytest.raises(LockHeldError):
        store.prepare(recipe, ticks(2), RUN)
    os.close(lock)
    assert prices(store, recipe) == [1]


def test_the_tapes_used_least_recently_make_room_but_not_those_in_use(
    store: TapeStore, source: Path
):
    recipes = [TickRecipe(path=str(source), symbols=(f"S{n}",)) for n in range(KEPT_TAPES)]
    names = []
    for age, recipe in enumerate(recipes):
        names.append(prepare(store, recipe, age + 1, in_use=tuple(names[:1])))
        os.utime(store.directory / names[-1], (age, age))
    assert prices(store, recipes[1]) == [2]  # used just now
    last = TickRecipe(path=str(source), symbols=("LAST",))
    names.append(prepare(store, last, 99, in_use=(names[0],)))
    gone = set(names) - set(files(store))
    assert gone == {names[2]}


def test_the_outcomes_that_are_kept_are_bounded(store: TapeStore, source: Path):
    for number in range(KEPT_OUTCOMES + 3):
        recipe = TickRecipe(path=str(source), symbols=(f"S{number}",))
        store.prepare(recipe, refuse, RUN)
    assert len([name for name in files(store) if name.endswith(".json")]) <= KEPT_OUTCOMES
    assert store.find(recipe)


def test_after_a_reboot_or_with_other_code_a_tape_is_prepared_anew(
    store: TapeStore, recipe: TickRecipe, monkeypatch: pytest.MonkeyPatch
):
    prepare(store, recipe, 1)
    monkeypatch.setattr(store_module, "_origin", lambda: "another boot")
    assert store.find(recipe) is None


def test_sentiments_and_ticks_of_one_file_are_two_tapes(
    store: TapeStore, recipe: TickRecipe, source: Path
):
    news = NewsRecipe(path=str(source))
    prepare(store, recipe, 1)
    store.prepare(news, lambda directory: write_sentiments(directory, [80]), RUN)
    found = store.find(news)
    assert found
    assert not isinstance(found, Refused)
    assert found.read(1, 2) == [80]
    assert prices(store, recipe) == [1]
