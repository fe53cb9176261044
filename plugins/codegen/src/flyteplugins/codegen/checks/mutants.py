"""Programs that good tests must refuse: stubs made from a contract, and mutants of the code."""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.python_source import parse_python

MOST_MUTANTS: Final = 6

_CONSTANTS: Final = {
    "str": "",
    "int": "0",
    "float": "0.0",
    "bool": "false",
    "datetime": "1970-01-01T00:00:00",
    "timedelta": "0:00:00",
    "date": "1970-01-01",
    "dict": "{}",
    "list": "[]",
    "File": "",
    "Dir": "",
    "DataFrame": "",
    "pandas.DataFrame": "",
}


def stubs(contract: Contract) -> list[dict[str, str]]:
    """What programs write that do nothing of what was asked and end with exit status 0.

    Args:
        contract: What a solution takes and gives.

    Returns:
        Texts by output name for each program: one that writes nothing and, where outputs are declared, one that writes
        a constant for each; the fixture makes a folder with an empty file of a Dir, and an empty table of a DataFrame.
    """
    constant = {name: _CONSTANTS[kind] for name, kind in contract.outputs.items()}
    return [{}, constant] if constant else [{}]


@dataclass(frozen=True)
class Mutant:
    """The code with one small fault.

    Attributes:
        code: The program.
        change: What was changed, for a person and the model.
    """

    code: str
    change: str


def mutants(code: str, most: int = MOST_MUTANTS) -> list[Mutant]:
    """Programs that differ from the code by one small fault, spread over it; the same code gives the same ones.

    Args:
        code: A script that parses.
        most: How many.

    Returns:
        The mutants, in the order of the code.
    """
    tree = parse_python(code)
    plain = ast.unparse(tree)
    candidates = sorted(_candidates(tree), key=lambda candidate: (candidate.line, candidate.column))
    chosen = _spread([candidate for candidate in candidates if not candidate.weak], most)
    chosen += _spread([candidate for candidate in candidates if candidate.weak], most - len(chosen))
    made = []
    for candidate in sorted(chosen, key=lambda candidate: (candidate.line, candidate.column)):
        mutated = _apply(tree, candidate)
        if mutated != plain:
            made.append(Mutant(mutated, f"line {candidate.line}: {candidate.change()}"))
    return made


@dataclass(frozen=True)
class _Candidate:
    """A place where a fault can be put: the node, and what makes of a copy of it what takes its place.

    The words for it cost more than to find it, and most places are not chosen.
    """

    node: ast.AST
    line: int
    column: int
    replace: Callable[[ast.AST], ast.AST]
    change: Callable[[], str]
    weak: bool = False


def _apply(tree: ast.Module, candidate: _Candidate) -> str:
    """The code with the fault in it; the tree is as before afterwards, which is many times faster than a copy."""
    put = _place_of(candidate.node, tree)
    put(candidate.replace(copy.deepcopy(candidate.node)))
    try:
        return ast.unparse(tree)
    finally:
        put(candidate.node)


