"""A HOME for each test: flytekit and Flyte keep their settings and caches there."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flytekit", reason="flytekit is an extra")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("user")))


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return path
