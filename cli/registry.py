"""The commands of `gmner`, one line each; `register` adds a command from outside the package."""

from __future__ import annotations

from gmner.cli import (
    answer,
    app,
    check,
    compile,
    evaluate,
    export,
    extract,
    fetch,
    import_,
    merge,
    probe,
    quickstart,
    run,
    view,
    world,
)
from gmner.cli.command import Command
from gmner.signatures.registry import Registry, check_type

_BUILT_IN = (
    quickstart.COMMAND,
    world.COMMAND,
    fetch.COMMAND,
    probe.COMMAND,
    answer.COMMAND,
    app.COMMAND,
    extract.COMMAND,
    evaluate.COMMAND,
    view.COMMAND,
    export.COMMAND,
    import_.COMMAND,
    check.COMMAND,
    compile.COMMAND,
    run.COMMAND,
    merge.COMMAND,
)
COMMANDS: Registry[Command] = Registry("command", {command.name: command for command in _BUILT_IN})
"""The commands by name, in the order in which `gmner --help` lists them."""


def register(command: Command) -> Command:
    """Add a command to `gmner`.

    Args:
        command: The command. `gmner.cli.main.main` runs it, and `gmner --help` lists it last.

    Returns:
        The command itself.

    Raises:
        InputError: Not a `Command`, a name that is not a word, or another command has this name.

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
    check_type(command, Command)
    COMMANDS.add(command.name, command)
    return command


def unregister(name: str) -> None:
    """Remove a command that `register` added.

    Raises:
        InputError: No command with this name was registered.
    """
    COMMANDS.remove(name)
