"""Types, values, resources and secrets of flytekit, and what stands for them on our side."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Mapping
from typing import Any, Final

import flyte
from flyte.io import File
from flytekit import Resources, Secret
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.core.contract import VALUE_TYPES
from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.tasks.secrets import NamedSecret, variable_of

FLYTEKIT_TYPES: Final[dict[str, Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
    "File": FlyteFile,
}
"""The type of an input or output in flytekit's interface, by its name in a contract.

A new type of contracts needs a line here, one in `_from_flytekit` if values of it come in a form of flytekit's, and
one in `_to_flytekit` if they go out in one. Flyte 1 carries out of a raw container what its sidecar does: simple types,
files and folders, and no `StructuredDataset`.
"""


def flytekit_type(kind: str) -> Any:
    """The type of flytekit that stands for a type of a contract.

    Args:
        kind: Its name in the contract.

    Returns:
        The type.

    Raises:
        InvalidRequestError: flytekit has none.
    """
    if kind not in FLYTEKIT_TYPES:
        raise InvalidRequestError(
            f"{kind} is no type of tasks of flytekit. Supported: {', '.join(FLYTEKIT_TYPES)}. Declare it as File."
        )
    return FLYTEKIT_TYPES[kind]


def declared(types: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Declared types as a contract knows them: `FlyteFile` and `FlyteFile[...]` stand for File.

    Args:
        types: Types by name, of either Flyte.

    Returns:
        Types by name.
    """
    return None if types is None else {name: _declared(kind) for name, kind in types.items()}


def _declared(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, FlyteFile):
        return File
    if isinstance(kind, type) and issubclass(kind, FlyteDirectory):
        return VALUE_TYPES.get("Dir", kind)
    if kind is StructuredDataset:
        return VALUE_TYPES.get("DataFrame", kind)
    return kind


async def from_flytekit(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values as the other rooms take them; what lies in a store is downloaded.

    Args:
        values: Values by name: of flytekit's types, or any that the other rooms take.

    Returns:
        Values by name: a path for a `FlyteFile` or `FlyteDirectory`, a DataFrame for a `StructuredDataset`.
    """
    given = dict(values or {})
    # flytekit reads synchronously, through a loop of its own.
    taken = await asyncio.gather(*(asyncio.to_thread(_from_flytekit, value) for value in given.values()))
    return dict(zip(given, taken, strict=True))


def _from_flytekit(value: Any) -> Any:
    if isinstance(value, (FlyteFile, FlyteDirectory)):
        return value.download()
    if isinstance(value, StructuredDataset):
        import pandas as pd

        return value.dataframe if isinstance(value.dataframe, pd.DataFrame) else value.open(pd.DataFrame).all()
    return value


def to_flytekit(outputs: Any) -> Any:
    """Outputs of a run as flytekit takes them.

    Args:
        outputs: One output, a tuple of several, or None.

    Returns:
        The same, with a `FlyteFile` for each file.
    """
    return tuple(map(_to_flytekit, outputs)) if isinstance(outputs, tuple) else _to_flytekit(outputs)


def _to_flytekit(value: Any) -> Any:
    return FlyteFile(value.path) if isinstance(value, File) else value


def flyte_secrets(secrets: Iterable[Any] | None) -> list[flyte.Secret] | None:
    """Secrets as the other rooms take them.

    Args:
        secrets: Secrets of either Flyte, or None.

    Returns:
        The same as secrets of Flyte 2; None stays None.
    """
    return None if secrets is None else [_flyte_secret(secret) for secret in secrets]


def _flyte_secret(secret: Any) -> Any:
    if not isinstance(secret, Secret):
        return secret
    return flyte.Secret(key=secret.key or "", group=secret.group, as_env_var=secret.env_var)


def flytekit_secrets(secrets: Iterable[NamedSecret]) -> list[Secret]:
    """Secrets for the pod of a task of flytekit: each an environment variable, called as Flyte 2 calls it.

    Args:
        secrets: Secrets of Flyte 2.

    Returns:
        The same as secrets of flytekit.

    Raises:
        InvalidInputError: A secret has no group.
    """
    return [_flytekit_secret(secret) for secret in secrets]


def _flytekit_secret(secret: NamedSecret) -> Secret:
    if not secret.group:
        raise InvalidInputError(
            f"The secret {secret.key!r} has no group, which Flyte 1 asks for. "
            f"Pass flytekit.Secret(group=..., key={secret.key!r})."
        )
    mount = Secret.MountType.ENV_VAR
    return Secret(group=secret.group, key=secret.key, mount_requirement=mount, env_var=variable_of(secret))


def flyte_resources(resources: Any) -> flyte.Resources | None:
    """Resources as the other rooms take them.

    Args:
        resources: Resources of either Flyte, or None.

    Returns:
        The same as resources of Flyte 2; None stays None.
    """
    if not isinstance(resources, Resources):
        return resources  # type: ignore[no-any-return] # of Flyte 2 already, or None
    return flyte.Resources(cpu=resources.cpu, memory=resources.mem)


def flytekit_resources(resources: flyte.Resources | None) -> Resources:
    """Resources for the pod of a task of flytekit.

    Args:
        resources: Resources of Flyte 2, or None.

    Returns:
        Requests and limits, for flytekit.
    """
    if resources is None:
        return Resources()
    return Resources(cpu=_quantity(resources.cpu), mem=_quantity(resources.memory))


def _quantity(amount: Any) -> Any:
    """A quantity, or the pair of what is requested and the limit; flytekit writes out text alone."""
    if isinstance(amount, (list, tuple)):
        return tuple(map(str, amount))
    return None if amount is None else str(amount)
