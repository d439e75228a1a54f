"""`anomalyd demo`."""

from __future__ import annotations

import click

from cli.exits import Exit
from cli.options import need_trainer, unused_config_option


@click.command(short_help="Show everything at once, on a simulated pump.")
@click.option("--headless", is_flag=True, help="Plain lines instead of a live screen, for scripts.")
@click.option(
    "--seconds", type=click.IntRange(min=1), help="How long to stream, faster or slower.  [default: 50]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another pump.")
@unused_config_option
def demo(*, headless: bool, seconds: int | None, seed: int) -> int:
    """Show everything at once: a simulated pump, a broker, training, the daemon, faults, alerts.

    Exits with 0 only if the faults were alerted and the normal stretch was quiet. Nothing is left
    running and nothing is left on disk.
    """
    need_trainer("demo")
    import demo as show

    return Exit.DONE if show.run(seconds=seconds, headless=headless, seed=seed) == 0 else Exit.FAILED
