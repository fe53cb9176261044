"""What decides an answer besides the question: the model, its address and its parameters."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

SECRET_PARAMETER: Final = re.compile(r"(key|token|secret|password|credentials?|headers)\Z", re.IGNORECASE)
"""Parameters of litellm that hold a credential. None of them decides an answer."""


def identity_of(model: str, api_base: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """What decides an answer of a model besides the question.

    Args:
        model: Name of the model as litellm reads it.
        api_base: Address of the endpoint; None for the provider's usual variables and then its own address.
        params: Further parameters of each call.

    Returns:
        Plain data, without any credential.
    """
    given = api_base or params.get("api_base") or params.get("base_url") or _usual_address(model)
    address = re.sub(r"//[^/@]*@", "//", str(given or ""))
    left_out = {"api_base", "base_url"}
    kept = {name: value for name, value in params.items() if name not in left_out and not SECRET_PARAMETER.search(name)}
    identity = {"model": model, "api_base": address or None, "params": kept}
    plain: dict[str, Any] = json.loads(json.dumps(identity, sort_keys=True, default=_named))
    return plain


def _usual_address(model: str) -> str | None:
    """What the environment says, by the rule that litellm keeps to for most providers."""
    provider = model.split("/", 1)[0].removesuffix("_chat").upper() if "/" in model else "OPENAI"
    return os.environ.get(f"{provider}_BASE_URL") or os.environ.get(f"{provider}_API_BASE")


def _named(value: object) -> str:
    # A class or an object: its text would have an address in it, which is another one each time.
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
