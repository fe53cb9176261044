"""The images that were made here are known to the command, and those that a container uses stay."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from flyteplugins.codegen.cli.main import main
from flyteplugins.codegen.sandbox.docker_engine import LABEL, EngineError, connect
from flyteplugins.codegen.sandbox.docker_images import LOCAL_BASE, find_base
from flyteplugins.codegen.sandbox.made_images import made_images, remove_image


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    try:
        client = connect()
    except EngineError as error:
        pytest.skip(f"no Docker engine answers: {error}")
    if find_base(client, "3.11") is None:
        pytest.skip("the Docker engine has no base image: run images/build-base.sh")
    yield client
    client.close()


@pytest.fixture
def made(engine: Any) -> Iterator[str]:
    """An image such as ours are, of nothing but its base."""
    tag = f"test-{uuid.uuid4().hex}"
    container = engine.create_container(find_base(engine, "3.11"), ["true"])["Id"]
    engine.commit(container, LABEL, tag, changes=[f"LABEL {LABEL}=environment"])
    engine.remove_container(container)
    yield f"{LABEL}:{tag}"
    remove_image(f"{LABEL}:{tag}")


def test_an_image_that_was_made_here_is_listed_and_its_base_is_not(made: str, codegen_home: None) -> None:
    listed = CliRunner().invoke(main, ["cache", "list", "images", "--details", "--json"])
    names = [entry["name"] for entry in json.loads(listed.stdout)["entries"]]
    assert made in names
    assert LOCAL_BASE.format(version="3.11") not in names


def test_an_image_that_a_container_uses_stays_until_it_does_not(engine: Any, made: str) -> None:
    container = engine.create_container(made, ["true"])["Id"]
    try:
        assert not remove_image(made)
        assert made in [image.name for image in made_images()]
    finally:
        engine.remove_container(container)
    assert remove_image(made)
    assert made not in [image.name for image in made_images()]
    assert remove_image(made)
