"""Types, values, resources and secrets of flytekit, and what stands for them on our side."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

import flyte
from flyte.io import DataFrame, Dir, File
from flytekit import Resources, Secret
from flytekit.core.context_manager import SecretsManager
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.core.contract import FILES
from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.core.values import JSON_TYPES, PLAIN_TYPES
from flyteplugins.codegen.tasks.secrets import NamedSecret, variable_of

FLYTEKIT_TYPES: Final[dict[str, Any]] = {
    **{kind: known for kind, known in PLAIN_TYPES.items() if kind not in JSON_TYPES},
    "File": FlyteFile,
    "Dir": FlyteDirectory,
    FILES: FlyteDirectory,
}
"""The type of a raw container's input or output in flytekit's interface, by its name in the contract of its ports.

A new type of contracts needs a line here or in `ports`, one in `_from_flytekit` if values of it come in a form of
flytekit's, and one in `_to_flytekit` if they go out in one.
"""


def flytekit_type(kind: str) -> Any:
    """The type of flytekit that stands for a type of a contract in the interface of a raw container.

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
    """Declared types as a contract knows them: each of flytekit's stands for the one of Flyte 2.

    Args:
        types: Types by name, of either Flyte.

    Returns:
        Types by name.
    """
    return None if types is None else {name: _declared(kind) for name, kind in types.items()}


def _declared(kind: Any) -> Any:
    if typing.get_origin(kind) is list and (held := typing.get_args(kind)):
        return list[_declared(held[0])]  # type: ignore[misc] # a type that is known now, not when it is checked
    if typing.get_origin(kind) is typing.Annotated:
        return _declared(typing.get_args(kind)[0])
    if isinstance(kind, type):
        for of_flytekit, ours in ((FlyteFile, File), (FlyteDirectory, Dir), (StructuredDataset, DataFrame)):
            if issubclass(kind, of_flytekit):
                return ours
    return kind


async def from_flytekit(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values as the other rooms take them; what lies in a store is downloaded.

    Args:
        values: Values by name: of flytekit's types, or any that the other rooms take.

    Returns:
        Values by name: a path for a `FlyteFile` or `FlyteDirectory`, a DataFrame for a `StructuredDataset`, paths for a
        list of files.
    """
    given = dict(values or {})
    # flytekit reads synchronously, through a loop of its own.
    taken = await asyncio.gather(*(asyncio.to_thread(_from_flytekit, value) for value in given.values()))
    return dict(zip(given, taken, strict=True))


def _from_flytekit(value: Any) -> Any:
    if isinstance(value, (FlyteFile, FlyteDirectory)):
        return value.download()
    if isinstance(value, (list, tuple)) and any(isinstance(one, FlyteFile) for one in value):
        return [_from_flytekit(one) for one in value]
    return frame_in(value) if isinstance(value, StructuredDataset) else value


def frame_in(dataset: StructuredDataset) -> Any:
    """The table of a dataset, which one that was made in this process has at hand. Blocks where it lies in a store."""
    import pandas as pd

    return dataset.dataframe if isinstance(dataset.dataframe, pd.DataFrame) else dataset.open(pd.DataFrame).all()


async def to_flytekit(outputs: Any) -> Any:
    """Outputs of a run as flytekit takes them.

    Args:
        outputs: One output, a tuple of several, or None.

    Returns:
        The same, with flytekit's type for each file, folder and table of Flyte 2.
    """
    if isinstance(outputs, tuple):
        return tuple([await _to_flytekit(output) for output in outputs])
    return await _to_flytekit(outputs)


async def _to_flytekit(value: Any) -> Any:
    if isinstance(value, DataFrame):
        import pandas as pd

        return StructuredDataset(dataframe=await value.open(pd.DataFrame).all())
    return default_of(value)


def default_of(value: Any) -> Any:
    """A file or folder of Flyte 2 as one of flytekit; anything else as it is."""
    if isinstance(value, Dir):
        return FlyteDirectory(value.path)
    return FlyteFile(value.path) if isinstance(value, File) else value


class SecretOfFlytekit(flyte.Secret):
    """A secret that is looked for where flytekit looks, if no environment variable of its name has it."""

    def look_up(self) -> str | None:
        """Its value by flytekit's rules: a variable with flytekit's prefix, else a file; None if there is none."""
        try:
            value: str = SecretsManager().get(self.group, self.key)
        except ValueError:
            return None
        return value


def flyte_secrets(secrets: Iterable[Any] | None) -> list[flyte.Secret] | None:
    """Secrets as the other rooms take them.

    Args:
        secrets: Secrets of either Flyte, plain data of them, or None.

    Returns:
        The same as secrets of Flyte 2, which are looked for where flytekit looks as well; None stays None.
    """
    return None if secrets is None else [_flyte_secret(secret) for secret in secrets]


def _flyte_secret(secret: Any) -> flyte.Secret:
    variable = secret.env_var if isinstance(secret, Secret) else secret.as_env_var
    return SecretOfFlytekit(key=secret.key or "", group=secret.group, as_env_var=variable)


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
