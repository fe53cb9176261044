"""What can be said of a script without running it: does it keep the script's contract?

The rules are lenient where code can be written in many ways: what they miss, the contract check finds by running the
script; what they get wrong costs a model call and sends the model astray.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from flyteplugins.codegen.core.contract import FILES, OUTPUT_ROOT, Contract
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.core.values import JSON_TYPES

_OUTPUTS_OPTION: Final = "outputs"
_BOOLEAN_ACTIONS: Final = frozenset({"store_true", "store_false", "BooleanOptionalAction"})
_INPUT_SUFFIXES: Final = ("", "_path", "_file", "_dir", "_csv")


def static_findings(code: str, contract: Contract) -> list[str]:
    """Check a script against its contract without running it.

    Args:
        code: The script.
        contract: What it takes and gives.

    Returns:
        What is wrong, a sentence each that says what to change; empty if nothing is.
    """
    if not code.strip():
        return ["The code is empty. Write the whole script."]
    try:
        tree = parse_python(code)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        return [f"The code does not parse: {where}{error.msg}."]
    return [
        *_main_findings(tree),
        *_option_findings(tree, contract),
        *_reading_findings(tree, contract),
        *_output_findings(tree, contract),
        *_credential_findings(tree),
    ]


# main()


def _main_findings(tree: ast.Module) -> Iterator[str]:
    defined = any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "main"
        for statement in tree.body
        for node in ([statement, *ast.walk(statement)] if isinstance(statement, (ast.If, ast.Try)) else [statement])
    )
    if not defined:
        yield "There is no function `main()`. Put the work into `main()`."
    guards = [statement for statement in tree.body if isinstance(statement, ast.If) and _is_guard(statement.test)]
    if not any(_calls_main(guard.body) for guard in guards):
        yield 'Nothing calls `main()` under `if __name__ == "__main__":`. End the script with that guard.'
    unguarded: list[ast.stmt] = [node for node in tree.body if isinstance(node, (ast.Expr, ast.Assign))]
    if defined and _calls_main(unguarded):
        yield '`main()` is called when the module is loaded. Call it under `if __name__ == "__main__":` only.'


def _is_guard(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = [test.left, *test.comparators]
    names = {side.id for side in sides if isinstance(side, ast.Name)}
    return "__name__" in names and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)


def _calls_main(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "main"
        for statement in body
        for node in ast.walk(statement)
    )


# Options


def _option_findings(tree: ast.Module, contract: Contract) -> Iterator[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "add_argument"]
    wanted = [*contract.inputs, *([_OUTPUTS_OPTION] if contract.outputs else [])]
    if not calls:
        if wanted:
            options = ", ".join(f"`--{name}`" for name in wanted)
            yield f"The script takes no arguments through argparse. Add an option for each of {options}."
        return
    if any(isinstance(node, ast.Call) and _called(node) == "add_subparsers" for node in ast.walk(tree)):
        yield "The script has subcommands. Take the inputs as options of the program itself."
    present: dict[str, ast.Call] = {}
    computed = False
    for call in calls:
        names = [argument.value for argument in call.args if _is_text(argument)]  # type: ignore[attr-defined] # a Constant
        if not names or len(names) < len(call.args):
            computed = True  # such as f"--{name}" in a loop: not to be judged from here
            continue
        long = [name[2:] for name in names if name.startswith("--")]
        known = [name for name in long if name in contract.inputs or name == _OUTPUTS_OPTION]
        if known:
            present.update(dict.fromkeys(known, call))
        elif not any(name.startswith("-") for name in names):
            yield f"`{names[0]}` is a positional argument. Take each input as an option, `--name`."
        else:
            shown = next((name for name in names if name.startswith("--")), names[0])
            yield f"`{shown}` is no option of the contract. Keep only those that are declared: {_listed(contract)}."
    if not computed:
        for name in wanted:
            if name not in present:
                yield f"The option `--{name}` is missing. Add it, spelled exactly so."
    yield from _boolean_findings(present, contract)
    yield from _document_findings(present, contract)
    yield from _several_findings(present, contract)
    yield from _outputs_option_findings(tree, present, contract)


def _boolean_findings(present: dict[str, ast.Call], contract: Contract) -> Iterator[str]:
    for name, call in present.items():
        if contract.inputs.get(name) != "bool":
            continue
        action = _keyword(call, "action")
        if action is not None and (_text_of(action) or _last_name(action)) in _BOOLEAN_ACTIONS:
            yield (
                f"`--{name}` is a flag without a value. Booleans are given as `--{name} true` or `--{name} false`: "
                "parse the text."
            )
        kind = _keyword(call, "type")
        if isinstance(kind, ast.Name) and kind.id == "bool":
            yield (
                f'`--{name}` has `type=bool`, for which "false" is true. Parse the text with a function that knows '
                "`true` and `false`."
            )


def _document_findings(present: dict[str, ast.Call], contract: Contract) -> Iterator[str]:
    for name, call in present.items():
        kind = contract.inputs.get(name)
        parser = _keyword(call, "type")
        if kind in JSON_TYPES and isinstance(parser, ast.Name) and parser.id in ("dict", "list", "eval"):
            yield (
                f"`--{name}` has `type={parser.id}`, which does not read JSON. A {kind} is given as one JSON document: "
                "parse the text with `json.loads`."
            )


def _several_findings(present: dict[str, ast.Call], contract: Contract) -> Iterator[str]:
    for name, call in present.items():
        if contract.inputs.get(name) != FILES or any(keyword.arg is None for keyword in call.keywords):
            continue
        action = _keyword(call, "action")
        if action is None or (_text_of(action) or "append") not in ("append", "extend"):
            yield (
                f"`--{name}` is given once for each file, and this option keeps the last one only. Add "
                '`action="append"`, without `nargs`.'
            )


def _outputs_option_findings(tree: ast.Module, present: dict[str, ast.Call], contract: Contract) -> Iterator[str]:
    call = present.get(_OUTPUTS_OPTION)
    if call is None or not contract.outputs:
        return
    # The default may be a constant of the module or wrapped in Path(): it must stand somewhere.
    if not any(_is_text(node) and node.value.rstrip("/") == OUTPUT_ROOT for node in ast.walk(tree)):  # type: ignore[attr-defined] # a Constant
        yield f'`--outputs` has not the default `{OUTPUT_ROOT}`. Add `default="{OUTPUT_ROOT}"`.'
    read = any(isinstance(node, ast.Attribute) and node.attr == _OUTPUTS_OPTION for node in ast.walk(tree))
    unpacked = any(isinstance(node, ast.Name) and node.id == "vars" for node in ast.walk(tree))
    if not (read or unpacked or _keyword(call, "dest")):
        yield "`--outputs` is never used. Write each output into the folder that it names."


def _listed(contract: Contract) -> str:
    return ", ".join(f"`--{name}`" for name in [*contract.inputs, _OUTPUTS_OPTION])


# Where inputs are read from


def _reading_findings(tree: ast.Module, contract: Contract) -> Iterator[str]:
    seen: set[str] = set()
    input_is_builtin = "input" not in _bound_names(tree)
    for node in ast.walk(tree):
        finding = ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "input":
            if input_is_builtin:
                finding = "The script waits for a person with `input()`. Read inputs only from the arguments."
        elif _dotted(node) == "sys.stdin":
            finding = "The script reads standard input. Read inputs only from the arguments."
        elif isinstance(node, ast.Subscript) and _dotted(node.value) == "sys.argv":
            if isinstance(node.slice, ast.Constant) and node.slice.value not in (0, -1):
                finding = "The script takes arguments from `sys.argv` by position. Use argparse options."
        elif (variable := _environment_variable(node)) and _stands_for_input(variable, contract):
            finding = f"The script reads `{variable}` from the environment. Read inputs only from the arguments."
        if finding and finding not in seen:
            seen.add(finding)
            yield finding


def _environment_variable(node: ast.AST) -> str:
    """The name of the environment variable that this expression reads; empty if it is none."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environ(node.value):
        return _text_of(node.slice)
    if isinstance(node, ast.Call) and node.args:
        reads = _dotted(node.func) in ("os.getenv", "getenv") or (
            isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop") and _is_environ(node.func.value)
        )
        return _text_of(node.args[0]) if reads else ""
    return ""


