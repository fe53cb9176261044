"""The code of a result as a small module of its own, for version control and review; it needs this package no more."""

from __future__ import annotations

import functools
import keyword
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyteplugins.codegen.core.contract import FILES, FRAMES, PANDAS, Contract
from flyteplugins.codegen.core.errors import GenerationFailedError, InvalidRequestError
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.scratch import scratch
from flyteplugins.codegen.core.values import PLAIN_TYPES
from flyteplugins.codegen.results.saved import LARGEST_SAMPLE, SAMPLES, SOLUTION
from flyteplugins.codegen.results.script import script

if TYPE_CHECKING:
    from jinja2 import Environment

TARGETS: Final = ("flyte", "flytekit", "script")
"""What a generation can be exported to."""

PIPELINE: Final = "pipeline.py"
REQUIREMENTS: Final = "requirements.txt"
README: Final = "README.md"
"""The entries of the folder, beside `solution.py` and `samples`."""

_WIDTH: Final = 88
"""Characters of a line: the narrowest that formatters have by default, so that none breaks a line anew."""

_ANNOTATIONS: Final = {
    "str": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "datetime": "datetime.datetime",
    "timedelta": "datetime.timedelta",
    "date": "datetime.date",
    "dict": "dict",
    "list": "str",  # neither Flyte has a type for a list of anything but pickles: its JSON
    PANDAS: "pd.DataFrame",
}
_OF_TARGET: Final[dict[str, dict[str, str]]] = {
    "flyte": {"File": "File", "Dir": "Dir", FILES: "list[File]", "DataFrame": "DataFrame"},
    "flytekit": {
        "File": "FlyteFile",
        "Dir": "FlyteDirectory",
        FILES: "list[FlyteFile]",
        "DataFrame": "StructuredDataset",
    },
}
"""The types that each target has besides, as its module writes them."""

_READERS: Final = {"File": "save", "Dir": "save_folder", "DataFrame": "read_dataset", PANDAS: "read_frame"}
"""The function of the module that reads an output, by its type; `read_<type>` for the rest."""

_EXAMPLES: Final = {"File": "FILE", FILES: "FILE", "Dir": "FOLDER", "DataFrame": "TABLE", PANDAS: "TABLE"}
"""What stands in a command for a value that no text stands for."""

_TABLE_PACKAGES: Final = ("pandas", "pyarrow")
_HELPERS: Final = ("run_solution", "argument", *_READERS.values(), *(f"read_{kind}" for kind in PLAIN_TYPES))
_MODULE_NAMES: Final = frozenset(
    {
        *("HERE", "env", "image", "Outputs", "asyncio", "datetime", "json", "re", "subprocess", "sys", "tempfile"),
        *("Path", "NamedTuple", "flyte", "File", "ImageSpec", "Resources", "Secret", "task", "workflow", "pd"),
        *("FlyteFile", "FlyteDirectory", "StructuredDataset", "Dir", "DataFrame"),
    }
)
"""What the templates name at the top of a module, besides the helpers."""


@dataclass(frozen=True)
class _Input:
    name: str
    kind: str
    annotation: str
    example: str
    sample: Path | None = None
    constant: str = ""


@dataclass(frozen=True)
class _Output:
    name: str
    kind: str
    annotation: str
    call: str


def export(result: CodeGenEvalResult, folder: Path, to: str, *, force: bool = False) -> list[Path]:
    """Write the code of a result as a module that needs this package no more.

    Args:
        result: A result that succeeded.
        folder: Where to; made if it is missing. Other files in it stay.
        to: `flyte`, `flytekit` or `script`.
        force: Whether files of these names that have other content are replaced.

    Returns:
        The files, absolute.

    Raises:
        GenerationFailedError: The generation did not succeed.
        InvalidRequestError: The target is unknown, or the folder can't be written or has files of these names with
            other content.
    """
    if to not in TARGETS:
        raise InvalidRequestError(f"Code can't be exported to {to!r}. Possible: {', '.join(TARGETS)}.")
    if not result.success or result.solution is None or result.lock is None:
        raise GenerationFailedError(
            f"The generation did not succeed, so there is nothing to export: {result.error or 'it has no code.'}"
        )
    target = folder.expanduser().absolute()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with scratch(target) as staging:
            _write(result, staging, to)
            names = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
            changed = [name for name in names if _differs(staging / name, target / name)]
            if changed and not force:
                raise InvalidRequestError(
                    f"{target} has other files of these names: {', '.join(map(str, changed))}. Name another folder, or "
                    "have them replaced with --force."
                )
            for name in names:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(target / name)
    except OSError as error:
        raise InvalidRequestError(f"{target} can't be written: {error.strerror}. Name another folder.") from error
    return [target / name for name in names]


def task_name(result: CodeGenEvalResult) -> str:
    """The name of the exported task: the agent's as an identifier.

    Args:
        result: What is exported.

    Returns:
        A Python identifier in lower case that means nothing else in the exported module.
    """
    name = re.sub(r"[^a-z0-9]+", "_", result.defaults.name.lower()).strip("_")
    name = name if name and not name[0].isdigit() else f"task_{name}".rstrip("_")
    inputs = result.contract.inputs
    return _free(name, {*_MODULE_NAMES, *_HELPERS, *_helpers(inputs).values(), *inputs})


def _helpers(inputs: Iterable[str]) -> dict[str, str]:
    """The functions of the module under names that no input hides in the task."""
    taken = set(inputs)
    return {helper: _free(helper, taken) for helper in _HELPERS}


