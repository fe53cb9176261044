"""One Markdown template a step; no prompt text stands in Python."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(name: str, **values: object) -> str:
    """Fill in a template of this room.

    Args:
        name: The template's name without its ending, such as `plan`.
        **values: What the template uses; one that is missing is an error.

    Returns:
        The text, without white space at its ends.
    """
    return _environment().get_template(f"{name}.md.j2").render(**values).strip()


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("flyteplugins.codegen", "prompts"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - the output is a prompt, not HTML
    )
