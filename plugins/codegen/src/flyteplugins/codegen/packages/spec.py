"""A checked environment spec, and the requirements that it is made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.packages.errors import InvalidRequirementError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_APT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def python_version(chosen: tuple[int, int] | None = None) -> str:
    """The Python version that code is generated for.

    Args:
        chosen: What the user's image settings say, as `(3, 12)`; the running interpreter's version if None.

    Returns:
        `major.minor`.
    """
    major, minor = chosen or sys.version_info[:2]
    return f"{major}.{minor}"


def environment_spec(python: str, packages: Iterable[str], system_packages: Iterable[str] = ()) -> EnvironmentSpec:
    """Put an environment together.

    Args:
        python: `major.minor`.
        packages: Requirements as pip writes them.
        system_packages: Names of apt packages.

    Returns:
        The spec, in one spelling: what means the same has the same key.

    Raises:
        InvalidRequirementError: A requirement does not parse, or a name is none that apt has.
    """
    apt = sorted({name.strip() for name in system_packages})
    for name in apt:
        if not _APT_NAME.fullmatch(name):
            raise InvalidRequirementError(f"{name!r} is not the name of an apt package, such as 'libgomp1'.", (name,))
    return EnvironmentSpec(
        python=python,
        packages=tuple(sorted({write_requirement(read_requirement(text)) for text in packages})),
        system_packages=tuple(apt),
    )


def read_requirement(text: str, *, trusted: bool = True) -> Requirement:
    """Parse a requirement.

    Args:
        text: As pip writes it, such as `pandas[excel]>=2.2`.
        trusted: The user wrote it. What a model wrote may name a distribution and its versions, but not the place
            that it is fetched from.

    Returns:
        The requirement.

    Raises:
        InvalidRequirementError: It is none: a pip option, a path or prose; or a URL where that is not allowed.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text.strip())
    except InvalidRequirement as error:
        raise InvalidRequirementError(
            f"{_short(text)} is not a requirement. Give the name of a distribution, with versions where they matter, "
            "such as 'pandas>=2.2'.",
            (text,),
        ) from error
    if requirement.url and not trusted:
        raise InvalidRequirementError(
            f"{_short(text)} names a place to fetch code from. Only distributions of the configured index can be used: "
            f"give '{requirement.name}'.",
            (requirement.name,),
        )
    return requirement


def write_requirement(requirement: Requirement) -> str:
    """The one spelling of a requirement: the name as PEP 503 normalises it, extras and versions sorted."""
    from packaging.utils import canonicalize_name

    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    name = f"{canonicalize_name(requirement.name)}{extras}"
    if requirement.url:
        return f"{name} @ {requirement.url}{' ' if marker else ''}{marker}"
    return f"{name}{requirement.specifier}{marker}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
