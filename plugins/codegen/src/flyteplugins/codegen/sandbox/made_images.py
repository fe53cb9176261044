"""The Docker images that were made here: which there are, and their end."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.sandbox.docker_engine import LABEL, EngineError, NoSuchImageError, connect, engine_errors
from flyteplugins.codegen.sandbox.docker_images import LOCAL_BASE

_SECONDS: Final = 10
_BASES: Final = LOCAL_BASE.partition(":")[0]


@dataclass(frozen=True)
class MadeImage:
    """An image of ours.

    Attributes:
        name: What the engine calls it.
        size: Bytes, those included that it shares with its base.
        created: When it was made, in seconds since 1970.
    """

    name: str
    size: int
    created: float


def made_images() -> list[MadeImage]:
    """The images of environments that were made here. Blocks, for some seconds at most.

    Returns:
        The images. Bases that somebody made by hand are not among them.

    Raises:
        EngineError: No engine answers.
    """
    with closing(connect(_SECONDS)) as engine, engine_errors():
        made = [
            MadeImage((image.get("RepoTags") or [image["Id"]])[0], int(image["Size"]), float(image["Created"]))
            for image in engine.images(filters={"label": LABEL})
        ]
        return [image for image in made if not image.name.startswith(_BASES)]


def remove_image(name: str) -> bool:
    """Remove an image that no container uses. Blocks.

    Args:
        name: What the engine calls it.

    Returns:
        Whether it is gone; False where a container uses it.

    Raises:
        EngineError: No engine answers.
    """
    with closing(connect(_SECONDS)) as engine:
        try:
            with engine_errors():
                engine.remove_image(name)
        except NoSuchImageError:
            return True
        except EngineError:
            return False
    return True
