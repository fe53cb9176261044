"""`codegen doctor`: what is installed, where code can run here, and which keys are set."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import flyteplugins.codegen
from flyteplugins.codegen.cli.console import Screen
from flyteplugins.codegen.sandbox.select import survey

_DISTRIBUTION: Final = "flyteplugins-codegen"

_PROVIDERS: Final = {
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    "gemini": ("GEMINI_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_API_BASE"),
    "mistral": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "bedrock": ("AWS_ACCESS_KEY_ID",),
    "ollama": ("OLLAMA_API_BASE",),
}
"""The variables that litellm reads for the providers that are asked for most."""


@dataclass(frozen=True)
class Installed:
    """A distribution of the plugin that this interpreter sees.

    Attributes:
        version: Its version.
        location: The folder that it is installed in.
        imported: Whether the package that is imported is its.
    """

    version: str
    location: str
    imported: bool


def doctor(screen: Screen) -> None:
    """Print the findings, for people or as a document."""
    found = report()
    if screen.as_json:
        screen.document(found)
        return
    screen.say(f"flyteplugins-codegen {found['version']}, Python {found['python']}")
    screen.say(f"imported from {found['imported_from']}")
    for note in found["notes"]:
        screen.say(f"note: {note}")
    screen.say("\nWhere code can run:")
    for runtime in found["runtimes"]:
        mark = "yes" if runtime["available"] else "no "
        isolates = "isolates" if runtime["isolates"] else "does NOT isolate, only when named"
        screen.say(f"  {mark} {runtime['name']:<12} {isolates}: {runtime['reason']}")
    screen.say("\nVariables for models (names only):")
    for model in found["models"]:
        screen.say(
            f"  {model['provider']:<12} {', '.join(f'{name}: {state}' for name, state in model['variables'].items())}"
        )


def report() -> dict[str, Any]:
    """The findings as plain data; values of variables are never among them."""
    package = Path(next(iter(flyteplugins.codegen.__path__)))
    installed = distributions(package)
    ours = next((one for one in installed if one.imported), None)
    return {
        "version": ours.version if ours else "not installed",
        "python": platform.python_version(),
        "imported_from": str(package),
        "distributions": [asdict(one) for one in installed],
        "runtimes": [asdict(runtime) for runtime in asyncio.run(survey())],
        "models": [
            {
                "provider": provider,
                "variables": {name: "present" if os.environ.get(name) else "absent" for name in names},
            }
            for provider, names in _PROVIDERS.items()
        ],
        "notes": _notes(installed),
    }


def distributions(package: Path) -> list[Installed]:
    """Every distribution of the plugin on the path of this interpreter, in the order in which imports look.

    Args:
        package: The folder of the package that is imported.

    Returns:
        The distributions; none is marked as imported where the package belongs to no distribution.
    """
    found: dict[str, Installed] = {}
    for distribution in metadata.distributions(name=_DISTRIBUTION):
        location = str(distribution.locate_file(""))
        if location not in found:
            found[location] = Installed(distribution.version, location, _provides(distribution, package))
    return list(found.values())


def _provides(distribution: metadata.Distribution, package: Path) -> bool:
    home = Path(str(distribution.locate_file("")))
    if package.is_relative_to(home):
        return True
    # An editable install has a file of paths in the place of the package.
    for file in distribution.files or ():
        if file.suffix == ".pth":
            lines = Path(str(distribution.locate_file(file))).read_text(encoding="utf-8").splitlines()
            if any(line and package.is_relative_to(line) for line in lines):
                return True
    return False


def _notes(installed: list[Installed]) -> list[str]:
    notes = []
    others = [one for one in installed if not one.imported]
    if others:
        shown = "; ".join(f"{one.version} in {one.location}" for one in others)
        notes.append(
            f"another {_DISTRIBUTION} is installed and not the one that is imported: {shown}. Uninstall it, so that "
            "its version is not taken for this one's."
        )
    if not any(one.imported for one in installed):
        notes.append(f"the package that is imported belongs to no installed {_DISTRIBUTION}.")
    if sys.platform == "darwin":
        notes.append("macOS: code runs in Docker, and environments are resolved for Linux.")
    return notes
