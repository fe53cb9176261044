"""`codegen generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flyteplugins.codegen import AutoCoderAgent, Budget, CodeGenEvalResult
from flyteplugins.codegen.cli import arguments, output
from flyteplugins.codegen.cli.console import FAILED, Screen
from flyteplugins.codegen.core.errors import CodegenError, InvalidRequestError
from flyteplugins.codegen.core.settings import REVIEW_DEFAULTS
from flyteplugins.codegen.core.values import PLAIN_TYPES, parse_value
from flyteplugins.codegen.report.live import View
from flyteplugins.codegen.results import saved


def generate(
    screen: Screen,
    *,
    prompt: str,
    samples: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    constraints: tuple[str, ...],
    examples: tuple[str, ...],
    schema_file: Path | None,
    max_tokens: int | None,
    max_usd: float | None,
    fallback_models: tuple[str, ...],
    base_packages: tuple[str, ...],
    out: Path,
    no_run: bool,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Generate, save, and run on the samples; the arguments are the options of the command."""
    view = View(screen.console)
    settings["review"] = [*settings["review"]] or None
    settings["review_default"] = settings["review_default"] or REVIEW_DEFAULTS[0]
    agent = AutoCoderAgent(
        name=out.absolute().name or "codegen",
        max_tokens_total=max_tokens,
        budget=None if max_usd is None else Budget(usd=max_usd),
        fallback_models=list(fallback_models) or None,
        base_packages=list(base_packages) or None,
        on_event=view.on_event,
        **settings,
    )
    declared = arguments.declarations(inputs, "--input")
    request: dict[str, Any] = {
        "prompt": prompt,
        "schema": schema_file.read_text(encoding="utf-8") if schema_file else None,
        "constraints": list(constraints) or None,
        "samples": arguments.samples(samples) or None,
        "inputs": declared or None,
        "outputs": arguments.declarations(outputs, "--output") or None,
        "input_examples": arguments.examples(examples, declared) or None,
    }
    if dry_run:
        from flyteplugins.codegen.cli.dry_run import dry_run as preview

        preview(screen, agent, request)
        return
    saved.check_folder(out)
    refuse_to_lose_edits(out)
    with view:
        result = agent.generate(**request)
    folder = saved.save(result, _target(out, result))
    screen.say()
    screen.say(result.summary())
    try:
        values = {} if no_run or not result.success or agent.skip_tests else run_and_keep(result, folder)
    except CodegenError:
        screen.say(f"\nSaved in {folder}. Its run on the samples failed:")
        raise
    tell(screen, result, folder, values)
    if not result.success:
        sys.exit(FAILED)


def run_and_keep(result: CodeGenEvalResult, folder: Path) -> dict[str, Any]:
    """Run the code on its samples, with the example values of its other inputs, and keep the outputs.

    Args:
        result: A successful result.
        folder: Its saved generation; the outputs go to `outputs/` there.

    Returns:
        The outputs by name; those that are files, folders and tables as paths in the folder.
    """
    contract = result.contract
    examples: dict[str, Any] = {
        name: parse_value(result.input_examples[name], kind)
        for name, kind in contract.plain_inputs.items()
        if name in result.input_examples
    }
    if any(name not in contract.samples and name not in examples for name in contract.inputs):
        return {}
    values = output.named(result, result.run(inputs=examples))
    if values:
        output.keep(values, folder)
    return {
        name: value if contract.outputs[name] in PLAIN_TYPES else folder / saved.OUTPUTS / name
        for name, value in values.items()
    }


def tell(screen: Screen, result: CodeGenEvalResult, folder: Path, values: dict[str, Any]) -> None:
    """Print what came of a generation and where it is.

    Args:
        screen: Where to.
        result: The result.
        folder: Its saved generation.
        values: The outputs of its run.
    """
    if values:
        screen.say("\nOutputs on the samples:")
        for line in output.as_lines(values):
            screen.say(f"  {line}")
    screen.say(f"\nSaved in {folder}")
    screen.say(f"Its report: {folder / saved.REPORT}")
    screen.document(
        {
            "success": result.success,
            "error": result.error,
            "folder": str(folder),
            "attempts": result.attempts,
            "image": result.image,
            "packages": result.detected_packages,
            "outputs": output.as_json(values),
            "receipt": result.receipt.model_dump(mode="json"),
            "revisions": [output.revision_json(revision) for revision in result.revisions],
        }
    )


def refuse_to_lose_edits(out: Path) -> None:
    """Refuse to save over a generation that somebody edited by hand."""
    if (out / saved.RESULT).is_file() and saved.edited(out):
        raise InvalidRequestError(
            f"{out} holds a generation whose code was edited by hand, and a new one would replace it. Choose another "
            "--out, or move it away."
        )


def _target(out: Path, result: CodeGenEvalResult) -> Path:
    """Where to save: beside, not over, a generation that is good where this one failed."""
    if result.success or not (out / saved.RESULT).is_file() or not saved.load(out).success:
        return out
    absolute = out.absolute()
    return absolute.with_name(f"{absolute.name}.failed")
