"""`anomalyd completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.options import unused_config_option


@click.command(short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@unused_config_option
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    Put this into ~/.bashrc:  eval "$(anomalyd completion bash)"
    """
    script = get_completion_class(shell)
    assert script is not None
    root = context.find_root().command
    click.echo(script(root, {}, "anomalyd", "_ANOMALYD_COMPLETE").source())
