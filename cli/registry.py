"""The commands of `gmner`, one line each; `register` adds a command from outside the package."""

from __future__ import annotations

from gmner.cli import check, compile, evaluate, export, extract, fetch, merge, quickstart, run, view, world
from gmner.cli.command import Command
from gmner.signatures.errors import InputError

_COMMANDS: dict[str, Command] = {}


def register(command: Command) -> Command:
    """Add a command to `gmner`.

    Args:
        command: The command. `gmner.cli.main.main` runs it, and `gmner --help` lists it last.

    Returns:
        The command itself.

    Raises:
        InputError: Another command has this name.

    Example:
        A file `count.py` that adds `gmner count POSTS`:

            import sys

            import gmner
            from gmner.cli.command import Command
            from gmner.cli.main import main
            from gmner.cli.registry import register

            def add_arguments(parser):
                parser.add_argument("posts", help="JSONL file of posts")

            def run(given):
                print(len(gmner.read_posts(given.posts)))

            register(Command("count", "count posts", "gmner count posts.jsonl", add_arguments, run))
            sys.exit(main())
    """
    if _COMMANDS.get(command.name, command) is not command:
        raise InputError("Another command has this name", received=command.name, remedy="Choose another name")
    _COMMANDS[command.name] = command
    return command


def commands() -> tuple[Command, ...]:
    """The registered commands, in the order in which `gmner --help` lists them."""
    return tuple(_COMMANDS.values())


def find_command(name: str) -> Command:
    """The command with this name.

    Raises:
        KeyError: There is none.
    """
    return _COMMANDS[name]


register(quickstart.COMMAND)
register(world.COMMAND)
register(fetch.COMMAND)
register(extract.COMMAND)
register(evaluate.COMMAND)
register(view.COMMAND)
register(export.COMMAND)
register(check.COMMAND)
register(compile.COMMAND)
register(run.COMMAND)
register(merge.COMMAND)
