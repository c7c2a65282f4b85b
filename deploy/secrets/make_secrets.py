#!/usr/local/bin/python
"""Makes the secrets of a stack, each in a file that only its reader can read. Existing secrets stay.

Runs as root in a container without a network, before all others. Users may set a secret themselves: by a file of its
name in GIVEN, or by an environment variable, FLOWYARD_ and its name in capitals. Their value replaces a generated one.
"""

from __future__ import annotations

import base64
import difflib
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from flowyard.access import KEY_RANDOM, new_key, parse_key

HOME = Path("/run/flowyard")
GIVEN = Path("/given")
VOLUMES = Path("/volumes")
"""Volumes whose owner is set here; each is named like its user."""

# The user ids of the Dockerfile and of third-party images.
UIDS = {
    "registry": 10001,
    "executor": 10002,
    "gateway": 10003,
    "dashboard": 10004,
    "cli": 10005,
    "nats": 10006,
    "mlflow": 10007,
    "ollama": 10008,
    "sandbox": 10009,
    "postgres": 999,
    "prometheus": 65534,
    "grafana": 472,
}
BUS = ("registry", "executor", "gateway", "dashboard")
SANDBOX = "sandbox"
"""It has a NATS user, and no database."""
READER = "reader"
"""The NATS user for programs that read public events."""
SENDER = "sender"
"""The NATS user for programs that send messages and requests that start runs."""
BUS_USERS = (*BUS, SANDBOX, READER, SENDER)
SECRET_INPUTS = ("executor", "gateway", "dashboard")
NOTIFIERS = ("registry", "gateway", "cli")
PASSWORDS = (
    "postgres_password",
    "postgres_owner_password",
    *(f"postgres_{service}_password" for service in BUS),
    "postgres_mlflow_password",
    *(f"nats_{user}_password" for user in BUS_USERS),
    "grafana_password",
)
KEYS = ("admin_key", "prometheus_key")
# A database or an input that was made with the old value can't be opened with a new one.
IRREPLACEABLE = ("postgres_password", "secret_key")


