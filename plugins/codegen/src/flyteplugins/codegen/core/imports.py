"""Importing the large libraries once, whole, before several threads use them."""

from __future__ import annotations

import importlib
import threading

_LOCK = threading.Lock()


def load(*names: str) -> None:
    """Import modules. Blocks: call it in a thread.

    Threads that import large packages at the same time, each a part that another one needs, can meet one that is not
    whole yet: Python lets an import go on where waiting would never end. Here they wait for one another. Flyte puts
    modules in place that are loaded by the first look at one of their names; these are loaded here as well.

    Args:
        names: Names of the modules.
    """
    with _LOCK:
        for name in names:
            vars(importlib.import_module(name))