def _write(result: CodeGenEvalResult, staging: Path, to: str) -> None:
    contract, lock = result.contract, result.lock
    samples = _keep_samples(result, staging)
    (staging / SOLUTION).write_text(script(result), encoding="utf-8")
    values = _values(result, contract, samples, to)
    if to == "flyte" and lock is not None and "==" in lock.requirements:
        (staging / REQUIREMENTS).write_text(lock.requirements.rstrip() + "\n", encoding="utf-8")
    if to != "script":
        (staging / PIPELINE).write_text(_render(f"pipeline_{to}.py", values), encoding="utf-8")
    (staging / README).write_text(_render(f"readme_{to}.md", values), encoding="utf-8")


def _keep_samples(result: CodeGenEvalResult, staging: Path) -> dict[str, Path]:
    """Copy the local samples of a moderate size; their paths in the folder, by input."""
    kept = {}
    for name, file in (result.original_samples or {}).items():
        path = file.path.removeprefix("file://")
        source = Path(path)
        if "://" in path or not source.is_file() or source.stat().st_size > LARGEST_SAMPLE:
            continue
        kept[name] = Path(SAMPLES, name, source.name)
        (staging / kept[name]).parent.mkdir(parents=True)
        shutil.copyfile(source, staging / kept[name])
    return kept


def _differs(new: Path, old: Path) -> bool:
    return old.exists() and not (old.is_file() and old.read_bytes() == new.read_bytes())


def _values(result: CodeGenEvalResult, contract: Contract, samples: dict[str, Path], to: str) -> dict[str, Any]:
    """What the templates use."""
    name, defaults, lock = task_name(result), result.defaults, result.lock
    helpers = _helpers(contract.inputs)
    taken = {*contract.inputs, *_MODULE_NAMES, *helpers.values(), name}
    inputs = []
    for key, kind in contract.inputs.items():
        constant = _free(key.upper(), taken) if key in samples else ""
        taken.add(constant)
        known = result.input_examples.get(key) if kind in PLAIN_TYPES else None
        example = shlex.quote(_printable(_EXAMPLES.get(kind, "VALUE") if known is None else known))
        inputs.append(_Input(key, kind, _annotation(kind, to), example, samples.get(key), constant))
    outputs = [
        _Output(key, kind, _annotation(kind, to), _reader(kind, to, helpers)) for key, kind in contract.outputs.items()
    ]
    kinds = contract.kinds
    version = lock.python.split(".") if lock else ["3", "11"]
    packages = re.findall(r"^([A-Za-z0-9][^\s;\\]*==[^\s;\\]+)", lock.requirements, re.MULTILINE) if lock else []
    return {
        "name": name,
        "task_name": _free(f"{name}_task", taken),
        "outputs_class": _free("Outputs", set(contract.inputs)),
        "env_name": name.replace("_", "-").strip("-"),
        "about": _about(result),
        "prompt": " ".join(_printable(result.origin.prompt).split()),
        # A parameter with a default can't stand before one without.
        "inputs": sorted(inputs, key=lambda one: one.sample is not None),
        "samples": samples,
        "outputs": outputs,
        "kinds": kinds,
        "input_kinds": set(contract.inputs.values()),
        "output_kinds": set(contract.outputs.values()),
        "scalar_outputs": any(one.kind in PLAIN_TYPES for one in outputs),
        "names": helpers,
        "python": lock.python if lock else "3.11",
        "python_version": f"({version[0]}, {version[1]})",
        "packages": packages,
        "table_packages": [] if kinds.isdisjoint(FRAMES) else _missing(_TABLE_PACKAGES, packages),
        "system_packages": list(lock.system_packages) if lock else [],
        "defaults": defaults,
        "call": _call,
    }


def _annotation(kind: str, to: str) -> str:
    return kind if to == "script" else (_ANNOTATIONS | _OF_TARGET[to])[kind]


def _reader(kind: str, to: str, helpers: dict[str, str]) -> str:
    call = f"{helpers[_READERS.get(kind, f'read_{kind}')]}("
    return f"await {call}" if to == "flyte" and kind not in PLAIN_TYPES else call


def _missing(wanted: Iterable[str], packages: Iterable[str]) -> list[str]:
    present = {package.partition("==")[0].lower() for package in packages}
    return [package for package in wanted if package not in present]


def _call(head: str, argument: str, tail: str, indent: int) -> str:
    """A call on one line where it fits, else with its argument on a line of its own: no formatter changes either."""
    margin = " " * indent
    line = f"{margin}{head}{argument}{tail}"
    return line if len(line) <= _WIDTH else f"{margin}{head}\n{margin}    {argument},\n{margin}{tail}"


def _about(result: CodeGenEvalResult) -> str:
    """What the code does, as text that ends no docstring and escapes nothing in one."""
    text = result.plan.description if result.plan else result.origin.prompt
    return textwrap.fill(" ".join(_printable(text).split()), _WIDTH, break_on_hyphens=False)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _literal(text: str) -> str:
    """A string as Python, in the quotes that a formatter would choose."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    # Both quotes in front: `repr` then escapes the single ones, and no others.
    plain = re.sub(r"\\(.)", lambda match: "'" if match[1] == "'" else match[0], repr("\"'" + text)[4:-1])
    return quote + plain.replace(quote, f"\\{quote}") + quote


def _free(name: str, taken: set[str]) -> str:
    while name in taken or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        name += "_"
    return name


def _render(template: str, values: dict[str, Any]) -> str:
    return _environment().get_template(f"{template}.j2").render(**values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flyteplugins.codegen", "results/templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is Python and Markdown, not HTML
    )
    environment.filters |= {"literal": _literal, "quoted": shlex.quote, "in_docstring": _in_docstring}
    return environment
