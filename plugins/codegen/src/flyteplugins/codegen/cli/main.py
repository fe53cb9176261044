"""The command `codegen`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import rich_click as click

from flyteplugins.codegen.cli.console import FAILED, WRONG_USAGE, Screen
from flyteplugins.codegen.core.errors import CodegenError, UserError

_FOLDER = click.Path(file_okay=False, path_type=Path)
_NEW_FOLDER: Final = Path("generation")


class Commands(click.RichGroup):
    """The group; errors of ours end a command with a message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        # A group in a group has its parent's; as `flyte codegen` the context above has an object of Flyte's.
        ctx.obj = ctx.find_object(Screen) or Screen(as_json=False)
        if "LOG_LEVEL" not in os.environ:
            # What fails is told once, by the command; Flyte would show it with its traceback as well.
            logging.getLogger("flyte").setLevel(logging.CRITICAL)
        try:
            return super().invoke(ctx)
        except UserError as error:
            ctx.obj.fail(error, WRONG_USAGE)
        except CodegenError as error:
            ctx.obj.fail(error, FAILED)


def _set_json(ctx: click.Context, _: click.Parameter, chosen: bool) -> None:
    ctx.ensure_object(Screen).as_json = chosen


_json = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    # Before the others, so that their errors are told as a document too.
    is_eager=True,
    callback=_set_json,
    help="One JSON document on standard output and nothing else; progress goes to standard error.",
)
_model_options: tuple[Callable[[Any], Any], ...] = (
    click.option("--api-base", metavar="URL", help="Address of an OpenAI-compatible server."),
    click.option("--api-key", metavar="NAME", help="Name of the environment variable that holds the key."),
)
_review: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--review",
        multiple=True,
        metavar="KIND",
        help="What you approve first: plan, code or packages. Asked in the terminal.",
    ),
    click.option("--review-timeout", type=float, metavar="SECONDS", help="How long you may take for each."),
    click.option("--review-default", metavar="WHAT", help="What holds then: reject, which ends it, or approve."),
)
_sandbox = click.option(
    "--sandbox", default="auto", show_default=True, help="Where code runs: auto, bubblewrap, docker or process."
)


def _with(options: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def apply(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flyteplugins-codegen", prog_name="codegen")
def main() -> None:
    """From a request in plain language and sample data to tested Python.

    Exit status: 0 done, 1 the generation, the run or the tests failed, 2 wrong usage.
    """


@main.command()
@click.argument("prompt")
@click.option("--sample", "samples", multiple=True, metavar="NAME=PATH", help="Sample data; becomes a File input.")
@click.option("--input", "inputs", multiple=True, metavar="NAME:TYPE", help="An input without a sample.")
@click.option("--output", "outputs", multiple=True, metavar="NAME:TYPE", help="An output, in this order.")
@click.option("--constraint", "constraints", multiple=True, metavar="RULE", help="A rule that the code must respect.")
@click.option("--example", "examples", multiple=True, metavar="NAME=VALUE", help="A value for an --input.")
@click.option(
    "--schema-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text about formats and target structures.",
)
@click.option("--model", default="gpt-4.1", show_default=True, help="Model as litellm names it, or replay:FILE.")
@_with(_model_options)
@click.option(
    "--fallback-model", "fallback_models", multiple=True, metavar="MODEL", help="Asked where the one before fails."
)
@click.option("--backend", default="litellm", show_default=True, help="How the code comes about.")
@click.option("--max-iterations", type=int, default=10, show_default=True, help="Attempts at most.")
@click.option("--max-calls", type=int, help="Model calls at most.")
@click.option("--max-tokens", type=int, help="Tokens at most, in and out together.")
@click.option("--max-seconds", type=float, help="Wall time at most.")
@click.option("--max-usd", type=float, help="US dollars at most, where the price of the model is known.")
@click.option("--timeout", type=int, help="Seconds for each check, test run and run of the code.")
@click.option("--skip-tests", is_flag=True, help="Neither write nor run tests; the code is built and not run.")
@_with(_review)
@_sandbox
@click.option("--base-package", "base_packages", multiple=True, metavar="NAME", help="A package to install always.")
@click.option(
    "--sample-privacy",
    default="rows",
    show_default=True,
    help="rows: example rows go to the model; schema: no value of the data does.",
)
@click.option(
    "--max-sample-rows", type=int, default=100, show_default=True, help="Rows that the model is shown at most."
)
@click.option("--cache", default="auto", show_default=True, help="auto, override or disable.")
@click.option(
    "--store", metavar="ADDRESS", help="Where the record is shared: a folder, or s3://..., gs://..., abfs://..."
)
@click.option("--out", type=_FOLDER, default=_NEW_FOLDER, show_default=True, help="Folder of the saved generation.")
@click.option("--no-run", is_flag=True, help="Do not run the code on the samples in the end.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent and what it may cost; call nothing.")
@_json
@click.pass_obj
def generate(screen: Screen, /, **chosen: Any) -> None:
    """Generate code for PROMPT, test it, and save it in a folder."""
    from flyteplugins.codegen.cli.generate import generate as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--out", type=_FOLDER, default=Path(), help="Folder for outputs that are files; this one if not given.")
@click.option("--timeout", type=int, help="Time limit in seconds; none if not given.")
@click.option("--sandbox", help="Where the code runs; as it was generated if not given.")
@click.option("--cache", help="auto, override or disable; as it was generated if not given.")
@_json
@click.pass_obj
def run(screen: Screen, /, **chosen: Any) -> None:
    """Run the saved generation in FOLDER; samples are the defaults of its inputs."""
    from flyteplugins.codegen.cli.saved import run as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option("--sandbox", help="Where the tests run; as the code was generated if not given.")
@_json
@click.pass_obj
def test(screen: Screen, /, **chosen: Any) -> None:
    """Run the tests of the saved generation in FOLDER again, on the code as it is there now."""
    from flyteplugins.codegen.cli.saved import test as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.argument("prompt")
@click.option("--model", help="Model as litellm names it, or replay:FILE; the one that generated it if not given.")
@_with(_model_options)
@click.option("--max-iterations", type=int, help="Attempts at most; as it was generated if not given.")
@click.option("--max-calls", type=int, help="Model calls at most.")
@click.option("--max-tokens", "max_tokens_total", type=int, help="Tokens at most, in and out together.")
@click.option("--max-seconds", type=float, help="Wall time at most.")
@click.option("--timeout", type=int, help="Seconds for each check, test run and run of the code.")
@click.option("--sandbox", help="Where the code runs; as it was generated if not given.")
@_with(_review)
@click.option("--no-review", is_flag=True, help="Approve nothing, though the generation was approved.")
@click.option("--cache", help="auto, override or disable; as it was generated if not given.")
@click.option("--out", type=_FOLDER, help="Folder for the new version; in place, with the old one kept, if not given.")
@click.option("--no-run", is_flag=True, help="Do not run the code on the samples in the end.")
@_json
@click.pass_obj
def revise(screen: Screen, /, **chosen: Any) -> None:
    """Change the saved generation in FOLDER by a follow-up request, PROMPT.

    The tests that still hold are kept; which do not, and why, is told. The version before goes to FOLDER/revisions.
    """
    from flyteplugins.codegen.cli.revise import revise as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option("--tests", is_flag=True, help="Open the tests instead of the code.")
@click.option("--no-editor", is_flag=True, help="Open nothing: check what was edited already.")
@click.option("--sandbox", help="Where the code runs; as it was generated if not given.")
@click.option("--no-run", is_flag=True, help="Do not run the code on the samples in the end.")
@_json
@click.pass_obj
def edit(screen: Screen, /, **chosen: Any) -> None:
    """Open the code in FOLDER in $VISUAL or $EDITOR, check what you made of it, and save it with its receipt.

    No model is asked. The version before goes to FOLDER/revisions. Exit status 1 says that yours does not pass.
    """
    from flyteplugins.codegen.cli.edit import edit as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--html", is_flag=True, help="Write all of it as one HTML page, report.html in FOLDER, and print its path."
)
@click.option("--open", "opens", is_flag=True, help="As --html, and open the page.")
@_json
@click.pass_obj
def show(screen: Screen, /, **chosen: Any) -> None:
    """Show what the saved generation in FOLDER is: its inputs and outputs, and its receipt."""
    from flyteplugins.codegen.cli.saved import show as command

    command(screen, **chosen)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--to", type=click.Choice(["flyte", "flytekit", "script"]), required=True, help="What it is to be a part of."
)
@click.option("--out", type=_FOLDER, default=Path("exported"), show_default=True, help="Folder for the module.")
@click.option("--force", is_flag=True, help="Replace files that were changed since they were exported.")
@_json
@click.pass_obj
def export(screen: Screen, /, **chosen: Any) -> None:
    """Write the saved generation in FOLDER as a small module, for version control and review.

    It needs this package no more: a Flyte task or a flytekit workflow, or the script alone, with its pinned packages.
    """
    from flyteplugins.codegen.cli.export import export as command

    command(screen, **chosen)


