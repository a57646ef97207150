"""The brokers' password: from a file of ours, closed to others; and never sent in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.cluster.credentials import connect_options
from lib.errors import CannotStartError
from lib.settings import ClusterSettings


def settings(credentials: Path | None, *servers: str) -> ClusterSettings:
    servers = servers or ("nats://a:4222",)
    return ClusterSettings(servers=servers, host="host-1", credentials=credentials)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(0o600)
    return path


def test_a_user_gets_answers_on_subjects_of_its_own(path: Path) -> None:
    path.write_text("market:s3cr:et\n")
    options = connect_options(settings(path))
    assert (options["user"], options["password"]) == ("market", "s3cr:et")
    assert options["inbox_prefix"] == "_INBOX.market"


@pytest.mark.parametrize(
    "content",
    [
        *("", "market", "market:", ":s3cret", "a:s3cret\nb:s3cret", "a.b:s3cret", "a:s3 cret"),
        "-----BEGIN NATS USER JWT-----\n",
        f"a:{'x' * 2000}",
    ],
)
def test_anything_else_is_refused_and_not_quoted(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(
        CannotStartError, match=r"^cluster\.credentials: .*USER:PASSWORD on one line"
    ) as error:
        connect_options(settings(path))
    assert "s3cret" not in str(error.value)


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    path.write_text("market:s3cret")
    path.chmod(0o640)
    with pytest.raises(CannotStartError, match=r"others may read it .*another password.*chmod 600"):
        connect_options(settings(path))


def test_a_missing_file_is_named_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match=r"is not there: make it, with .*USER:PASSWORD"):
        connect_options(settings(tmp_path / "none"))


def test_by_tls_nothing_is_said_before_the_handshake() -> None:
    assert "tls_handshake_first" not in connect_options(settings(None))
    assert connect_options(settings(None, "nats://a:4222", "tls://b:4222"))["tls_handshake_first"]
