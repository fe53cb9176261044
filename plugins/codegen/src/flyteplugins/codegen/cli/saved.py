"""`codegen run`, `test` and `show`: what is done with a saved generation."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import rich_click as click

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.cli import arguments, output
from flyteplugins.codegen.cli.console import FAILED, Screen
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.settings import RUNTIMES
from flyteplugins.codegen.report.receipt import WIDTH
from flyteplugins.codegen.results.saved import load, write_report


def run(
    screen: Screen,
    folder: Path,
    inputs: tuple[str, ...],
    out: Path,
    timeout: int | None,
    sandbox: str | None,
    cache: str | None,
) -> None:
    """Run the code; the arguments are those of the command."""
    result = _load(folder, sandbox)
    values = arguments.inputs_of(result.contract, inputs)
    outputs = output.named(result, result.run(inputs=values, timeout=timeout, cache=cache))
    files = [Path(file.path) for file in [*(result.original_samples or {}).values(), *_files(values)]]
    copied = output.copy_files(outputs, out, files)
    for line in output.as_lines(copied):
        screen.say(line)
    screen.document({"success": True, "outputs": output.as_json(copied)})


def show(screen: Screen, folder: Path, html: bool, opens: bool) -> None:
    """Show the contract, the receipt and the files, or write the report; the arguments are those of the command."""
    if html or opens:
        _show_report(screen, folder, opens)
        return
    result = load(folder)
    contract = result.contract
    inputs = ", ".join(f"{name}: {kind}" for name, kind in contract.inputs.items()) or "none"
    outputs = ", ".join(f"{name}: {kind}" for name, kind in contract.outputs.items()) or "none"
    screen.say(f"Inputs            {inputs}")
    for name, text in result.input_examples.items():
        screen.say(f"                  for example {name}={text}")
    screen.say(f"Outputs           {outputs}")
    if result.plan:
        does = " ".join(result.plan.description.split())
        screen.say(textwrap.fill(does, WIDTH, initial_indent="Does".ljust(18), subsequent_indent=" " * 18))
    screen.say()
    screen.say(result.summary())
    for number, revision in enumerate(result.revisions, start=1):
        screen.say()
        for line in output.revision_lines(revision, number):
            screen.say(line)
    files = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    screen.say(f"\n{folder}: {', '.join(files)}")
    screen.document(
        {
            "success": result.success,
            "error": result.error,
            "folder": str(folder.absolute()),
            "inputs": contract.inputs,
            "outputs": contract.outputs,
            "examples": result.input_examples,
            "receipt": result.receipt.model_dump(mode="json"),
            "revisions": [output.revision_json(revision) for revision in result.revisions],
            "files": files,
        }
    )


def _show_report(screen: Screen, folder: Path, opens: bool) -> None:
    report = write_report(folder)
    screen.say(str(report))
    screen.document({"report": str(report)})
    if opens:
        click.launch(report.as_uri())


def test(screen: Screen, folder: Path, sandbox: str | None) -> None:
    """Run the tests; the arguments are those of the command."""
    from flyteplugins.codegen.cli.suite import run_tests

    run, failure = run_tests(_load(folder, sandbox))
    cases = run.cases if run else ()
    for case in cases:
        screen.say(f"{'passed' if case.passed else 'FAILED'}  {case.name}")
        if case.message:
            screen.say(textwrap.indent(case.message.rstrip(), "        "))
    if failure:
        screen.say(f"\n{failure}")
    seconds = f" in {run.seconds:.1f} s" if run else ""
    screen.say(f"{sum(case.passed for case in cases)} of {len(cases)} tests passed{seconds}")
    screen.document(
        {"success": failure is None, "error": failure, "tests": [case.model_dump(mode="json") for case in cases]}
    )
    if failure:
        sys.exit(FAILED)


def _load(folder: Path, sandbox: str | None) -> CodeGenEvalResult:
    result = load(folder)
    if sandbox is None:
        return result
    if sandbox not in RUNTIMES:
        raise InvalidRequestError(f"--sandbox {sandbox} is unknown. Known: {', '.join(RUNTIMES)}.")
    return result.model_copy(update={"defaults": result.defaults.model_copy(update={"sandbox": sandbox})})


def _files(values: dict[str, Any]) -> list[Any]:
    given = [one for value in values.values() for one in (value if isinstance(value, list) else [value])]
    return [one for one in given if hasattr(one, "path")]
