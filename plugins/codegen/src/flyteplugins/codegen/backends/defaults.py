"""What a result falls back on when it is run: the agent's settings."""

from __future__ import annotations

from pathlib import Path

import flyte

from flyteplugins.codegen.core.result import RunDefaults, SecretName
from flyteplugins.codegen.core.settings import Settings


def defaults_of(settings: Settings) -> RunDefaults:
    """The settings that `run()` and `as_task()` fall back on."""
    resources = settings.resources or flyte.Resources()
    return RunDefaults(
        name=settings.name,
        sandbox=settings.sandbox,
        block_network=settings.block_network,
        cpu=None if resources.cpu is None else _upper(resources.cpu),
        memory=None if resources.memory is None else _upper(resources.memory),
        retries=settings.sandbox_retries,
        timeout=settings.timeout,
        env_vars=dict(settings.env_vars or {}),
        secrets=[
            SecretName(key=secret.key, group=secret.group, as_env_var=secret.as_env_var)
            for secret in settings.secrets or []
        ],
        cache=settings.cache,
        registry=settings.image_config.registry if settings.image_config else None,
        registry_secret=settings.image_config.registry_secret if settings.image_config else None,
        store=_place(settings.store),
        image_strategy=settings.image_strategy,
        base_image=settings.base_image,
        wheels=settings.wheels,
    )


def _place(store: str | Path | None) -> str | None:
    if store is None or "://" in str(store):
        return None if store is None else str(store)
    # A folder is the same one for whoever runs the code from elsewhere.
    return str(Path(store).expanduser().absolute())


def _upper(amount: object) -> str:
    # Flyte takes a single amount or a range (request, limit); the limit is what a sandbox holds the program to.
    return str(amount[-1]) if isinstance(amount, (tuple, list)) else str(amount)
