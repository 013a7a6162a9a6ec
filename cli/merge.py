"""`gmner merge`: a bundle's weights as one checkpoint."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gmner.cli.command import Command
from gmner.cli.options import add_output
from gmner.cli.printing import print_message
from gmner.data.files.outputs import check_checkpoint_place


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner merge`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="saved bundle: a folder or a Hub id")
    add_output(parser, "DIR", "new or empty folder to save the checkpoint to")


def run(given: Namespace) -> None:
    """Save the merged checkpoint."""
    from gmner.programs.bundle import load

    check_checkpoint_place(given.output, overwrite=given.overwrite)
    load(given.bundle).save_merged(given.output, overwrite=given.overwrite)
    print_message(f"Saved the checkpoint to {given.output}. Serve it with: vllm serve {given.output}")


COMMAND = Command(
    "merge",
    "merge a bundle's adapter into its weights and save a checkpoint that vLLM can load",
    "gmner merge mcr-bundle -o mcr-merged",
    add_arguments,
    run,
)
