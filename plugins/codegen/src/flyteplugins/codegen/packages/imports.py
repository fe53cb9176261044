"""What a program imports, read from its syntax tree."""

from __future__ import annotations

import ast
import sys
from typing import Final

from flyteplugins.codegen.core.python_source import parse_python

_OTHER_VERSIONS: Final = frozenset(
    # Three were added after 3.10, the others removed after it.
    """
    annotationlib compression tomllib
    aifc asynchat asyncore audioop binhex cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis
    nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib
    """.split()  # noqa: SIM905 - words in a row read better than thirty lines
)
"""Modules of the standard library in some supported Python version. None of them is ever looked for on an index: a
distribution of that name there is a stranger's."""

STANDARD_LIBRARY: Final = sys.stdlib_module_names | _OTHER_VERSIONS | {"__future__", "__main__"}
"""Top-level modules of the standard library, of the running Python version and of the other supported ones."""


def imported_modules(code: str) -> tuple[str, ...]:
    """The top-level modules outside the standard library that a program imports.

    Args:
        code: Python source.

    Returns:
        Their names, sorted. Imports inside functions and conditions count, relative ones do not.

    Raises:
        SyntaxError: The source does not parse.
    """
    modules = {path.partition(".")[0] for path in import_paths(parse_python(code))}
    return tuple(sorted(modules - STANDARD_LIBRARY))


def import_paths(tree: ast.AST) -> frozenset[str]:
    """The dotted paths that a program imports, the standard library's among them.

    Args:
        tree: Its syntax tree.

    Returns:
        `a.b` for `import a.b`, and `a.b.c` for `from a.b import c`, whether `c` is a module or not; also what
        `importlib.import_module` and `__import__` are called with, where that is a literal.
    """
    paths: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            paths.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            paths.update(f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and (path := _imported_by_call(node)):
            paths.add(path)
    return frozenset(paths)


def _imported_by_call(call: ast.Call) -> str | None:
    if ast.unparse(call.func) not in {"__import__", "import_module", "importlib.import_module"} or not call.args:
        return None
    path = call.args[0]
    if not isinstance(path, ast.Constant) or not isinstance(path.value, str):
        return None
    return path.value if all(part.isidentifier() for part in path.value.split(".")) else None
