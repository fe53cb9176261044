"""From the imports of a program to the distributions that it needs.

The imports decide, the model's own list comes second: a model names packages that it does not use, and names that no
one has published, which a stranger may then publish.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.packages import known
from flyteplugins.codegen.packages.errors import InvalidRequirementError
from flyteplugins.codegen.packages.imports import STANDARD_LIBRARY, import_paths
from flyteplugins.codegen.packages.spec import read_requirement, write_requirement

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True)
class Detection:
    """The distributions that a program needs.

    Attributes:
        packages: Requirements, names normalised, sorted.
        guessed: Names among them that only the import itself speaks for; `resolve` says so where one does not exist.
        dropped: What was suggested and is not used, and why.
    """

    packages: tuple[str, ...]
    guessed: tuple[str, ...]
    dropped: Mapping[str, str]


def detect_packages(code: str, suggested: Iterable[str] = (), base: Iterable[str] = ()) -> tuple[str, ...]:
    """The requirements of a program; `detect` tells more.

    Args:
        code: Python source.
        suggested: Requirements that the model named.
        base: Requirements that the user named; they are always part of the result.

    Returns:
        Requirements, names normalised, sorted.

    Raises:
        SyntaxError: The source does not parse.
        InvalidRequestError: A requirement in `base` can't be read.
    """
    return detect(code, suggested, base).packages


def detect(code: str, suggested: Iterable[str] = (), base: Iterable[str] = ()) -> Detection:
    """Find the distributions that a program needs, and say what was guessed and what was left out.

    Args:
        code: Python source.
        suggested: Requirements that the model named. One that provides an import gives its versions and extras; one
            that is loaded without an import, such as an Excel engine, is kept where its host is imported. The rest is
            dropped: nothing in the program uses it, and each name that a model made up is a door for strangers.
        base: Requirements that the user named; they win over the model's.

    Returns:
        The distributions.

    Raises:
        SyntaxError: The source does not parse.
        InvalidRequestError: A requirement in `base` can't be read.
    """
    tree = parse_python(code)
    paths = import_paths(tree)
    modules = {path.partition(".")[0] for path in paths}
    dropped: dict[str, str] = {}
    offered = _read_suggested(suggested, dropped)
    chosen = _read_base(base)
    users = frozenset(chosen)

    def need(name: str) -> None:
        """Choose a distribution, with the versions that were asked for and the extras that its import needs."""
        usual = read_requirement(name)
        requirement = chosen.get(_canonical(usual.name)) or offered.get(_canonical(usual.name)) or usual
        requirement.extras |= usual.extras
        chosen[_canonical(usual.name)] = requirement

    unknown: set[str] = set()
    for path in sorted(paths):
        module = path.partition(".")[0]
        if module in STANDARD_LIBRARY:
            continue
        if provider := _provider(path, {*offered, *users}):
            need(provider)
        else:
            unknown.add(module)

    for name in _loaded_without_import(tree, modules):
        need(name)

    spare = sorted(name for name in offered if name not in chosen)
    for name in spare:
        if known.LOADED_BY.get(name, frozenset()) & modules:
            need(name)
    spare = [name for name in spare if name not in chosen]

    guessed: list[str] = []
    # An import that nothing is known of most likely comes from a name on the model's list that fits nothing else.
    if len(spare) < len(unknown):
        guessed = [_canonical(module) for module in sorted(unknown)]
        for name in guessed:
            need(name)
    for name in spare:
        if unknown:
            need(name)
        else:
            dropped[write_requirement(offered[name])] = "nothing in the code imports it or loads it"
    return Detection(
        packages=tuple(sorted(write_requirement(requirement) for requirement in chosen.values())),
        guessed=tuple(guessed),
        dropped=dropped,
    )


def well_known(suggested: Iterable[str]) -> tuple[str, ...]:
    """Those of a model's requirements whose names stand in the tables, and so were not made up.

    Args:
        suggested: Requirements that the model named.

    Returns:
        Requirements, names normalised, sorted.
    """
    names = known.SAME_NAME | {read_requirement(text).name for text in known.DIFFERENT_NAME.values()}
    offered = _read_suggested(suggested, {})
    return tuple(sorted(write_requirement(offered[name]) for name in offered if name in names))


def _read_suggested(suggested: Iterable[str], dropped: dict[str, str]) -> dict[str, Requirement]:
    offered: dict[str, Requirement] = {}
    usual_names = {_canonical(path): path for path in known.DIFFERENT_NAME if "." not in path}
    for text in suggested:
        try:
            requirement = read_requirement(text, trusted=False)
        except InvalidRequirementError as error:
            dropped[text] = str(error)
            continue
        name = _canonical(requirement.name)
        better = known.BETTER_NAME.get(name) or known.DIFFERENT_NAME.get(usual_names.get(name, ""))
        if better and _canonical(read_requirement(better).name) != name:
            # Its versions are those of another distribution.
            requirement = read_requirement(better)
        offered.setdefault(_canonical(requirement.name), requirement)
    return offered


def _read_base(base: Iterable[str]) -> dict[str, Requirement]:
    chosen: dict[str, Requirement] = {}
    for text in base:
        try:
            requirement = read_requirement(text)
        except InvalidRequirementError as error:
            raise InvalidRequestError(f"base_packages: {error}") from None
        chosen[_canonical(requirement.name)] = requirement
    return chosen


def _provider(path: str, named: set[str]) -> str | None:
    """The requirement that an import comes from: the known one, else the one of `named` that fits it."""
    module = path.partition(".")[0]
    for other in sorted(known.ALTERNATIVES.get(module, frozenset()) & named):
        return other
    for prefix in _prefixes(path):
        if prefix in known.DIFFERENT_NAME:
            return known.DIFFERENT_NAME[prefix]
    return _canonical(module) if module in known.SAME_NAME else _named_like(path, named)


def _named_like(path: str, named: set[str]) -> str | None:
    """The one of `named` that is spelled as a distribution providing an import usually is."""
    for prefix in _prefixes(path):
        name = _canonical(prefix)
        for spelling in (name, f"python-{name}", f"py{name}", f"py-{name}", f"{name}-python", f"{name}-py"):
            if spelling in named:
                return spelling
    return None


def _loaded_without_import(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    attributes |= {path.rpartition(".")[2] for path in import_paths(tree)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }
    engines = set(_engines(tree))
    for module, calls in known.NEEDED_FOR_CALL.items():
        if module in modules:
            for attribute in sorted(attributes & set(calls)):
                needed = calls[attribute].split()
                # Another engine that does the same was chosen by name.
                yield from () if _replaced(needed, engines) else needed
    if modules & {"pandas", "dask", "polars", "modin", "xarray"}:
        yield from sorted(engines)


def _replaced(needed: list[str], engines: set[str]) -> bool:
    excel = {"openpyxl", "xlsxwriter", "xlrd", "odfpy", "pyxlsb", "python-calamine"}
    parquet = {"pyarrow", "fastparquet"}
    return any(
        name in group and bool(engines & group) and name not in engines for name in needed for group in (excel, parquet)
    )


def _engines(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.keyword) or node.arg not in {"engine", "dtype_backend", "dtype"}:
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            word = node.value.value
            if "[pyarrow]" in word:
                yield "pyarrow"
            elif node.arg != "dtype" and word in known.ENGINES:
                yield known.ENGINES[word]


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
