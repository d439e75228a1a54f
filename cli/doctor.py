"""`anomalyd doctor`."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.exits import Exit
from cli.options import Duration, config_option, json_option
from cli.progress import doing
from cli.tables import WIDE

if TYPE_CHECKING:
    from daemon.doctor import Finding, Verdict

COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}
VERDICT, CHECK = 9, 16  # columns


@click.command(short_help="Look at all that the daemon needs, and say what to change.")
@config_option
@click.option(
    "--wait",
    type=Duration(),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for a first reading.",
)
@click.option(
    "--thorough", is_flag=True, help="Look through a large store, too, and try how much the broker keeps."
)
@json_option
def doctor(config: Path | None, *, wait: timedelta, thorough: bool, as_json: bool) -> int:
    """Look at all that the daemon needs: files, clock, broker, certificates, permissions, readings.

    It connects as the daemon would, under a client id of its own, beside a running daemon. It
    publishes one marked message on each topic of alerts, states, sensors and scores, for the machine
    anomalyd-doctor, and, where no reading comes, one on that of readings.

    Exits with 0 if nothing fails, 1 if something does, 69 if the broker cannot be reached, and 78 if
    the configuration is wrong.
    """
    from config import ConfigError, find
    from daemon.doctor import Finding, Verdict

    path = find(config, os.environ)
    found: list[Finding] = []
    try:
        for finding in _findings(path, wait=wait.total_seconds(), thorough=thorough):
            found.append(finding)
            if not as_json:
                _print(finding)
    except ConfigError as error:
        if not as_json:
            raise
        found += [Finding("configuration", Verdict.FAILURE, str(problem)) for problem in error.problems]
        code = Exit.CONFIG
    else:
        code = _code(found)
    counts = Counter(finding.verdict for finding in found)
    if as_json:
        answer = {"findings": found, "failures": counts[Verdict.FAILURE], "warnings": counts[Verdict.WARNING]}
        click.echo(msgspec.json.encode(answer).decode())
    else:
        click.echo(f"\n{_summary(counts)}")
    return code


def _findings(path: Path, *, wait: float, thorough: bool) -> Iterable[Finding]:
    """What is found, one by one; shows on stderr what is done meanwhile."""
    from config import load, read_password
    from daemon import doctor as examination

    settings = load(path, os.environ)
    password = read_password(settings, os.environ)
    yield examination.Finding("configuration", examination.Verdict.OK, f"{path}")
    with doing() as show:
        for step in examination.examine(settings, password, wait=wait, thorough=thorough):
            if isinstance(step, examination.Doing):
                show(step.what)
            else:
                show(None)
                yield step


def _code(found: Iterable[Finding]) -> Exit:
    from daemon.doctor import UNREACHED, Verdict

    failed = {finding.check for finding in found if finding.verdict is Verdict.FAILURE}
    if failed & {*UNREACHED}:
        return Exit.UNAVAILABLE
    return Exit.FAILED if failed else Exit.DONE


def _print(finding: Finding) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    indent = " " * (VERDICT + CHECK)
    found, change = _printable(finding.found), _printable(finding.change or "")
    verdict = click.style(f"{finding.verdict:<{VERDICT}}", fg=COLOURS[finding.verdict])
    (first, *rest) = textwrap.wrap(found, width - len(indent), break_on_hyphens=False)
    click.echo(f"{verdict}{finding.check:<{CHECK}}{first}")
    lines = [*rest]
    if change:
        lines += textwrap.wrap(
            change,
            width - len(indent),
            initial_indent="-> ",
            subsequent_indent="   ",
            break_on_hyphens=False,
        )
    for line in lines:
        click.echo(f"{indent}{line}")


def _printable(text: str) -> str:
    """Without what could command a terminal: parts of it come from the broker."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _summary(counts: Counter[Verdict]) -> str:
    from daemon.doctor import Verdict

    failures, warnings = counts[Verdict.FAILURE], counts[Verdict.WARNING]
    parts = [
        f"{number} {word}{'s' if number != 1 else ''}"
        for number, word in ((failures, "failure"), (warnings, "warning"))
        if number
    ]
    return f"{' and '.join(parts) or 'no problem found'}, {counts.total()} checks"
