"""Python that a model wrote: whether it is any."""

from __future__ import annotations

import ast
import contextlib

from flyteplugins.codegen.core.python_source import parse_python


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of a text, None where it is no Python."""
    with contextlib.suppress(SyntaxError):
        return parse_python(code)
    return None


def parses(code: str) -> bool:
    """Whether a text is Python."""
    return parsed(code) is not None


def says_nothing(code: str) -> bool:
    """Whether a text is Python only by chance: nothing, or the name of a file such as `solution.py`."""
    tree = parsed(code)
    return tree is not None and all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Name, ast.Attribute, ast.Constant))
        for statement in tree.body
    )
