"""The report of a generation as HTML: one page that needs nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.report import page
from flyteplugins.codegen.report.source import cut, python_lines
from flyteplugins.codegen.report.words import cost_of, count_of, decision_of, one_line

if TYPE_CHECKING:
    from jinja2 import Environment, Template

_TEMPLATES: Final = "templates"


def document(result: CodeGenEvalResult) -> str:
    """The report as a document of its own.

    It loads nothing and runs nothing: its policy for content (CSP) allows its own style sheet and no more.

    Args:
        result: What a generation handed back, successful or not.

    Returns:
        HTML.
    """
    style = stylesheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template("document").render(
        outcome=page.outcome_of(result, False),
        title=f"{page.headline_of(result, False)}: {one_line(result.defaults.name)}",
        style=style,
        style_digest=digest,
        body=fragment(result),
    )


def fragment(result: CodeGenEvalResult, *, running: bool = False, light: bool = False, anchors: str = "codegen") -> str:
    """The report without the head of a document, to stand within another page; the style sheet is not in it.

    Args:
        result: What there is so far.
        running: Whether the generation still goes on.
        light: Whether the page around it is light for everybody; else it is as the reader's system is set.
        anchors: How the anchors of its sections begin; no two reports of one page may have the same.

    Returns:
        HTML.
    """
    tests = page.tests_of(result)
    return _template("report").render(
        result=result,
        light=light,
        anchors=anchors,
        receipt=result.receipt,
        outcome=page.outcome_of(result, running),
        headline=page.headline_of(result, running),
        summary=page.summary_of(result, running),
        facts=page.facts_of(result, tests),
        time=page.time_of(result.timeline),
        tries=page.tries_of(result.history),
        tests=tests,
        changes=page.changes_of(result),
        samples=page.samples_of(result.pictures),
        usage=page.usage_rows(result.usage),
    )


@functools.cache
def stylesheet() -> str:
    """The style sheet of the report; all of its rules are for elements within it."""
    return Path(__file__).with_name(_TEMPLATES).joinpath("report.css").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flyteplugins.codegen.report", _TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Everything that comes from models, data and users is escaped; only the templates mark what is HTML.
        autoescape=True,
        finalize=_shown,
    )
    environment.filters.update(
        line=one_line, python=python_lines, seconds=page.seconds_of, cost=cost_of, count=count_of, decision=decision_of
    )
    return environment


def _shown(value: object) -> object:
    """What a template puts out: text without what is not to be obeyed."""
    return cut(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _template(name: str) -> Template:
    return _environment().get_template(f"{name}.html.j2")
