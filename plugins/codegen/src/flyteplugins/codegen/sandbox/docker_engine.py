"""The connection to a Docker engine, and what goes wrong with it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from flyteplugins.codegen.sandbox.processes import is_gone, mark

if TYPE_CHECKING:
    from docker import APIClient

LABEL: Final = "flyteplugins-codegen"
"""Label of every container and image that is made here: `docker ps -a --filter label=flyteplugins-codegen`."""

OWNER_LABEL: Final = f"{LABEL}.owner"

_SECONDS_TO_ANSWER: Final = 60


class EngineError(Exception):
    """The engine could not be reached, or refused; the message says what it said."""


class NoSuchImageError(EngineError):
    """The engine does not have the image."""


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn every error of the engine and of the connection to it into `EngineError`."""
    import requests
    from docker import errors

    try:
        yield
    except errors.ImageNotFound as error:
        raise NoSuchImageError(error.explanation or str(error)) from error
    except errors.APIError as error:
        raise EngineError(error.explanation or str(error)) from error
    except (errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineError(str(error)) from error


def connect(seconds: int = _SECONDS_TO_ANSWER) -> APIClient:
    """A connection for one thread, to the engine that the `docker` command would use.

    Args:
        seconds: How long the engine may take for an answer.

    Returns:
        The connection; the caller closes it.

    Raises:
        EngineError: No engine answers.
    """
    from docker import APIClient
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    with engine_errors():
        # The variable decides; without it the command's current context, as Docker Desktop sets one.
        settings = kwargs_from_env() if os.environ.get("DOCKER_HOST") else ContextAPI.kwargs_from_context()
        return APIClient(version="auto", timeout=seconds, **settings)


def owner() -> str:
    """This process, as the containers that it starts name it."""
    return f"{socket.gethostname()} {mark()}"


def remove_leftovers(engine: APIClient) -> None:
    """Remove the containers of processes of this machine that are gone, such as ones that were killed."""
    for container in engine.containers(all=True, filters={"label": OWNER_LABEL}):
        host, _, process = container["Labels"][OWNER_LABEL].rpartition(" ")
        if host == socket.gethostname() and is_gone(process):
            with contextlib.suppress(EngineError), engine_errors():
                engine.remove_container(container["Id"], force=True, v=True)
