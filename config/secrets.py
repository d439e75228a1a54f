"""Where the broker's password comes from: a credential, a file or the environment, never the YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.environment import PASSWORD
from config.problems import ConfigError, Problem
from config.settings import Settings

CREDENTIALS = "CREDENTIALS_DIRECTORY"  # set by systemd for LoadCredential=
CREDENTIAL = "mqtt-password"


class Secret:
    """A text that no log and no traceback shows."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret('…')"


def read_password(settings: Settings, environ: Mapping[str, str]) -> Secret | None:
    """Reads the broker's password: systemd's credential, else `mqtt.password_file`, else the environment.

    Raises:
        ConfigError: If the source that comes first cannot be read or is empty, or there is no username.
    """
    folder = environ.get(CREDENTIALS)
    credential = Path(folder, CREDENTIAL) if folder else None
    if credential is not None and credential.exists():
        source, password = f"the credential {CREDENTIAL}", _read(credential, f"${CREDENTIALS}/{CREDENTIAL}")
    elif settings.mqtt.password_file is not None:
        source, password = "mqtt.password_file", _read(settings.mqtt.password_file, "mqtt.password_file")
    else:
        found = [text for name, text in environ.items() if name.upper() == PASSWORD]
        if not found:
            return None
        source, password = PASSWORD, found[0]
    if not password:
        raise ConfigError((Problem(source, "must not be empty"),))
    if settings.mqtt.username is None:
        raise ConfigError((Problem("mqtt.username", f"must be set, a password comes from {source}"),))
    return Secret(password)


def _read(file: Path, where: str) -> str:
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(
            (Problem(where, "must be UTF-8 text"),)
        ) from None  # the cause would show bytes of it
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError((Problem(where, f"must be a readable file: {reason}", value=str(file)),)) from error
