"""Which modules a process may have imported before it becomes a program, without the program telling a difference.

Standard library only: this file stands beside the tests, in a sandbox and in a saved generation.
"""

from __future__ import annotations

import ast

STANDARD = (
    *("argparse", "collections", "csv", "datetime", "decimal", "enum", "functools", "io", "itertools", "json", "math"),
    *("locale", "operator", "os", "pathlib", "re", "statistics", "string", "sys", "tempfile", "typing"),
)
"""What programs import most. Each is one module, or a package that brings all its own modules."""

SLOW = frozenset({"numpy", "pandas", "pyarrow", "scipy", "sklearn"})
"""Slow to import, and known to bear a fork after it."""

_BROUGHT_ALONG = frozenset(
    {"collections.abc", "importlib.abc", "importlib.machinery", "importlib.readers", "importlib.util", "urllib.parse"}
)
"""What `STANDARD` imports of packages that a program may import without it."""


def slow_imports(code: str) -> list[str]:
    """The modules that a program imports and that are slow to import, in order.

    Raises:
        SyntaxError: The code does not parse.
    """
    return [name for name in _imported(ast.parse(code)) if name.partition(".")[0] in SLOW]


def bears_early_imports(code: str) -> bool:
    """Whether a program does as well in a process that imported `STANDARD`: it uses nothing that it did not import.

    Raises:
        SyntaxError: The code does not parse.
    """
    tree = ast.parse(code)
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return not (used & _BROUGHT_ALONG) - {*_imported(tree)}


def _imported(tree: ast.AST) -> list[str]:
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names[node.module] = None
    return list(names)