def _place_of(node: ast.AST, tree: ast.Module) -> Callable[[ast.AST], None]:
    """What puts another node where a node stands."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                return functools.partial(setattr, parent, name)
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if item is node:
                        return functools.partial(value.__setitem__, index)
    raise ValueError("The node is not in the tree.")


def _spread(candidates: list[_Candidate], most: int) -> list[_Candidate]:
    """So many at equal distances, one a line as long as there are lines enough."""
    by_line = list({candidate.line: candidate for candidate in reversed(candidates)}.values())[::-1]
    places = by_line if len(by_line) >= most else candidates
    if len(places) <= most:
        return places
    return [places[(2 * index + 1) * len(places) // (2 * most)] for index in range(most)]


def _candidates(tree: ast.Module) -> Iterator[_Candidate]:
    left_alone = _left_alone(tree)
    for node in ast.walk(tree):
        if id(node) in left_alone or not isinstance(node, (ast.expr, ast.stmt, ast.keyword)):
            continue
        for rule in _RULES:
            if found := rule(node):
                replace, change, weak = found
                yield _Candidate(node, node.lineno, node.col_offset, replace, change, weak)
                break


def _left_alone(tree: ast.Module) -> set[int]:
    """Nodes whose mutants say nothing about the tests: the reading of arguments, checks of the input, settings."""
    alone: set[int] = set()
    for node in ast.walk(tree):
        whole: list[ast.AST] = []
        if isinstance(node, ast.If) and _is_main_guard(node):
            whole = [node]
        elif isinstance(node, ast.If) and _ends_program(node.body):
            alone.add(id(node))
            whole = [node.test, *node.body]
        elif isinstance(node, (ast.Raise, ast.Assert, ast.ExceptHandler, ast.JoinedStr)) or (
            isinstance(node, ast.Call) and _name(node.func) in _NOT_WORTH_IT
        ):
            whole = [node]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            whole = [node.args, *([node.returns] if node.returns else []), *node.decorator_list]
        elif isinstance(node, ast.AnnAssign):
            whole = [node.annotation]
        elif isinstance(node, ast.keyword) and node.arg in _SETTINGS:
            whole = [node.value]
        alone.update(id(inner) for outer in whole for inner in ast.walk(outer))
    return alone


def _is_main_guard(node: ast.If) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == "__name__" for inner in ast.walk(node.test))


def _ends_program(body: list[ast.stmt]) -> bool:
    """Whether a branch is there to refuse the input."""
    last = body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return _name(last.value.func) in {"exit", "_exit", "error", "fail"}
    return isinstance(last, ast.Raise) or (
        isinstance(last, ast.Return) and isinstance(last.value, ast.Constant) and last.value.value in (1, 2)
    )


# The faults: each rule gives what takes the node's place, the words for it, and whether it is a weak one

_Fault = tuple[Callable[[ast.AST], ast.AST], Callable[[], str], bool]

_NOT_WORTH_IT: Final = frozenset(
    {"add_argument", "ArgumentParser", "exit", "print", "error", "warning", "info", "mkdir"}
)
_SETTINGS: Final = frozenset(
    {"axis", "decimals", "encoding", "exist_ok", "indent", "n_jobs", "newline", "parents", "random_state", "seed"}
)
_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_AGGREGATES: Final = {
    "min": "max",
    "max": "min",
    "sum": "max",
    "mean": "sum",
    "median": "max",
    "nlargest": "nsmallest",
    "nsmallest": "nlargest",
    "idxmax": "idxmin",
    "idxmin": "idxmax",
    "floor": "ceil",
    "ceil": "floor",
}
_AGGREGATE_WORDS: Final = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "median": "max", "count": "sum"}
_SWITCHES: Final = frozenset({"ascending", "descending", "dropna", "header", "how", "index", "inclusive", "reverse"})
_WORDS: Final = {"inner": "left", "left": "inner", "outer": "inner", "both": "neither"}
_FILTERS: Final = frozenset({"dropna", "drop_duplicates", "query", "sort_values", "sort_index", "fillna", "strip"})


def _flip_comparison(node: ast.AST) -> _Fault | None:
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return None
    other = _COMPARISONS.get(type(node.ops[0]))
    if other is None:
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.Compare)  # noqa: S101  # the same place of a copy of the tree
        old.ops = [other()]
        return old

    return replace, lambda: f"`{ast.unparse(node)}` became `{ast.unparse(replace(copy.deepcopy(node)))}`", False


def _swap_operator(node: ast.AST) -> _Fault | None:
    if isinstance(node, ast.BinOp):
        sides = [node.left, node.right]
    elif isinstance(node, ast.AugAssign):
        sides = [node.value]
    else:
        return None
    other = _OPERATORS.get(type(node.op))
    if other is None or any(_is_text_or_path(inner) for side in sides for inner in ast.walk(side)):
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, (ast.BinOp, ast.AugAssign))  # noqa: S101  # the same place of a copy of the tree
        old.op = other()
        return old

    return replace, lambda: f"`{ast.unparse(node)}` became `{ast.unparse(replace(copy.deepcopy(node)))}`", False


def _swap_boolean(node: ast.AST) -> _Fault | None:
    if not isinstance(node, ast.BoolOp):
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.BoolOp)  # noqa: S101  # the same place of a copy of the tree
        old.op = ast.Or() if isinstance(old.op, ast.And) else ast.And()
        return old

    return replace, lambda: f"`{ast.unparse(node)}` became `{ast.unparse(replace(copy.deepcopy(node)))}`", False


def _swap_aggregate(node: ast.AST) -> _Fault | None:
    if not isinstance(node, ast.Call) or _name(node.func) not in _AGGREGATES:
        return None
    was, becomes = _name(node.func), _AGGREGATES[_name(node.func)]
    if isinstance(node.func, ast.Name) and becomes not in ("min", "max"):
        return None  # there is no builtin of that name

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.Call)  # noqa: S101  # the same place of a copy of the tree
        if isinstance(old.func, ast.Attribute):
            old.func.attr = becomes
        else:
            old.func = ast.Name(becomes, ast.Load())
        return old

    return replace, lambda: f"`{was}` became `{becomes}` in `{ast.unparse(node)}`", False


def _drop_step(node: ast.AST) -> _Fault | None:
    """Take away a filter or a sort."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute) and node.func.attr in _FILTERS:
        return _receiver, lambda: f"`.{node.func.attr}(...)` was left out", False
    if isinstance(node.func, ast.Name) and node.func.id == "sorted" and node.args:

        def replace(old: ast.AST) -> ast.AST:
            assert isinstance(old, ast.Call)  # noqa: S101  # the same place of a copy of the tree
            return ast.Call(ast.Name("list", ast.Load()), old.args[:1], [])

        return replace, lambda: "`sorted(...)` was left out", False
    return None


