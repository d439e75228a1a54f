"""Where the broker's password comes from, and that nothing shows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import config

VARIABLE = "ANOMALYD_MQTT__PASSWORD"


def settings(*, username: str = "me", password_file: Path | str = "") -> config.Settings:
    environ = {"ANOMALYD_MQTT__USERNAME": username, "ANOMALYD_MQTT__PASSWORD_FILE": str(password_file)}
    return config.load(None, environ)


def password(of: config.Settings, environ: dict[str, str]) -> str | None:
    secret = config.read_password(of, environ)
    return None if secret is None else secret.value


def refusal(of: config.Settings, environ: dict[str, str]) -> str:
    with pytest.raises(config.ConfigError) as error:
        config.read_password(of, environ)
    return str(error.value)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "mqtt-password").write_text("from systemd\n", encoding="utf-8")
    return folder


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("from file\n", encoding="utf-8")
    return file


def test_systemds_credential_comes_first(credentials: Path, password_file: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), VARIABLE: "from environment"}
    assert password(settings(password_file=password_file), environ) == "from systemd"


def test_the_file_comes_second(tmp_path: Path, password_file: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), VARIABLE: "from environment"}
    assert password(settings(password_file=password_file), environ) == "from file"


@pytest.mark.parametrize("name", [VARIABLE, VARIABLE.lower()])
def test_the_environment_comes_last(tmp_path: Path, name: str) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), name: "from environment"}
    assert password(settings(), environ) == "from environment"


def test_no_password_is_none() -> None:
    assert password(settings(), {}) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a b ", "a b "),
        (b"ab\n", "ab"),
        (b"ab\r\n", "ab"),
        (b"ab\n\n", "ab\n"),
        ("schlüssel".encode(), "schlüssel"),
    ],
)
def test_only_the_last_line_end_is_no_part_of_a_password(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert password(settings(password_file=file), {}) == expected


def test_a_source_that_cannot_be_read_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    file = tmp_path / "none"
    assert refusal(settings(password_file=file), {VARIABLE: "from environment"}) == (
        f"mqtt.password_file: must be a readable file: no such file or directory, got {file}"
    )


def test_a_password_must_say_something(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\n")
    assert refusal(settings(password_file=file), {}) == "mqtt.password_file: must not be empty"
    assert refusal(settings(), {VARIABLE: ""}) == f"{VARIABLE}: must not be empty"


def test_a_password_must_be_text(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"hunter\xff")
    assert refusal(settings(password_file=file), {}) == "mqtt.password_file: must be UTF-8 text"


def test_a_password_needs_a_user(credentials: Path) -> None:
    assert refusal(settings(username=""), {"CREDENTIALS_DIRECTORY": str(credentials)}) == (
        "mqtt.username: must be set, a password comes from the credential mqtt-password"
    )


def test_a_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"ANOMALYD_MQTT__USERNAME": "me", VARIABLE: "hunter2"}
    loaded = config.load(None, environ)
    secret = config.read_password(loaded, environ)
    assert secret is not None
    logging.getLogger("test").warning("%s %r %s", secret, secret, {"password": secret})
    assert "hunter2" not in caplog.text + repr(loaded) + f"{secret}{[secret]}"