def main() -> None:
    refuse_unknown_files()
    HOME.chmod(0o755)
    kept = HOME / "made"
    kept.mkdir(mode=0o700, exist_ok=True)
    values = {name: find(kept, name, password) for name in PASSWORDS}
    values |= {name: find(kept, name, api_key) for name in KEYS}
    values["secret_key"] = find(kept, "secret_key", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
    values["webhook_secret"] = find(kept, "webhook_secret", webhook_secret)
    check(values)
    for name in IRREPLACEABLE:
        keep_before(kept / name, values[name])
    for name, value in values.items():
        write(kept / name, value)
    for reader, uid in UIDS.items():
        hand_over(reader, uid, files_of(reader, values))
    for volume in VOLUMES.iterdir():
        os.chown(volume, UIDS[volume.name], UIDS[volume.name])


def refuse_unknown_files() -> None:
    """Without this, a misspelled name would silently lead to a generated secret."""
    known = [*PASSWORDS, *KEYS, "secret_key", "webhook_secret"]
    for file in sorted(GIVEN.iterdir()) if GIVEN.is_dir() else ():
        if file.name not in known and file.name != "README.md" and not file.name.startswith("."):
            near = difflib.get_close_matches(file.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            sys.exit(f"{file.name} in deploy/secrets/own is no secret ({hint})")


def find(kept: Path, name: str, make: Callable[[], str]) -> str:
    file = kept / name
    return given(name) or (file.read_text().strip() if file.exists() else "") or make()


def given(name: str) -> str:
    """The value that the user has set; the file goes first. Empty if neither the file nor the variable has one."""
    try:
        # Some editors of Windows begin a file with a mark.
        text = (GIVEN / name).read_text(encoding="utf-8-sig").strip() if (GIVEN / name).exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{name} in deploy/secrets/own can't be read as a text in UTF-8: {error}")
    return text or os.environ.get(f"FLOWYARD_{name.upper()}", "").strip()


def password() -> str:
    return secrets.token_urlsafe(24)


def api_key() -> str:
    return new_key(secrets.token_bytes(KEY_RANDOM)).text


def webhook_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def check(values: dict[str, str]) -> None:
    """Exits with a message if a value has a wrong form: later, its effect would be hard to understand."""
    # Passwords are parts of URLs and SQL statements, without escapes.
    rules = [(name, is_plain, "8 to 200 letters, digits, - and _, and nothing else") for name in PASSWORDS]
    rules += [(name, is_key, "an API key, which looks like fy_abcdefgh_…") for name in KEYS]
    rules.append(("secret_key", is_secret_key, "32 bytes in base64, as of `openssl rand -base64 32`"))
    rules.append(("webhook_secret", is_webhook_secret, "whsec_ and 24 or more bytes in base64; several, with commas"))
    wrong = [f"{name} should be {what}" for name, is_right, what in rules if not is_right(values[name])]
    if wrong:
        sys.exit("\n".join(wrong))


def is_plain(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{8,200}", text) is not None


def is_key(text: str) -> bool:
    return parse_key(text) is not None


def is_secret_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def is_webhook_secret(text: str) -> bool:
    """Private keys for signatures by Ed25519 are allowed, too."""
    try:
        keys = [
            base64.b64decode(re.fullmatch(r"wh(?:sec|sk)_(.+)", each)[1], validate=True) for each in text.split(",")
        ]
    except (TypeError, ValueError):
        return False
    return all(len(key) >= 24 for key in keys)


def files_of(reader: str, values: dict[str, str]) -> dict[str, str]:
    """The files of one reader: text by name."""
    files: dict[str, str] = {}
    if reader in BUS:
        files["database_url"] = database_url(f"flowyard_{reader}", values[f"postgres_{reader}_password"], "flowyard")
    if reader in (*BUS, SANDBOX):
        files["nats_url"] = f"nats://{reader}:{values[f'nats_{reader}_password']}@nats:4222"
    if reader in SECRET_INPUTS:
        files["secret_key"] = values["secret_key"]
    if reader in NOTIFIERS:
        files["webhook_secret"] = values["webhook_secret"]
    match reader:
        case "cli":
            files["database_url"] = database_url("flowyard_owner", values["postgres_owner_password"], "flowyard")
            files["admin_key"] = values["admin_key"]
            files["events_url"] = f"nats://{READER}:{values[f'nats_{READER}_password']}@nats:4222"
            files["messages_url"] = f"nats://{SENDER}:{values[f'nats_{SENDER}_password']}@nats:4222"
            # <name>.<scope>: what `flowyard migrate` puts into the database.
            files["keys/admin.admin"] = values["admin_key"]
            files["keys/prometheus.read"] = values["prometheus_key"]
        case "nats":
            lines = [f'{user}_password = "{values[f"nats_{user}_password"]}"' for user in BUS_USERS]
            files["passwords.conf"] = "\n".join(lines)
        case "postgres":
            names = ("postgres", "postgres_owner", "postgres_mlflow", *(f"postgres_{service}" for service in BUS))
            files |= {f"{name}_password": values[f"{name}_password"] for name in names}
        case "mlflow":
            files["database_url"] = database_url("mlflow", values["postgres_mlflow_password"], "mlflow", "+psycopg")
        case "prometheus":
            files["key"] = values["prometheus_key"]
        case "grafana":
            files["password"] = values["grafana_password"]
    return files


def database_url(user: str, password: str, database: str, driver: str = "") -> str:
    return f"postgresql{driver}://{user}:{password}@postgres:5432/{database}"


def hand_over(reader: str, uid: int, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = HOME / reader / name
        for folder in (HOME / reader, file.parent):
            folder.mkdir(mode=0o500, exist_ok=True)
            os.chown(folder, uid, uid)
        write(file, text)
        os.chown(file, uid, uid)


def keep_before(file: Path, text: str) -> None:
    """Keeps the replaced value, so that a wrong value that was set by mistake doesn't destroy the right one."""
    if file.exists() and (old := file.read_text().strip()) != text:
        before = file.with_name(f"{file.name}.before")
        sys.stderr.write(f"{file.name} is another one now; the one before is the last line of {before}\n")
        earlier = before.read_text().split() if before.exists() else []
        write(before, "\n".join([*(line for line in earlier if line != old), old]))


def write(file: Path, text: str) -> None:
    """Writes the file atomically, and only if the text is different."""
    if file.exists() and file.read_text() == f"{text}\n":
        return
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as out:
        out.write(f"{text}\n")
    new.replace(file)


main()
