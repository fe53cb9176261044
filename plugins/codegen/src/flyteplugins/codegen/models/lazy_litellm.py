"""Importing litellm: late, because it takes seconds, and in a way that contacts nobody."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_IMPORT_SETTINGS: Final = {
    # Else litellm fetches a price list from the network when it is imported.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # Else litellm looks for a file `.env` and puts what is in it into the environment of this process, keys and
    # endpoints among them.
    "LITELLM_MODE": "PRODUCTION",
    # Else litellm fetches a list of Anthropic's beta headers at the first call.
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
}
_LISTENERS: Final = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
"""Where litellm keeps who is told of its calls."""

_LOCK = threading.Lock()


def litellm() -> Any:
    """The module litellm. The first call takes about two seconds: make it in a thread."""
    with _LOCK:
        if "litellm" in sys.modules:
            return sys.modules["litellm"]
        with _environment(_IMPORT_SETTINGS):
            module = importlib.import_module("litellm")
            _load_beta_headers()
        # Else litellm prints an advertisement to standard output whenever a call fails, where `--json` output goes.
        module.suppress_debug_info = True  # type: ignore[attr-defined] # litellm's own switch; not typed here
        return module


def client(provider: str) -> Any:
    """The module litellm, with what the first call of a provider would else import on the event loop."""
    module = litellm()
    if provider in {"openai", "azure"}:
        # 0.5 s; imported by the first use of a client.
        importlib.import_module("openai.resources")
    return module


def _load_beta_headers() -> None:
    # Read now, from the copy in the package, it is kept for the life of the process.
    with suppress(ImportError, AttributeError):  # versions of litellm without the list
        importlib.import_module("litellm.anthropic_beta_headers_manager").get_provider_name("anthropic")


@contextmanager
def unwatched(module: Any) -> Iterator[None]:
    """Call litellm without its logging where nobody listens to it.

    Else each call leaves work to a task that outlives it, and the interpreter complains of that task when it ends.
    Who has set callbacks of litellm gets to hear of each call as ever.
    """
    if any(getattr(module, name, None) for name in _LISTENERS):
        yield
        return
    try:
        internal = importlib.import_module("litellm._internal_context").is_internal_call
    except (ImportError, AttributeError):  # versions of litellm without the switch
        yield
        return
    before = internal.set(True)
    try:
        yield
    finally:
        internal.reset(before)


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set, and take them away again."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
