"""Which names are those of credentials, and how their values are kept out of what is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_CREDENTIAL: Final = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)

_SHORTEST_REDACTED: Final = 4
"""Shorter values stand in every other line by chance."""


def is_credential(name: str) -> bool:
    """Whether an environment variable of this name mostly holds a credential, as `DB_PASSWORD` does.

    Args:
        name: Name of the variable.

    Returns:
        Whether its value should be shown to nobody.
    """
    return bool(_CREDENTIAL.search(name))


def redact(text: str, values: Mapping[str, str]) -> str:
    """Put a secret's name where its value was printed.

    Args:
        text: What a program printed.
        values: Value by name.

    Returns:
        The text without the values.
    """
    for name, value in values.items():
        if len(value) >= _SHORTEST_REDACTED:
            text = text.replace(value, f"<secret {name}>")
    return text
