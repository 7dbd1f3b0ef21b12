"""Owns the command ``kalshibook``: loads the commands that installed packages register; has none of its own yet.

A package offers commands by an entry point of the group ``kalshibook.commands``: a function that takes the
``typer.Typer`` and adds to it.
"""

from importlib.metadata import entry_points

import typer


def main() -> None:
    """Load the registered commands and run the one that the arguments name."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # with one command alone typer would drop its name
    for entry in sorted(entry_points(group="kalshibook.commands"), key=lambda e: e.name):
        entry.load()(app)
    app()
