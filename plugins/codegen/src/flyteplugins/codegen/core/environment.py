"""What a solution runs on: a spec says what is wanted, a lock what that came to."""

from __future__ import annotations

import hashlib
import json

from pydantic import ConfigDict

from flyteplugins.codegen.core.data import Data


class EnvironmentSpec(Data):
    """What is wanted of an environment.

    Attributes:
        python: Version of the interpreter as `major.minor`, such as `3.12`.
        packages: Requirements as pip writes them, sorted, without duplicates.
        system_packages: apt packages, sorted.
    """

    model_config = ConfigDict(frozen=True)

    python: str
    packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hex SHA-256 of everything that was asked for; remembers which lock it came to."""
        return _digest(self.model_dump())


class Lock(Data):
    """An environment resolved to exact distributions.

    Attributes:
        python: Version of the interpreter as `major.minor`.
        platform: Platform it was resolved for, as uv names it, such as `x86_64-unknown-linux-gnu`.
        requirements: Lines of a requirements file with hashes, as `uv pip sync --require-hashes` reads them.
        system_packages: apt packages, sorted.
    """

    model_config = ConfigDict(frozen=True)

    python: str
    platform: str
    requirements: str
    system_packages: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hex SHA-256 of the content: the same key, the same environment."""
        return _digest(self.model_dump())


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
