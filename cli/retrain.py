"""`anomalyd retrain`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from cli.exits import CommandError, Exit
from cli.gathering import Gathered, gather
from cli.limits import limit_cpus, out_of_memory, within
from cli.options import config_option, json_option, load_settings, name_problem, need_trainer
from cli.progress import note
from cli.tables import print_lines
from cli.train import summary, summary_of, turn_of
from config import Settings
from config.quantities import format_duration
from daemon.clock import now
from detector.manifest import Asked
from registry.champions import Registry
from registry.ledger import Ledger
from registry.requests import By, Request, RequestFile
from registry.turn_lock import RetrainingError, TurnLock
from trainer.compositions import composed
from trainer.wording import counted, duration


def _names(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        problem = name_problem(name)
        if problem:
            raise click.BadParameter(problem)
    return names


ASKERS = click.Choice([by.value for by in By])
STDERR = os.dup(2)  # as it was at the start: while TensorFlow is loaded, what is said goes nowhere
MACHINE = "Whose model is trained again, any number of times.  [default: all]"


@click.command(short_help="One retraining turn from stored readings.")
@click.option(
    "--by", type=click.Choice([by.value for by in By]), default=By.CLI.value, help="Who asks.  [default: cli]"
)
@click.option("--reason", default="", metavar="TEXT", help="Why, for the records.")
@click.option("--machine", "machines", multiple=True, metavar="NAME", callback=_names, help=MACHINE)
@click.option("--shared", is_flag=True, help="The shared model, beside the machines that are named.")
@click.option("--own", is_flag=True, help="Make the machines that are named models of their own.")
@click.option("--wait", is_flag=True, help="Wait for another retraining to end.  [default: give up]")
@config_option
@json_option
def retrain(
    by: str,
    reason: str,
    machines: tuple[str, ...],
    config: Path | None,
    *,
    shared: bool,
    own: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """One retraining turn from the stored readings, less those in alert.

    Each champion gets a challenger fitted on what its machines sent lately; it takes over only if it
    passes the gate. The daemon calls this when a turn is due (retrain.every, max_age, on_drift). With
    --by file, what is asked for in the state directory's retrain.request is done, and every model trained
    again where there is no such file. Too few stored readings are no failure: the next turn may find more.
    """
    if own and (shared or not machines):
        raise click.UsageError("--own needs --machine, and goes without --shared")
    need_trainer("retrain")
    from daemon.opening import StoreError

    _, settings = load_settings(config)
    lines = (*machines, *((None,) if shared else ())) or None
    request = Request(By(by), reason, now(), lines, own=own)
    lock = TurnLock(settings.state_dir)
    try:
        lock.take(request, wait=wait)
    except RetrainingError as error:
        raise CommandError(Exit.BUSY, str(error)) from error
    file = RequestFile(settings.state_dir)
    turns: list[dict[str, Any]] = []
    try:
        limit_cpus(settings.retrain.max_cpus)
        for each in _requests(request, file):
            turns += taken(each, settings)
        if request.by is By.FILE:
            file.done()
        if not turns and not as_json:
            whose = f" of {', '.join(machines)}" if machines else ""
            click.echo(f"no reading{whose} is stored yet; the daemon stores them: anomalyd run")
    except MemoryError as error:
        raise CommandError(Exit.MEMORY, out_of_memory(settings.retrain.max_memory)) from error
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
    finally:  # what was promoted before an error serves already
        _print(turns, as_json=as_json)
        lock.release()


def _requests(request: Request, file: RequestFile) -> list[Request]:
    """What is to be done, the most urgent first."""
    if request.by is not By.FILE or request.machines is not None:
        return [request]
    requests, problems = file.take()
    for problem in problems:
        note(f"refused: {problem}")
    if requests or problems:
        return requests
    return [replace(request, by=By.SCHEDULE, reason=request.reason or "anomalyd-retrain was started")]


def taken(request: Request, settings: Settings) -> Iterator[dict[str, Any]]:
    """Takes the turns of a request, one after the other, and keeps books."""
    ledger = Ledger(settings.state_dir)
    every = settings.retrain.every
    for gathered in gather(settings, request):
        machine = gathered.machine
        started = time.monotonic()
        ledger.begin(machine, now())
        try:
            with within(settings.retrain, partial(_give_up, ledger, machine, started)):
                turn = _turn(gathered, settings, request)
        except (KeyboardInterrupt, click.Abort):
            ledger.stopped([machine])
            raise
        except BaseException as error:
            short = isinstance(error, MemoryError)
            why = out_of_memory(settings.retrain.max_memory) if short else str(error)
            took = time.monotonic() - started
            ledger.fail([machine], why or type(error).__name__, at=now(), took=took)
            raise
        took = time.monotonic() - started
        if every is not None and took > every.total_seconds():
            why = f"it took {duration(took)}, longer than retrain.every, {format_duration(every)}"
            ledger.fail([machine], why, at=now(), took=took)
        else:
            ledger.end(machine, took)
        yield {**turn, "asked": {"by": request.by, "reason": request.reason}, "seconds": round(took, 1)}


def _give_up(ledger: Ledger, machine: str | None, started: float, why: str, code: int) -> None:
    """Ends this process with some last words, whatever it is at."""
    try:
        ledger.fail([machine], why, at=now(), took=time.monotonic() - started)
        os.write(STDERR, f"anomalyd: {machine or 'shared'}: given up: {why}\n".encode())
    finally:
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)


def _print(turns: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(turns).decode())
        return
    for turn in turns:
        word = "promoted" if turn["promoted"] else "not promoted"
        click.echo(f"{turn['machine'] or 'shared'}: {word}: {turn['text']}")
        print_lines(composed(turn["composition"]))
        if turn.get("begun"):
            print_lines([("fitted", turn["begun"])])


def _turn(gathered: Gathered, settings: Settings, request: Request) -> dict[str, Any]:
    from trainer.composition import compose
    from trainer.turn_record import write_down_none
    from trainer.waiting import settle

    learned = compose(gathered.stored, gathered.champion, settings, gathered.remembered)
    machine, histories, few = gathered.machine, learned.histories, learned.few
    registry, moment = Registry(settings.state_dir), datetime.now(UTC)
    asked = Asked(request.by, request.reason)

    def without_bundle(reason: str, text: str) -> dict[str, Any]:
        return {
            "machine": machine,
            "promoted": False,
            "reason": reason,
            "text": text,
            "composition": learned.composition,
        }

    settled = settle(
        machine,
        learned,
        gathered.champion,
        settings=settings,
        registry=registry,
        now=moment,
        asked=asked,
        by_person=request.by.person,
    )
    if settled is not None:
        return summary_of(settled) | {"composition": learned.composition}
    if not histories:
        least, most = settings.retrain.min_readings, max(few.values())
        text = f"no machine has {least} readings to learn from (retrain.min_readings), but {most} at most"
        write_down_none(
            "too_few_readings",
            text,
            machine,
            learned,
            settings=settings,
            registry=registry,
            now=moment,
            asked=asked,
        )
        return without_bundle("too_few_readings", text)
    left_out = f", {len(few)} with too few readings left out" if few else ""
    rows, whose = counted(learned.composition.rows, "reading"), counted(len(histories), "machine")
    note(f"{machine or 'shared'}: {rows} of {whose}{left_out}")
    try:
        turn = turn_of(histories, _with_brief_report(settings), machine, ("store",), request, learned)
    except CommandError as error:
        if error.code is not Exit.DATA:
            raise
        return without_bundle("unusable_history", str(error))
    begun = turn.trained.manifest.model.begun
    return summary(turn) | {"composition": learned.composition, "begun": begun}


def _with_brief_report(settings: Settings) -> Settings:
    """A full one takes seconds, which a daemon beside machines should not spend unless it is asked to."""
    if settings.trainer.report != "auto":
        return settings
    return replace(settings, trainer=replace(settings.trainer, report="brief"))
