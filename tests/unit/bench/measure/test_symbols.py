"""As many symbols as are asked for, and the usual ones first."""

from __future__ import annotations

import pytest

from bench.measure.symbols import settings_for, symbols_of
from lib.settings import Settings, load_settings
from lib.stack.private_stack import to_toml


def test_as_many_as_usual_are_the_usual_ones() -> None:
    assert settings_for(4) == Settings()


@pytest.mark.parametrize("count", [1, 4, 5, 100, 5_000])
def test_they_are_so_many_and_all_different(count: int) -> None:
    assert len(set(symbols_of(count))) == count


def test_a_stack_can_run_with_five_thousand_of_them(tmp_path) -> None:
    (tmp_path / "trading.toml").write_text(to_toml(settings_for(5_000)))
    assert load_settings(tmp_path / "trading.toml").symbols == symbols_of(5_000)
