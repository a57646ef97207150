"""A private stack whose connections run through fault proxies, one for each stream.

Servers and clients read the ports from one settings file. So the client roles get their own file,
which differs in the ports only, through the `environment` of their programs in the private stack's
supervisord configuration. Everything else is the same as in any stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from chaos.faults.proxy import HOST, Proxy
from chaos.lab.figures import ROLE_CONNECTIONS
from chaos.lab.target import TargetStack
from lib.settings import Settings
from lib.stack.private_stack import to_toml
from lib.stack.supervisord_configuration import PROGRAM


@contextmanager
def proxied(target: TargetStack) -> Iterator[dict[str, Proxy]]:
    """Put a proxy into each connection of a private stack; yield the proxies by stream.

    The client roles are restarted for it. The proxies end with the block: the clients can then
    reach no server, and the stack should be ended. Raises TargetError.
    """
    assert target.private
    with ExitStack() as stack:
        proxies = {
            stream: stack.enter_context(Proxy(address))
            for stream, address in target.addresses().items()
        }
        ports = {stream: proxy.port for stream, proxy in proxies.items()}
        clients_file = target.var_dir / "clients.toml"
        clients_file.write_text(to_toml(client_settings(target.settings, ports)), encoding="utf-8")
        target.reconfigure(partial(use_client_settings, clients_file=clients_file))
        yield proxies


def client_settings(settings: Settings, ports: Mapping[str, int]) -> Settings:
    """Return the settings of the client roles: the same, with the proxies as servers."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        gateway=replace(
            settings.gateway, host=HOST, price_port=ports["price"], news_port=ports["news"]
        ),
        order_manager=replace(settings.order_manager, host=HOST, port=ports["orders"]),
    )


def use_client_settings(configuration: RawConfigParser, clients_file: Path) -> None:
    """Give the client roles a separate settings file in supervisord's configuration."""
    for role in {connection.client for connection in ROLE_CONNECTIONS}:
        configuration[f"{PROGRAM}{role}"]["environment"] = f'TRADING_CONFIG="{clients_file}"'