@main.command()
@click.option("--model", help="Generate with this model instead of the recording.")
@_with(_model_options)
@click.option(
    "--out", type=_FOLDER, default=Path("demo-output"), show_default=True, help="Folder for what comes of it."
)
@_sandbox
@_json
@click.pass_obj
def demo(screen: Screen, /, **chosen: Any) -> None:
    """Build a lookalike audience from shipped data; the model is a recording, all else is real."""
    from flyteplugins.codegen.cli.demo.command import demo as command

    command(screen, **chosen)


@main.group()
def cache() -> None:
    """What is kept on this machine or in a store: list it, make room, clear it."""


_store = click.option(
    "--store", metavar="ADDRESS", help="The record in this folder or object store, not what this machine keeps."
)


@cache.command("list")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@click.option("--details", is_flag=True, help="Each thing on a line: what it is, how old and how large.")
@_store
@_json
@click.pass_obj
def list_(screen: Screen, /, **chosen: Any) -> None:
    """List what is kept, by kind: how many, how large, the oldest and the newest."""
    from flyteplugins.codegen.cli.cache import list_ as command

    command(screen, **chosen)


@cache.command()
@click.option("--older-than", metavar="AGE", help="Remove what is older, such as 30d, 12h or 2w.")
@click.option("--max-size", metavar="SIZE", help="Remove the oldest until the folder has no more, such as 5GB.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; tell what would be removed.")
@_store
@_json
@click.pass_obj
def prune(screen: Screen, /, **chosen: Any) -> None:
    """Remove what nothing needs any more, and what is too old or too much.

    Without options: files that nothing on record names and nobody used for a day, and what killed processes left.
    An environment that a run uses stays.
    """
    from flyteplugins.codegen.cli.cache import prune as command

    command(screen, **chosen)


@cache.command()
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_store
@_json
@click.pass_obj
def clear(screen: Screen, /, **chosen: Any) -> None:
    """Remove everything, or all of some kinds. What was paid for is paid for again; nothing becomes wrong."""
    from flyteplugins.codegen.cli.cache import clear as command

    command(screen, **chosen)


@main.command()
@_json
@click.pass_obj
def doctor(screen: Screen) -> None:
    """Tell what is installed, where code can run here, and which keys are set (by name)."""
    from flyteplugins.codegen.cli.doctor import doctor as command

    command(screen)


if __name__ == "__main__":
    main()
