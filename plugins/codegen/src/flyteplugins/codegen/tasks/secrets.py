"""Secrets of programs: found by name, never stored, never shown."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from flyteplugins.codegen.core.errors import MissingCredentialError
from flyteplugins.codegen.core.files import storing
from flyteplugins.codegen.core.paths import home


class NamedSecret(Protocol):
    """A `flyte.Secret`, or the plain data of one."""

    key: str
    group: str | None
    as_env_var: str | None


@runtime_checkable
class FoundElsewhere(Protocol):
    """A secret that may be where no environment variable has it."""

    def look_up(self) -> str | None:
        """Its value, or None."""
        ...


def read(wanted: Iterable[NamedSecret]) -> dict[str, str]:
    """The values of secrets, from the environment variables that they name.

    Args:
        wanted: The secrets.

    Returns:
        Value by the name of the variable.

    Raises:
        MissingCredentialError: A variable is not set.
    """
    values = {}
    for secret in wanted:
        variable = variable_of(secret)
        value = os.environ.get(variable)
        if value is None and isinstance(secret, FoundElsewhere):
            value = secret.look_up()
        if value is None:
            raise MissingCredentialError(
                f"The secret {secret.key!r} is not here: set the environment variable {variable}, which it is "
                "read from. In a task on a cluster, name it in the `secrets` of the task's environment, too."
            )
        values[variable] = value
    return values


def variable_of(secret: NamedSecret) -> str:
    """The environment variable that a secret is seen in, by Flyte's rule."""
    if secret.as_env_var:
        return secret.as_env_var
    return (f"{secret.group}_{secret.key}" if secret.group else secret.key).replace("-", "_").upper()


def fingerprint(value: str) -> str:
    """What stands for a secret in a key: tells two values apart and can't be tried out without this machine's salt.

    Args:
        value: The secret.

    Returns:
        Hex HMAC-SHA-256.
    """
    return hmac.new(_salt(), value.encode(), hashlib.sha256).hexdigest()


def _salt() -> bytes:
    path = home() / "salt"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        with storing(path.parent):
            return _new_salt(path)


def _new_salt(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"salt.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))
    try:
        os.link(fresh, path)  # never replaces: of two processes that start together, one salt wins
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()
