"""Owns ``python -m cli``: the operator commands without the installed script, as ``up`` starts its children."""

import typer

from cli.commands import register

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
register(app)
app()
