"""The settings of a private stack; that it ends, and what it says when it cannot start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lib.settings import AlertsSettings, ClusterSettings, Settings, load_settings
from lib.stack.private_stack import (
    PrivateStackError,
    private_settings,
    start_private_stack,
    to_toml,
)

replace = msgspec.structs.replace
GATEWAY, STRATEGY = Settings().gateway, Settings().strategy


@pytest.mark.parametrize(
    "settings",
    [
        Settings(symbols=("A", 'B"\\'), var_dir=Path("/tmp/var")),
        Settings(strategies={"a.third": replace(STRATEGY, client_id="other", long_window=60)}),
        Settings(gateway=replace(GATEWAY, source="file", path=Path(__file__))),
        Settings(cluster=ClusterSettings(servers=("nats://a:4222", "tls://[::1]"), host="h-1")),
    ],
    ids=["odd symbols", "further strategies", "a tape", "a cluster"],
)
def test_settings_written_as_a_file_are_read_as_the_same(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "trading.toml").write_text(to_toml(settings))
    assert load_settings(tmp_path / "trading.toml") == settings


def test_a_private_stack_shares_no_port_name_or_directory(tmp_path: Path) -> None:
    public = Settings()
    private = private_settings(public, tmp_path, "mine-")
    ports = [
        (s.gateway.price_port, s.gateway.news_port, s.order_manager.port, s.dashboard.port)
        for s in (public, private)
    ]
    assert len({*ports[0], *ports[1]}) == 8
    assert private.price_book.name == f"mine-{tmp_path.name}"
    assert private.var_dir.parent == tmp_path
    assert private.strategy == public.strategy
    assert private.gateway.rate == public.gateway.rate


def test_a_private_stack_calls_nobody(tmp_path: Path) -> None:
    public = Settings(alerts=AlertsSettings(command="mail root"))
    assert private_settings(public, tmp_path, "mine-").alerts.command == ""


def test_what_cannot_be_started_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    parent = tmp_path / "a" / "directory ;whose name supervisord cannot take"
    with pytest.raises(PrivateStackError, match="supervisord cannot take a path"):
        start_private_stack(Settings(), parent, "tw-test-")
    assert list(parent.iterdir()) == []
