"""What can be wrong with the packages that were asked for.

EnvironmentBuildError            raised as itself where the index or this machine failed
└── PackageError                 what was asked for can't be had: another choice of packages can help
    ├── InvalidRequirementError  (ValueError) no usable name or requirement
    ├── PackageNotFoundError     no such distribution, or no such version of it
    ├── NoWheelError             there is one, but none that installs without being built
    └── PackageConflictError     they can't be installed together
"""

from __future__ import annotations

from flyteplugins.codegen.core.errors import EnvironmentBuildError


class PackageError(EnvironmentBuildError):
    """The packages that were asked for can't be had; whoever chose them, mostly the model, must choose others."""


class InvalidRequirementError(PackageError, ValueError):
    """A requirement or the name of an apt package can't be used."""


class PackageNotFoundError(PackageError):
    """The index has no such distribution, or no such version of it."""


class NoWheelError(PackageError):
    """The index has the distribution, but no wheel for this Python version and platform.

    Nothing is built from source: that would run a stranger's code outside the sandbox.
    """


class PackageConflictError(PackageError):
    """The requirements exclude each other."""
