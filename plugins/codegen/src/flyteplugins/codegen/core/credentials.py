"""Which names are those of credentials."""

from __future__ import annotations

import re
from typing import Final

_CREDENTIAL: Final = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)


def is_credential(name: str) -> bool:
    """Whether an environment variable of this name mostly holds a credential, as `DB_PASSWORD` does.

    Args:
        name: Name of the variable.

    Returns:
        Whether its value should be shown to nobody.
    """
    return bool(_CREDENTIAL.search(name))
