"""The receipt of a generation as text for people: what was checked, with what, what it cost, and what was not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from flyteplugins.codegen.core.receipt import ConstraintBacking, Receipt
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.verdict import Check, SuiteProof
from flyteplugins.codegen.report.words import cost_of, count_of, decision_of, plain

WIDTH: Final = 100
"""Columns of the text."""

_LABEL: Final = 18
"""Columns of the labels on the left."""

_ERROR_LINES: Final = 12
_DETAIL_LENGTH: Final = 160
_NAMES_SHOWN: Final = 4
_HASH_LENGTH: Final = 12


def summary(result: CodeGenEvalResult) -> str:
    """The receipt of `result`.

    Args:
        result: What a generation handed back.

    Returns:
        Plain text in lines of about 100 characters, without a line feed at its end; of a failed generation the error
        comes first.
    """
    receipt = result.receipt
    lines = [
        *_headline(result),
        *_row("Isolation", [receipt.isolation.removeprefix("Sandbox: ") or "nothing was run"]),
        *_row("Environment", [_environment(result)]),
        *_row("Contract checks", _checks(receipt.checks)),
        *_row("Constraints", _constraints(receipt.constraints)),
        *_row("Tests", _tests(result)),
        *_row("Approval", map(decision_of, result.reviews)),
        *_row("Model", [_model(receipt)]),
        *_row("Time", [f"{receipt.seconds:.1f} s"]),
        *_row("Not checked", receipt.not_checked or ["-"]),
        *_row("Warnings", receipt.warnings or ["-"]),
    ]
    return plain("\n".join(lines))


def _headline(result: CodeGenEvalResult) -> Iterator[str]:
    attempts = count_of(result.attempts, "attempt")
    if result.success:
        yield f"Done in {attempts}."
        return
    yield f"Failed after {attempts}."
    error = (result.error or "No reason was given.").strip().splitlines()
    if len(error) > _ERROR_LINES:
        # The reason stands first, what the program said last.
        head, tail = error[: _ERROR_LINES // 2], error[-_ERROR_LINES // 2 :]
        error = [*head, f"... {len(error) - _ERROR_LINES} lines left out", *tail]
    for line in error:
        yield from textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="  ") or [""]
    yield ""


def _row(label: str, entries: Iterable[str]) -> Iterator[str]:
    """A label and its entries, one below the other."""
    head = label.ljust(_LABEL)
    for entry in entries:
        wrapped = textwrap.wrap(entry, WIDTH - _LABEL, subsequent_indent="  ", break_on_hyphens=False) or [""]
        for line in wrapped:
            yield (head + line).rstrip()
            head = " " * _LABEL


def _environment(result: CodeGenEvalResult) -> str:
    if not result.receipt.lock:
        return "none was built"
    python = f"Python {result.lock.python}, " if result.lock else ""
    packages = ", ".join([*result.detected_packages, *result.detected_system_packages]) or "no packages"
    return f"{python}{packages} (lock {result.receipt.lock[:_HASH_LENGTH]})"


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    binding = [check for check in checks if not check.advisory]
    advisory = [check for check in checks if check.advisory]
    if not checks:
        yield "none ran"
        return
    yield f"{sum(check.passed for check in binding)} of {len(binding)}" + (
        f", probes {sum(check.passed for check in advisory)} of {len(advisory)}" if advisory else ""
    )
    # A probe that was not met is among the warnings.
    for check in binding:
        if not check.passed:
            yield f"not met: {check.name}" + (f": {_short(check.detail)}" if check.detail else "")


def _constraints(constraints: Sequence[ConstraintBacking]) -> Iterator[str]:
    if not constraints:
        yield "none were given"
    for backing in constraints:
        behind = [
            *(f"data check {_short(check)}" for check in backing.checks),
            *([f"{'test' if len(backing.tests) == 1 else 'tests'} {_some(backing.tests)}"] if backing.tests else []),
        ]
        yield f"{_short(backing.constraint)} <- {'; '.join(behind) or 'NOTHING stands behind it'}"


def _tests(result: CodeGenEvalResult) -> Iterator[str]:
    if not result.receipt.tests:
        yield "none ran"
        return
    if not result.success and result.exit_code < 0:
        yield f"{result.receipt.tests} written, none ran"
        return
    outcome = "" if result.success else f", exit status {result.exit_code}"
    proof = result.receipt.proof
    proved = f", {len(proof.proved)} of them proved able to fail" if proof else ", not proved able to fail"
    yield f"{result.receipt.tests}{proved}{outcome}"
    if proof:
        yield _proof(proof)


def _proof(proof: SuiteProof) -> str:
    return (
        f"they refused {proof.stubs_failed} of {count_of(proof.stubs, 'stub')} and {proof.mutants_failed} of "
        f"{count_of(proof.mutants, 'mutant')} of the code"
    )


def _model(receipt: Receipt) -> str:
    tokens = f"{receipt.input_tokens:,} tokens in, {receipt.output_tokens:,} out"
    return f"{count_of(receipt.calls, 'call')}, {tokens}, {cost_of(receipt.cost)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    return textwrap.shorten(text, _DETAIL_LENGTH, placeholder=" ...")
