"""The key for secret inputs of a stack of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from flowyard.notify.secrets import split_secrets
from flowyard.secrets.sealing import read_keys
from flowyard.webhooks.standard import Standard
from flowyard_embedded.stack.keys import sealing_key, webhook_secret
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.services import Ports, Surroundings, our_services


def test_it_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = sealing_key(Place(tmp_path), {})
    assert file is not None
    made = file.read_text()
    assert len(read_keys(made.strip())) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert sealing_key(Place(tmp_path), {}) == file
    assert file.read_text() == made


@pytest.mark.parametrize("variable", ["FLOWYARD_SECRET_KEY", "FLOWYARD_SECRET_KEY_FILE", "FLOWYARD_DATABASE_URL"])
def test_none_is_made_where_there_is_another_or_others_share_the_database(tmp_path: Path, variable: str) -> None:
    assert sealing_key(Place(tmp_path), {variable: "postgresql://x"}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", [True, False])
def test_only_services_that_seal_or_open_get_the_sealing_key(tmp_path: Path, *, own: bool) -> None:
    file = tmp_path / "secret.key"
    environment = {} if own else {"FLOWYARD_SECRET_KEY_FILE": str(file)}
    around = Surroundings(
        tmp_path,
        Ports(gateway=1, dashboard=2, registry=3, executors=(4,)),
        lambda _: SecretStr("postgresql://x"),
        lambda _: SecretStr("nats://x"),
        environment,
        file if own else None,
    )
    key_files = {spec.name: spec.environment.get("FLOWYARD_SECRET_KEY_FILE") for spec in our_services(around)}
    assert key_files == {"executor-1": str(file), "gateway": str(file), "dashboard": str(file), "registry": None}


def test_the_secret_of_notifications_is_made_once_for_those_who_sign_or_promise_it(tmp_path: Path) -> None:
    file = webhook_secret(Place(tmp_path), {})
    assert file is not None
    made = file.read_text()
    assert split_secrets(made) == (made.strip(),)
    Standard((made.strip(),))
    assert file.stat().st_mode & 0o777 == 0o600
    assert webhook_secret(Place(tmp_path), {}) == file
    assert file.read_text() == made
    assert webhook_secret(Place(tmp_path), {"FLOWYARD_WEBHOOK_SECRET": "whsec_x"}) is None
    ports = Ports(gateway=1, dashboard=2, registry=3, executors=(4,))
    urls = lambda _: SecretStr("postgresql://x"), lambda _: SecretStr("nats://x")
    around = Surroundings(tmp_path, ports, *urls, {}, webhook_secret=file)
    files = {spec.name: spec.environment.get("FLOWYARD_WEBHOOK_SECRET_FILE") for spec in our_services(around)}
    assert files == {"executor-1": None, "gateway": str(file), "dashboard": None, "registry": str(file)}
    given = Surroundings(tmp_path, ports, *urls, {"FLOWYARD_WEBHOOK_SECRET": "whsec_x", "A_WEBHOOK_SECRET": "whsec_y"})
    for variable, readers in (("FLOWYARD_WEBHOOK_SECRET", set()), ("A_WEBHOOK_SECRET", {"executor-1"})):
        having = {spec.name for spec in our_services(given) if variable in spec.environment}
        assert having == {"gateway", "registry"} | readers
