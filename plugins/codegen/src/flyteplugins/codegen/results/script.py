"""The code of a result as a script that carries its dependencies (PEP 723), and what a person made of those."""

from __future__ import annotations

import re

from flyteplugins.codegen.core.result import CodeGenEvalResult

_METADATA = re.compile(r"^# /// script\n(?:#(?: .*)?\n)*?# ///\n\n?", re.MULTILINE)
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_REQUIREMENT_NAME = re.compile(r"^\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[^\]]*\])?")
_DEPENDENCIES = re.compile(r"^# *dependencies *= *\[(?P<listed>.*?)\] *$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"""["']([^"']+)["']""")


def script(result: CodeGenEvalResult) -> str:
    """The code with its dependencies as inline script metadata (PEP 723), for `uv run` and the like.

    The distributions that the code imports are pinned to the versions that were tested.

    Args:
        result: A result with a solution.

    Returns:
        The text of `solution.py`.
    """
    code = result.solution.code if result.solution else ""
    lines = ["# /// script"]
    if result.lock:
        lines.append(f'# requires-python = ">={result.lock.python}"')
    lines += ["# dependencies = ["]
    lines += [f'#     "{requirement}",' for requirement in _pinned(result)]
    lines += ["# ]", "# ///", "", ""]
    # A second block of the same kind, from the model, would be an error of the standard.
    return "\n".join(lines) + without_metadata(code)


def without_metadata(code: str) -> str:
    """The code without inline script metadata."""
    return _METADATA.sub("", code)


def changed_requirements(result: CodeGenEvalResult, code: str) -> tuple[list[str], set[str]]:
    """What a person changed in the inline script metadata that `script` wrote.

    Args:
        result: What the script was written from.
        code: A person's version of it; one without metadata changes nothing.

    Returns:
        The requirements that are new or have another version, and the normalised names of those that are gone.
    """
    block = _METADATA.search(code)
    listed = _DEPENDENCIES.search(block[0]) if block else None
    if listed is None:
        return [], set()
    before, now = _pinned(result), _QUOTED.findall(listed["listed"])
    gone = {requirement_name(line) for line in before} - {requirement_name(line) for line in now}
    return [line for line in now if line not in before], gone


def requirement_name(requirement: str) -> str:
    """The normalised name in a requirement."""
    match = _REQUIREMENT_NAME.match(requirement)
    return _canonical(match["name"]) if match else requirement


def _pinned(result: CodeGenEvalResult) -> list[str]:
    """The requirements of the code, each with the version of the lock where that has one."""
    versions = (
        {_canonical(match["name"]): match["version"] for match in _PINNED.finditer(result.lock.requirements)}
        if result.lock
        else {}
    )
    pinned = []
    for requirement in result.detected_packages:
        match = _REQUIREMENT_NAME.match(requirement)
        version = versions.get(_canonical(match["name"])) if match else None
        pinned.append(f"{match['name']}{match['extras'] or ''}=={version}" if match and version else requirement)
    return sorted(pinned)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
