"""Every file in `bad/` is refused with exactly the text beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import config

BAD = Path(__file__).parent / "bad"
FILES = sorted(BAD.glob("*.yaml"), key=lambda file: file.stem)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bad_file_is_refused_with_the_message_beside_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(config.ConfigError) as refusal:
        config.load(Path(file.name), {})
    assert str(refusal.value) + "\n" == file.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_shows_a_password(file: Path) -> None:
    assert "hunter2" not in file.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_message_belongs_to_a_file() -> None:
    assert {file.stem for file in BAD.glob("*.txt")} == {file.stem for file in FILES}
