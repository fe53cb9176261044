"""Importing large libraries once, whole."""

from __future__ import annotations

import importlib
import sys

import pytest
from flyte.extend import lazy_module

from flyteplugins.codegen.core.imports import load


def test_what_flyte_left_for_the_first_look_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    left = lazy_module("wave")
    assert object.__getattribute__(left, "__class__").__name__ == "_LazyModule"
    load("wave")
    assert object.__getattribute__(left, "__class__").__name__ == "module"
    assert importlib.import_module("wave") is left