def _is_environ(node: ast.AST) -> bool:
    return _dotted(node) in ("os.environ", "environ")


def _stands_for_input(variable: str, contract: Contract) -> bool:
    # Settings and secrets may come by environment variables, inputs not.
    name = variable.lower()
    inputs = [*contract.inputs, _OUTPUTS_OPTION, "output"]
    return any(
        name in (f"{entry.lower()}{suffix}", f"input_{entry.lower()}") for entry in inputs for suffix in _INPUT_SUFFIXES
    )


def _bound_names(tree: ast.Module) -> set[str]:
    bound = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return bound


# Outputs


def _output_findings(tree: ast.Module, contract: Contract) -> Iterator[str]:
    if not contract.outputs:
        return
    names = _mentioned_names(tree)
    for output, kind in contract.outputs.items():
        if any(name == output or name.endswith(f"/{output}") for name in names):
            continue
        extended = sorted(name for name in names if re.fullmatch(rf"(.*/)?{re.escape(output)}\.\w{{1,8}}", name))
        if kind == "Dir":
            yield f"The output `{output}` is written nowhere. Write its files into the folder `<outputs>/{output}/`."
        elif extended:
            yield (
                f"The script writes `{extended[0]}`. The file of the output is called `{output}`, with no extension. "
                f"Write it to `<outputs>/{output}`."
            )
        else:
            yield f"The output `{output}` is written nowhere. Write it to `<outputs>/{output}`."


