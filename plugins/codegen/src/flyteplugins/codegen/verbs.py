"""What a result can do, as `CodeGenEvalResult` asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyteplugins.codegen.core.result import CodeGenEvalResult, RevisionOptions, RunOptions


class Verbs:
    """Carries out the methods of a result; each loads what it needs on first use."""

    async def run(self, result: CodeGenEvalResult, options: RunOptions) -> Any:
        """Run the code once and return its outputs."""
        from flyteplugins.codegen.results import running

        return await running.run(result, options)

    def as_task(self, result: CodeGenEvalResult, options: RunOptions) -> Any:
        """Make a task of the code."""
        from flyteplugins.codegen.results import running

        return running.task_of(result, options, "task")

    def save(self, result: CodeGenEvalResult, folder: Path) -> Path:
        """Write a saved generation."""
        from flyteplugins.codegen.results import saved

        return saved.save(result, folder)

    def load(self, folder: Path) -> CodeGenEvalResult:
        """Read a saved generation."""
        from flyteplugins.codegen.results import saved

        return saved.load(folder)

    def summary(self, result: CodeGenEvalResult) -> str:
        """The receipt as text."""
        from flyteplugins.codegen.report import receipt

        return receipt.summary(result)

    async def revise(self, result: CodeGenEvalResult, wanted: RevisionOptions) -> CodeGenEvalResult:
        """Change the code, and check it anew."""
        from flyteplugins.codegen.backends import revision

        return await revision.revise(result, wanted)
