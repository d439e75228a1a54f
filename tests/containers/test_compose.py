"""What compose.yaml and the Dockerfile name is there, and every container is locked down."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.service import ALIVE
from registry.requests import REQUEST

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_every_mounted_file_is_in_the_repository() -> None:
    sources = [mount.split(":")[0] for service in SERVICES.values() for mount in service["volumes"]]
    files = {source for source in sources if source.startswith(".")}

    assert files == {"./config/anomalyd.yaml", "./mosquitto/mosquitto.conf"}
    assert all((ROOT / file).is_file() for file in files)
    assert set(sources) - files == set(COMPOSE["volumes"])


def test_every_secret_is_declared_and_kept_out_of_git() -> None:
    used = [secret for service in SERVICES.values() for secret in service["secrets"]]
    names = {secret if isinstance(secret, str) else secret["source"] for secret in used}

    assert names == set(COMPOSE["secrets"])
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_change_nothing_but_its_volume(service: str) -> None:
    settings = SERVICES[service]

    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("target", ["daemon", "trainer"])
def test_an_image_is_built_from_the_stage_that_bears_its_name(target: str) -> None:
    assert SERVICES[target]["build"]["target"] == target
    assert re.search(rf"^FROM runtime AS {target}$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("service", ["trainer", "retrainer"])
def test_the_trainer_has_no_network(service: str) -> None:
    assert SERVICES[service]["network_mode"] == "none"


def test_a_request_of_the_daemon_is_answered_once(tmp_path: Path) -> None:
    service = SERVICES["retrainer"]
    (script,) = service["command"]
    assert service["entrypoint"] == ["sh", "-c"]
    assert COMPOSE["x-anomalyd"]["environment"]["ANOMALYD_RETRAIN__BY"] == "request"
    (tmp_path / "anomalyd").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "sleep").write_text("#!/bin/sh\necho >> slept && test $(wc -l < slept) -lt 4\n")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    (tmp_path / REQUEST).touch()
    done = subprocess.run(
        [*service["entrypoint"], script],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("retrain --by file\n" * 3, "")


@pytest.mark.parametrize(("age", "code"), [(0, 0), (25, 0), (60, 1), (None, 1)])
def test_a_container_is_healthy_while_the_daemon_shows_life(
    tmp_path: Path, age: int | None, code: int
) -> None:
    text = DOCKERFILE.replace("\\\n", "")
    command = json.loads(text[text.index("HEALTHCHECK") :].split("CMD", 1)[1].splitlines()[0])
    assert command[0] == "python"
    assert f"'/var/lib/anomalyd/{ALIVE}'" in command[2]
    file = tmp_path / ALIVE
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    command[2] = command[2].replace("/var/lib/anomalyd", str(tmp_path))
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, check=False)

    assert done.returncode == code


def test_no_image_runs_as_root() -> None:
    runtime = DOCKERFILE[DOCKERFILE.index(" AS runtime") :]

    assert re.findall(r"^USER (.*)$", runtime, re.MULTILINE) == ["10001:10001"]
    assert SERVICES["mosquitto"]["user"] == "1883:1883"


def test_the_daemon_image_is_made_without_tensorflow() -> None:
    lock = (ROOT / "requirements" / "daemon.txt").read_text(encoding="utf-8")
    packages = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))

    assert "ai-edge-litert" in packages
    assert not packages & {"tensorflow", "keras", "pandas", "scikit-learn"}
