"""How the client roles of a private stack get to connect through proxies."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.faults.proxy import client_settings, use_client_settings
from lib.settings import PROJECT_ROOT, load_settings
from lib.stack.private_stack import to_toml
from lib.stack.supervisord_configuration import parse_configuration, read_configuration


def test_the_clients_see_the_proxies_and_the_rest_as_the_servers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRADING_VAR_DIR", raising=False)
    settings = load_settings(PROJECT_ROOT / "etc" / "trading.toml")
    ports = {"price": 40001, "news": 40002, "orders": 40003}
    file = tmp_path / "clients.toml"
    file.write_text(to_toml(client_settings(settings, ports)))
    seen = load_settings(file)
    assert (seen.gateway.price_port, seen.gateway.news_port) == (40001, 40002)
    assert seen.order_manager.port == 40003
    ours = {"price": settings.gateway.price_port, "news": settings.gateway.news_port}
    assert client_settings(seen, {**ours, "orders": settings.order_manager.port}) == settings


def test_only_the_client_roles_get_the_clients_settings() -> None:
    parser = parse_configuration(read_configuration())
    use_client_settings(parser, Path("/a b/clients.toml"))
    environments = {
        section: parser[section]["environment"]
        for section in parser.sections()
        if "environment" in parser[section]
    }
    expected = 'TRADING_CONFIG="/a b/clients.toml"'
    assert environments == {"program:orderbook": expected, "program:strategy": expected}