def _receiver(call: ast.AST) -> ast.AST:
    """What a method is called on."""
    assert isinstance(call, ast.Call)  # noqa: S101  # the same place of a copy of the tree
    assert isinstance(call.func, ast.Attribute)  # noqa: S101  # as above
    return call.func.value


def _flip_setting(node: ast.AST) -> _Fault | None:
    """Turn the direction of a sort round, and what decides which rows and columns come out."""
    if not isinstance(node, ast.keyword) or node.arg not in _SWITCHES or not isinstance(node.value, ast.Constant):
        return None
    value = node.value.value
    other = not value if isinstance(value, bool) else _WORDS.get(str(value))
    if other is None:
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.keyword)  # noqa: S101  # the same place of a copy of the tree
        old.value = ast.Constant(other)
        return old

    return replace, lambda: f"`{node.arg}={value!r}` became `{node.arg}={other!r}`", False


def _swap_aggregate_word(node: ast.AST) -> _Fault | None:
    """As `_swap_aggregate`, where pandas takes the aggregate as a text."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or node.value not in _AGGREGATE_WORDS:
        return None
    other = _AGGREGATE_WORDS[node.value]
    return lambda _: ast.Constant(other), lambda: f"{node.value!r} became {other!r}", False


def _drop_minus(node: ast.AST) -> _Fault | None:
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.UnaryOp)  # noqa: S101  # the same place of a copy of the tree
        return old.operand

    return replace, lambda: f"`{ast.unparse(node)}` became `{ast.unparse(node.operand)}`", False


def _negate_branch(node: ast.AST) -> _Fault | None:
    if not isinstance(node, (ast.If, ast.IfExp)) or isinstance(node.test, (ast.Compare, ast.BoolOp)):
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, (ast.If, ast.IfExp))  # noqa: S101  # the same place of a copy of the tree
        old.test = ast.UnaryOp(ast.Not(), old.test)
        return old

    return replace, lambda: f"`if {ast.unparse(node.test)}` was turned round", False


def _count_one_more(node: ast.AST) -> _Fault | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"):
        return None

    def replace(old: ast.AST) -> ast.AST:
        assert isinstance(old, ast.Call)  # noqa: S101  # the same place of a copy of the tree
        return ast.BinOp(old, ast.Add(), ast.Constant(1))

    return replace, lambda: f"`{ast.unparse(node)}` became `{ast.unparse(node)} + 1`", True


def _add_one(node: ast.AST) -> _Fault | None:
    # A bool is an int, and is no number here.
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (int, float)) or isinstance(node.value, bool):
        return None
    more = node.value + 1
    return lambda _: ast.Constant(more), lambda: f"`{node.value}` became `{more}`", True


_RULES: Final = (
    _flip_comparison,
    _swap_operator,
    _swap_boolean,
    _swap_aggregate,
    _swap_aggregate_word,
    _drop_step,
    _drop_minus,
    _flip_setting,
    _negate_branch,
    _count_one_more,
    _add_one,
)


def _is_text_or_path(node: ast.AST) -> bool:
    """Whether an operand makes `+` a joining of texts or `/` one of paths."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))):
        return True
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return any(word in name.lower() for word in ("path", "dir", "folder", "output"))


def _name(node: ast.AST) -> str:
    """The name that an expression ends in."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
