"""Python that somebody else wrote, as a syntax tree."""

from __future__ import annotations

import ast
import warnings


def parse_python(code: str) -> ast.Module:
    """The syntax tree of a text.

    Args:
        code: The text.

    Returns:
        The tree. A doubtful escape in the text is not told to the user, who did not write it.

    Raises:
        SyntaxError: It is no Python, or is nested too deeply to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # what Python before 3.12 makes of it
            return ast.parse(code)
    except (RecursionError, MemoryError):
        raise SyntaxError("nested too deeply") from None
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise SyntaxError(str(error)) from None