def _mentioned_names(tree: ast.Module) -> set[str]:
    """Every text that may name a file: string constants, but not docstrings, keyword names and fields of classes."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            names.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg:
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


# Credentials

_CREDENTIAL: Final = re.compile(
    r"(?:^|_)(?:(?P<sure>password|passwd|pwd|passphrase|secret|api_?key|(?:secret|access|private)_?key)|"
    r"(?P<likely>token|credentials?))$"
)
_ISSUED: Final = re.compile(r"(?:sk-|sk_|pk_|ghp_|gho_|github_pat_|glpat-|xox[abp]-|AKIA|hf_|eyJ|-----BEGIN )")
_IN_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s:/@{}]+:[^\s/@{}]+@", re.IGNORECASE)
_SHORTEST: Final = 6
_ADVICE: Final = "Take it out: code never carries credentials."


def _credential_findings(tree: ast.Module) -> Iterator[str]:
    reported: set[int] = set()
    for node in ast.walk(tree):
        for name, value, may_be_word in _bindings(node):
            if value.lineno not in reported and _is_credential(name, value, may_be_word=may_be_word):
                reported.add(value.lineno)
                yield f"Line {value.lineno} binds a literal to `{name}`, which looks like a credential. {_ADVICE}"
        if isinstance(node, ast.Constant) and _IN_ADDRESS.search(_literal(node)) and node.lineno not in reported:
            reported.add(node.lineno)
            yield f"Line {node.lineno} has an address with a password in it. {_ADVICE}"


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.Constant, bool]]:
    """Names and the literals bound to them; the flag says that an ordinary word is a usual value there."""
    pairs: list[tuple[str, ast.expr | None, bool]] = []
    if isinstance(node, ast.Assign):
        pairs = [(_last_name(target), node.value, False) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs = [(_last_name(node.target), node.value, False)]
    elif isinstance(node, ast.Dict):
        pairs = [(_text_of(key), value, True) for key, value in zip(node.keys, node.values, strict=True) if key]
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        defaults = zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True)
        named = zip(node.kwonlyargs, node.kw_defaults, strict=True)
        pairs = [(argument.arg, default, False) for argument, default in [*defaults, *named]]
    elif isinstance(node, ast.Call):
        pairs = [(keyword.arg or "", keyword.value, True) for keyword in node.keywords]
        if node.args and (name := _text_of(node.args[0]).lstrip("-")):
            # os.environ.get("API_KEY", "..."), parser.add_argument("--token", default="...")
            fallbacks = [*node.args[1:2], _keyword(node, "default")]
            pairs += [(name, value, True) for value in fallbacks]
    for name, value, may_be_word in pairs:
        if name and isinstance(value, ast.Constant) and _literal(value):
            yield name, value, may_be_word


def _is_credential(name: str, value: ast.Constant, *, may_be_word: bool) -> bool:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    match = _CREDENTIAL.search(snake)
    text = _literal(value)
    if not match or len(text) < _SHORTEST:
        return False
    if _ISSUED.match(text):
        return True
    if re.search(r"\s", text) or text.startswith(("<", "[", "{", "-", "/")):
        return False  # a sentence, a placeholder, a special token, an option, a path
    has_letter, has_digit = bool(re.search(r"[A-Za-z]", text)), bool(re.search(r"\d", text))
    if has_letter and has_digit:
        # `token_1` and `password_2` name columns; a secret has its digits elsewhere too.
        return not re.fullmatch(r"[a-z]+(_[a-z]+)*_?\d{1,2}", text) or not may_be_word
    # A word: the name of a column or a type more often than a password.
    names_column = re.search(r"passw|secret|token|key|credential|[_.]", text.lower())
    return bool(match["sure"]) and not may_be_word and not names_column


def _literal(node: ast.Constant) -> str:
    if isinstance(node.value, bytes):
        return node.value.decode("latin-1")
    return node.value if isinstance(node.value, str) else ""


# Small things of the syntax tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text_of(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _called(call: ast.Call) -> str:
    return _last_name(call.func)


def _last_name(node: ast.AST) -> str:
    """The name that an expression ends in: `x`, `a.x` and `a["x"]` give `x`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _text_of(node.slice)
    return ""


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := _dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""
