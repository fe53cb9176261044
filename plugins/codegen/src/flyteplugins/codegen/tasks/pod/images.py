"""The image that generated code runs on in a cluster: one built from its lock, or a ready one that installs it."""

from __future__ import annotations

import base64
import json
import logging
import re
import zlib
from dataclasses import dataclass
from importlib import resources as package_files
from pathlib import Path
from typing import Final, Literal

import flyte
from flyte.errors import ImageBuildError, RemoteTaskNotFoundError

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError, InvalidRequestError
from flyteplugins.codegen.core.pinned import pin_text
from flyteplugins.codegen.core.settings import ImageStrategy

logger = logging.getLogger(__name__)

_IMAGE_NAME: Final = "codegen"
"""One name for all: the tag says what is in it, so that tasks of the same packages share an image."""


@dataclass(frozen=True)
class ImageWishes:
    """What is wanted of the image of a task, besides its packages.

    Attributes:
        strategy: `build`, `install` or `auto`.
        base_image: The ready image that packages are installed on; Flyte's own for the Python version if None.
        wheels: Folder of wheels in the ready image that they are installed from; the package index if None.
        registry: Where a built image is pushed to; Flyte's own setting if None.
        registry_secret: Name of the secret that opens the registry.
        built: The image, where it is built already.
    """

    strategy: ImageStrategy = "auto"
    base_image: str | None = None
    wheels: str | None = None
    registry: str | None = None
    registry_secret: str | None = None
    built: str | None = None


@dataclass(frozen=True)
class Chosen:
    """The strategy that is taken here.

    Attributes:
        strategy: `build` or `install`.
        told: It and the reason, in a sentence.
    """

    strategy: Literal["build", "install"]
    told: str


def in_cluster_task() -> bool:
    """Whether a task on a cluster goes on here, and not a local run."""
    context = flyte.ctx()
    # Outside a task it is an empty one, which is false.
    return bool(context) and context.mode != "local"


async def choose_strategy(wanted: ImageStrategy) -> Chosen:
    """The strategy for images that are needed while a task runs on a cluster.

    Args:
        wanted: `auto` builds where there is an image builder.

    Returns:
        The strategy.

    Raises:
        InvalidRequestError: `build` is wanted, and there is no image builder.
    """
    if wanted == "install":
        return Chosen("install", "Images: packages are installed on a ready image, as asked for.")
    problem = await _builder_problem()
    if problem is None:
        return Chosen("build", f"Images are built with flyte.build{', as asked for' if wanted == 'build' else ''}.")
    if wanted == "build":
        raise InvalidRequestError(
            f"image_strategy='build' can't be used here: {problem}. With 'install' the packages are installed on a "
            "ready image when a container starts."
        )
    return Chosen("install", f"Images: packages are installed on a ready image, for {problem}.")


def image_of(lock: Lock, wishes: ImageWishes) -> flyte.Image:
    """The image of a task; nothing is built until it is deployed.

    Args:
        lock: The packages.
        wishes: What is wanted besides.

    Returns:
        The image.

    Raises:
        InvalidRequestError: Debian packages can't be installed on Flyte's own image.
    """
    if wishes.built:
        return flyte.Image.from_base(wishes.built)
    if wishes.strategy != "install":
        return _built_image(lock, wishes)
    if wishes.base_image:
        return flyte.Image.from_base(wishes.base_image)
    if lock.system_packages:
        raise InvalidRequestError(
            f"The code needs the Debian packages {', '.join(lock.system_packages)}, which image_strategy='install' "
            "can't install when a container starts. Name an image that has them: base_image=... ."
        )
    return flyte.Image.from_debian_base(python_version=_version(lock))


def install_arguments(lock: Lock, wishes: ImageWishes) -> list[str]:
    """The arguments of `python` that come before those of the entry: what installs, where something is to be installed.

    Args:
        lock: The packages.
        wishes: What is wanted of the image.

    Returns:
        The arguments; none where the image has the packages, or there are none.
    """
    if wishes.built or wishes.strategy != "install" or not has_packages(lock):
        return []
    text = package_files.files(__package__).joinpath("guest/install.py").read_text(encoding="utf-8")
    packed = base64.b64encode(zlib.compress(lock.requirements.encode())).decode()
    return ["-c", text, packed, json.dumps({"python": lock.python, "wheels": wishes.wheels})]


async def build(image: flyte.Image, lock: Lock) -> str:
    """Build an image in a task on a cluster, as a trace of it: a retry of the task is served the address.

    Args:
        image: The image.
        lock: What is in it.

    Returns:
        Its address.

    Raises:
        EnvironmentBuildError: It can't be built.
    """

    async def build_image(key: str) -> str:
        return (await flyte.build.aio(image)).uri or image.uri

    try:
        address: str = await flyte.trace(build_image)(lock.key)
    except ImageBuildError as error:
        raise EnvironmentBuildError(f"The image of the packages can't be built: {error}") from error
    logger.info("The image %s has the packages %s.", address, lock.key[:12])
    return address


def has_packages(lock: Lock) -> bool:
    """Whether there is anything to install."""
    return bool(re.search(r"==|@", lock.requirements))


def _built_image(lock: Lock, wishes: ImageWishes) -> flyte.Image:
    image = flyte.Image.from_debian_base(
        install_flyte=False,
        python_version=_version(lock),
        platform=("linux/arm64" if lock.platform.startswith("aarch64") else "linux/amd64",),
        registry=wishes.registry,
        registry_secret=wishes.registry_secret,
        name=_IMAGE_NAME,
    )
    if lock.system_packages:
        image = image.with_apt_packages(*lock.system_packages)
    if not has_packages(lock):
        return image
    requirements = pin_text(lock.requirements, "requirements.txt")
    return image.with_requirements(Path(requirements.path), extra_args="--require-hashes --only-binary :all:")


def _version(lock: Lock) -> tuple[int, int]:
    major, minor = lock.python.split(".")[:2]
    return int(major), int(minor)


async def _builder_problem() -> str | None:
    """Why no image can be built from here; None if one can."""
    import shutil

    from flyte._initialize import get_init_config  # flyte has no public word for the builder that is set
    from flyte._internal.imagebuild import remote_builder  # nor for where its own builder of a cluster is

    builder = get_init_config().image_builder
    if builder == "local":
        return None if shutil.which("docker") else "there is no Docker here, which images would be built with"
    if builder != "remote":
        return None  # a plugin's, which makes its own arrangements
    # Asked for itself: where this can't be answered, `flyte.build` takes each image for one that is there.
    wanted = flyte.remote.Task.get(
        name=remote_builder.IMAGE_TASK_NAME,
        project=remote_builder.IMAGE_TASK_PROJECT,
        domain=remote_builder.IMAGE_TASK_DOMAIN,
        auto_version="latest",
    )
    try:
        await wanted.fetch.aio()
    except RemoteTaskNotFoundError:
        return "this cluster has no image builder"
    except Exception as error:  # a control plane that knows no such project, refuses, or does not answer
        return f"this cluster's image builder could not be looked up ({type(error).__name__}: {error})"
    return None
