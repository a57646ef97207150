"""Loading the class that the settings name: what is refused, and what it is found to take."""

from __future__ import annotations

import sys

import pytest

from lib.settings import SettingsError, StrategySettings
from lib.signals import MovingAverageAndNews
from lib.trading.signal_loading import load_signal_class, takes_batches


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported; return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def _module(text: str) -> str:
        name = f"a_users_signal_{len(names)}"
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        return name

    yield _module
    for name in names:
        sys.modules.pop(name, None)


def refusal(name: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_signal_class(name)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def test_a_class_of_the_users_own_or_the_default_is_loaded(module):
    name = module("class Mine:\n    def on_tick(self, symbol, price, sentiment):\n        pass\n")
    assert load_signal_class(f"{name}:Mine").__name__ == "Mine"
    assert load_signal_class(StrategySettings().signal_class) is MovingAverageAndNews


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lib.nothing:Signal", "No module named 'lib.nothing'"),
        ("lib.signals:Nothing", "has no attribute 'Nothing'"),
    ],
)
def test_a_module_or_class_that_does_not_exist_is_named(name, said):
    assert said in refusal(name)


@pytest.mark.parametrize("name", ["lib.no:A", "lib.signals:Any"])
def test_a_refusal_names_the_settings_file_and_the_table_of_the_strategy(name, monkeypatch):
    for file in ("/there/mine.toml", ""):
        monkeypatch.setenv("TRADING_CONFIG", file)
        with pytest.raises(SettingsError) as caught:
            load_signal_class(name, "strategies.second.class")
        named = f"{file or 'etc/trading.toml'}: strategies.second.class: "
        assert str(caught.value).startswith(named)


@pytest.mark.parametrize(
    "source",
    [
        "mine = 7",
        "class mine:\n    pass",
        "class mine:\n    on_tick = 7",
        "class Mine:\n    def on_tick(self, *_):\n        pass\n\nmine = Mine()",
    ],
    ids=["no class", "no on_tick", "no method", "an object"],
)
def test_what_is_no_class_with_on_tick_is_named(module, source):
    name = f"{module(source)}:mine"
    said = f"strategy.class: {name} must be a class with an on_tick method"
    assert refusal(name).endswith(said)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\nraise RuntimeError('two\\nlines')", "RuntimeError: two\\nlines"),
        ("\ndef on_tick(self:\n", "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit('no')\n", "SystemExit: no"),
        ("import json\njson.loads('{')\n", "JSONDecodeError"),
        ("\nimport nothing.at_all\n", "No module named 'nothing'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_in_one_line_with_the_place(module, source, said):
    name = module(source)
    line = refusal(f"{name}:Mine")
    assert said in line
    assert f"{name}.py, line 2" in line


def test_a_derived_signal_that_changes_on_tick_alone_is_given_no_batches():
    class Derived(MovingAverageAndNews):
        def on_tick(self, symbol, price, sentiment):
            return None

    class DerivedBoth(Derived):
        on_tick = Derived.on_tick
        on_batch = MovingAverageAndNews.on_batch

    assert takes_batches(MovingAverageAndNews)
    assert takes_batches(DerivedBoth)
    assert not takes_batches(Derived)
