"""A saved generation: a folder that holds everything of a result, works by hand, and can be read back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any, Final

from flyte.io import File
from pydantic import ValidationError

from flyteplugins.codegen.checks.fixture import fixture_files
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.credentials import is_credential
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.files import write_atomically
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.scratch import PREFIX, scratch, sweep
from flyteplugins.codegen.models.transcript import transcript_of
from flyteplugins.codegen.report import html
from flyteplugins.codegen.results.script import script, without_metadata

SOLUTION: Final = "solution.py"
TESTS: Final = "test_solution.py"
LOCK: Final = "requirements.lock"
RESULT: Final = "generation.json"
TRANSCRIPT: Final = "transcript.jsonl"
REPORT: Final = "report.html"
SAMPLES: Final = "samples"
OUTPUTS: Final = "outputs"
VERSIONS: Final = "revisions"
"""The entries of the folder; beside them stand the files of the test fixture."""

LARGEST_SAMPLE: Final = 50_000_000
"""Bytes up to which a sample is copied into the folder; a larger one is referred to by its path."""

EDITED: Final = (
    "{} was edited after the generation: what is said here of checks and tests was seen before that. `codegen test` "
    "runs the tests as they are now on the code as it is now."
)
"""The warning in the receipt of a generation whose code or tests were edited in its folder."""

_EMPTY: Final = Contract(inputs={}, outputs={})


def save(result: CodeGenEvalResult, folder: Path, outputs: Path | None = None) -> Path:
    """Write `result` into a folder: code, tests with their fixture, lock, samples, transcript, report.

    What stood there of an earlier generation is replaced, in one go at the end; files that are none of ours stay.

    Args:
        result: What to save, successful or not.
        folder: Where to; made if it is missing.
        outputs: A folder with the outputs of a run, copied to `outputs/`.

    Returns:
        The folder, absolute.

    Raises:
        InvalidRequestError: The folder can't be written, or has files of these names that no generation wrote.
    """
    target = check_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    sweep(target)
    # Inside the target, so that the final moves are renames on one file system.
    with scratch(target) as staging:
        _write(result, staging, outputs)
        _replace(target, staging)
    return target


def check_folder(folder: Path) -> Path:
    """See, before anything is paid for, whether a generation can be saved in a folder.

    Args:
        folder: Where `save` is to write.

    Returns:
        The folder, absolute.

    Raises:
        InvalidRequestError: It is a file, can't be written, or has files of these names that no generation wrote.
    """
    target = folder.expanduser().absolute()
    existing = next(path for path in (target, *target.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InvalidRequestError(f"{folder} can't be written: see {existing}. Name another folder.")
    if not (target / RESULT).exists() and not any(target.glob(f"{PREFIX}*")):  # one whose writer was killed
        ours = (SOLUTION, TESTS, LOCK, TRANSCRIPT, REPORT, SAMPLES, OUTPUTS, *fixture_files(_EMPTY, {}))
        if foreign := [name for name in ours if (target / name).exists()]:
            raise InvalidRequestError(
                f"{target} has files that a saved generation would replace, and is none: {', '.join(foreign)}. Name "
                "another folder."
            )
    return target


def save_outputs(folder: Path, outputs: Path) -> Path:
    """Put the outputs of a run into a saved generation, in place of those of an earlier run.

    Args:
        folder: A saved generation.
        outputs: The folder that the run wrote.

    Returns:
        Where they are now.
    """
    with scratch(folder) as staging:
        shutil.copytree(outputs, staging / OUTPUTS)
        _move(staging / OUTPUTS, folder / OUTPUTS, staging)
    return folder / OUTPUTS


def write_report(folder: Path) -> Path:
    """Write the report of a saved generation anew, from what is there now.

    Args:
        folder: A saved generation.

    Returns:
        The HTML file, absolute.

    Raises:
        InvalidRequestError: The folder is no saved generation, or can't be written.
    """
    root = folder.expanduser().absolute()
    document = html.document(load(root))
    try:
        write_atomically(root / REPORT, document.encode())
    except OSError as error:
        raise InvalidRequestError(
            f"{root / REPORT} can't be written: {error.strerror}. Copy the folder to where it can."
        ) from error
    return root / REPORT


def load(folder: Path) -> CodeGenEvalResult:
    """Read a saved generation.

    Code and tests that were edited in the folder are what the result then has; its receipt says so.

    Args:
        folder: What `save` wrote, here or on another machine.

    Returns:
        The result, with its samples at their paths in this folder.

    Raises:
        InvalidRequestError: The folder is no saved generation, or a file of it can't be read.
    """
    result, edits = recorded(folder), edits_of(folder)
    if not edits:
        return result
    told = [EDITED.format(name) for name in edits]
    warnings = [*(line for line in result.receipt.warnings if line not in told), *told]
    changed: dict[str, Any] = {"receipt": result.receipt.model_copy(update={"warnings": warnings})}
    if SOLUTION in edits and result.solution:
        code = without_metadata(edits[SOLUTION])
        changed["solution"] = result.solution.model_copy(update={"code": code})
    if TESTS in edits:
        changed["tests"] = edits[TESTS]
    return result.model_copy(update=changed)


def recorded(folder: Path) -> CodeGenEvalResult:
    """Read a saved generation as it was written, whatever was edited in it since.

    Args:
        folder: What `save` wrote, here or on another machine.

    Returns:
        The result, with its samples at their paths in this folder.

    Raises:
        InvalidRequestError: The folder is no saved generation, or a file of it can't be read.
    """
    root = folder.expanduser().absolute()
    result = _read(root)
    if result.original_samples:
        samples = {name: _anchored(root, file) for name, file in result.original_samples.items()}
        result = result.model_copy(update={"original_samples": samples})
    examples = {name: _anchored(root, file) for name, file in result.origin.example_files.items()}
    return result.model_copy(update={"origin": result.origin.model_copy(update={"example_files": examples})})


def edited(folder: Path) -> bool:
    """Whether somebody changed the code or the tests of a saved generation since it was written."""
    return bool(edits_of(folder))


def edits_of(folder: Path) -> dict[str, str]:
    """The files of a saved generation that somebody edited since it was written.

    Args:
        folder: A saved generation.

    Returns:
        The text of the code and of the tests as they are now, by file name, for those that are not as they were.
    """
    root = folder.expanduser().absolute()
    result = _read(root)
    written = {SOLUTION: script(result) if result.solution else None, TESTS: result.tests}
    now = {name: (root / name).read_text(encoding="utf-8") for name in written if (root / name).is_file()}
    return {name: text for name, text in now.items() if text != written[name]}


def keep_version(folder: Path) -> Path:
    """Keep a copy of a saved generation inside of it, before a revision takes its place.

    Args:
        folder: A saved generation; what was edited in it since it was written is not in the copy.

    Returns:
        The copy, a saved generation itself: `revisions/1` is the first version, `revisions/2` the next.
    """
    root = folder.expanduser().absolute()
    newest = max((int(path.name) for path in (root / VERSIONS).glob("*") if path.name.isdigit()), default=0)
    kept, outputs = root / VERSIONS / str(newest), root / OUTPUTS
    if (kept / RESULT).is_file() and _same_version(_read(kept), _read(root)):
        return kept  # by a revision that was killed before it took the place of this version
    return save(recorded(root), root / VERSIONS / str(newest + 1), outputs if outputs.is_dir() else None)


def _same_version(one: CodeGenEvalResult, other: CodeGenEvalResult) -> bool:
    # A copy has samples of its own.
    files: Any = {"original_samples": True, "origin": {"example_files"}}
    return one.model_dump(exclude=files) == other.model_dump(exclude=files)


def _write(result: CodeGenEvalResult, staging: Path, outputs: Path | None) -> None:
    if result.solution:
        (staging / SOLUTION).write_text(script(result), encoding="utf-8")
    if result.tests is not None:
        (staging / TESTS).write_text(result.tests, encoding="utf-8")
    if result.lock:
        (staging / LOCK).write_text(_lock_text(result.lock), encoding="utf-8")
    document = result.model_dump(mode="json")
    for name, file in (result.original_samples or {}).items():
        document["original_samples"][name] = _keep_sample(name, file, staging)
    for name, file in result.origin.example_files.items():
        document["origin"]["example_files"][name] = _keep_sample(name, file, staging)
    if result.tests is not None:
        samples = {name: entry["path"] for name, entry in (document["original_samples"] or {}).items()}
        for name, text in fixture_files(result.contract, samples).items():
            (staging / name).write_text(text, encoding="utf-8")
    _without_credentials(document)
    (staging / RESULT).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (staging / TRANSCRIPT).write_text(transcript_of(result.conversation_history), encoding="utf-8")
    (staging / REPORT).write_text(html.document(result), encoding="utf-8")
    if outputs is not None:
        shutil.copytree(outputs, staging / OUTPUTS)


def _lock_text(lock: Lock) -> str:
    system = f"# apt packages: {' '.join(lock.system_packages)}\n" if lock.system_packages else ""
    return (
        f"# Python {lock.python}, {lock.platform}. uv pip sync --require-hashes {LOCK}\n"
        f"{system}{lock.requirements.rstrip()}\n"
    )


def _keep_sample(name: str, file: File[Any], staging: Path) -> dict[str, Any]:
    """Copy a local sample of a moderate size into the folder; the entry that stands for it in the document."""
    entry: dict[str, Any] = file.model_dump(mode="json")
    source = _local(file)
    if source is None or not source.is_file() or source.stat().st_size > LARGEST_SAMPLE:
        return entry
    kept = PurePosixPath(SAMPLES) / name / source.name
    (staging / kept).parent.mkdir(parents=True)
    shutil.copyfile(source, staging / kept)
    return entry | {"path": str(kept)}


def _local(file: File[Any]) -> Path | None:
    path = file.path.removeprefix("file://")
    return None if "://" in path else Path(path)


def _read(root: Path) -> CodeGenEvalResult:
    try:
        document = json.loads((root / RESULT).read_text(encoding="utf-8"))
        return CodeGenEvalResult.model_validate(document)
    except FileNotFoundError:
        raise InvalidRequestError(
            f"{root} is no saved generation: it has no {RESULT}. Name a folder that `codegen generate` or "
            "`result.save()` wrote."
        ) from None
    except ValidationError as error:
        raise InvalidRequestError(f"{root / RESULT} is not what a generation wrote: {error}") from error
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{root / RESULT} can't be read: {error}.") from error


def _anchored(root: Path, file: File[Any]) -> File[Any]:
    """A sample at its path in this folder; its content is hashed anew, as it may have been edited."""
    relative = PurePosixPath(file.path)
    if "://" in file.path or relative.is_absolute():
        return file
    path = (root / relative).resolve()
    if not path.is_relative_to((root / SAMPLES).resolve()):
        raise InvalidRequestError(f"{root / RESULT} names a sample outside of the folder: {relative}.")
    if not path.is_file():
        raise InvalidRequestError(f"{path} is missing: the sample belongs to the saved generation in {root}.")
    with path.open("rb") as stream:
        return File(path=str(path), name=file.name, format=file.format, hash=_digest(stream))


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def _without_credentials(document: dict[str, Any]) -> None:
    """Leave out environment variables that are named like credentials, and say in the receipt what is not there."""
    env_vars = document["defaults"]["env_vars"]
    told = []
    for name in [name for name in env_vars if is_credential(name)]:
        del env_vars[name]
        told.append(
            f"The value of {name} was not saved, as its name is that of a credential: pass it to run(env_vars=...)."
        )
    if left_out := document["origin"]["agent"].get("withheld"):
        told.append(
            f"{', '.join(left_out)} of the agent was not saved, as it may hold a credential: pass revise(agent=...) an "
            "agent that has it."
        )
    warnings = document["receipt"]["warnings"]
    warnings += [line for line in told if line not in warnings]


def _replace(target: Path, staging: Path) -> None:
    """Move the finished entries to their places, what says that the folder is a generation last."""
    fresh = sorted((entry for entry in staging.iterdir()), key=lambda entry: entry.name == RESULT)
    # Without it the folder is no generation: whoever is killed now leaves none, rather than one of two halves.
    _set_aside(target / RESULT, staging)
    names = {entry.name for entry in fresh}
    for name in (SOLUTION, TESTS, LOCK, SAMPLES, OUTPUTS):
        if name not in names:
            _set_aside(target / name, staging)
    for entry in fresh:
        _move(entry, target / entry.name, staging)


def _move(source: Path, destination: Path, staging: Path) -> None:
    if source.is_dir():
        _set_aside(destination, staging)
    source.replace(destination)


def _set_aside(path: Path, staging: Path) -> None:
    """Take an entry of an earlier generation away; it goes when the staging folder does."""
    if path.exists():
        old = staging / "earlier"
        old.mkdir(exist_ok=True)
        path.replace(old / path.name)
