"""The workspace keeps its promises: locks without hosts, pinned public names, documents that hold."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import flyte
import pytest

import flyteplugins.codegen
from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult

ROOT = Path(__file__).parents[2]
LOCKS = (ROOT / "requirements.lock", ROOT / "docs" / "requirements.lock")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "plugins/codegen/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
SOURCES = sorted(path for folder in ("plugins", "tests", "examples") for path in (ROOT / folder).rglob("*.py"))

# Every public setting in the guide's order, then ours, all by keyword.
AGENT = {
    "name": "auto-coder",
    "model": "gpt-4.1",
    "backend": "litellm",
    "system_prompt": None,
    "api_key": None,
    "api_base": None,
    "litellm_params": None,
    "base_packages": None,
    "resources": None,
    "image_config": None,
    "max_iterations": 10,
    "max_sample_rows": 100,
    "skip_tests": False,
    "sandbox_retries": 0,
    "timeout": None,
    "env_vars": None,
    "secrets": None,
    "cache": "auto",
    "agent_max_turns": 50,
}
OUR_SETTINGS = {"block_network": True, "sandbox": "auto"}

GENERATE = {
    "prompt": inspect.Parameter.empty,
    "schema": None,
    "constraints": None,
    "samples": None,
    "inputs": None,
    "outputs": None,
}

RESULT = {
    "success",
    "solution",
    "tests",
    "output",
    "exit_code",
    "error",
    "attempts",
    "image",
    "detected_packages",
    "detected_system_packages",
    "generated_schemas",
    "data_context",
    "original_samples",
    "total_input_tokens",
    "total_output_tokens",
    "conversation_history",
    "plan",
    "declared_inputs",
    "declared_outputs",
}
RUN_OPTIONS = ("name", "resources", "retries", "timeout", "env_vars", "secrets", "cache")


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_the_public_names_are_these() -> None:
    assert sorted(flyteplugins.codegen.__all__) == [
        "AutoCoderAgent",
        "Budget",
        "CodeGenEvalResult",
        "CodePlan",
        "CodeSolution",
        "ErrorDiagnosis",
        "ReviewDecision",
        "ReviewRequest",
    ]
    for name in flyteplugins.codegen.__all__:
        assert getattr(flyteplugins.codegen, name).__name__ == name


def test_the_names_can_be_imported_from_where_programs_import_them() -> None:
    from flyte.sandbox import ImageConfig

    from flyteplugins.codegen import auto_coder_agent
    from flyteplugins.codegen.core import types

    assert auto_coder_agent.AutoCoderAgent is AutoCoderAgent
    assert types.CodeGenEvalResult is CodeGenEvalResult
    assert {"CodePlan", "CodeSolution", "ErrorDiagnosis"} <= set(types.__all__)
    assert ImageConfig(python_version=(3, 12)).python_version == (3, 12)


def test_the_agents_settings_have_the_documented_names_order_and_defaults() -> None:
    found = {name: parameter.default for name, parameter in parameters(AutoCoderAgent).items()}
    assert list(found.items())[: len(AGENT)] == list(AGENT.items())
    assert {name: found.get(name) for name in OUR_SETTINGS} == OUR_SETTINGS


def test_generate_takes_the_documented_parameters() -> None:
    found = parameters(AutoCoderAgent().generate)
    assert {name: found[name].default for name in GENERATE} == GENERATE
    assert next(iter(found)) == "prompt"


def test_the_result_has_the_documented_fields_and_methods() -> None:
    assert set(CodeGenEvalResult.model_fields) >= RESULT
    result = CodeGenEvalResult(success=False)
    for method in (result.run, result.run.aio, result.as_task, result.save, result.summary, CodeGenEvalResult.load):
        assert callable(method)


@pytest.mark.parametrize("method", ["run", "as_task"])
def test_run_and_as_task_take_the_documented_options(method: str) -> None:
    found = parameters(getattr(CodeGenEvalResult(success=False), method))
    assert {name: found[name].default for name in RUN_OPTIONS} == dict.fromkeys(RUN_OPTIONS)


def test_a_flyte_resources_object_is_a_valid_setting() -> None:
    assert AutoCoderAgent(resources=flyte.Resources(cpu=1, memory="512Mi")) is not None


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_names_no_host_and_pins_every_line_with_hashes(lock: Path) -> None:
    text = lock.read_text()
    assert re.findall(r"\w+://|--?(?:extra-)?index|--find-links|--trusted-host", text) == []
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_lock_has_what_the_plugin_declares_and_what_builds_it() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCKS[0].read_text(), re.MULTILINE))
    assert {"flyte", "litellm"} <= declared_dependencies() <= locked
    assert "hatchling" in locked


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.slow
def test_what_the_plugin_imports_it_declares() -> None:
    package = ROOT / "plugins" / "codegen" / "src" / "flyteplugins" / "codegen"
    # What stands in a sandbox or beside a saved generation is not imported by the package.
    files = [path for path in package.rglob("*.py") if not {"guest", "harness"} & set(path.parts)]
    third_party = set().union(*map(imported, files)) - sys.stdlib_module_names - {"flyteplugins", "__future__"}
    assert "flyte" in third_party
    providers = importlib.metadata.packages_distributions()
    # Python 3.10 does not find all of them; those are called as their distribution is.
    undeclared = {name for name in third_party if not declared_dependencies() & normal(providers.get(name, [name]))}
    assert undeclared == {"flytekit"}
    # It is an extra, of the room of its name alone.
    assert all("flytekit" in path.parts for path in files if "flytekit" in imported(path))


def normal(names: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def declared_dependencies() -> set[str]:
    requirements = importlib.metadata.requires("flyteplugins-codegen") or []
    return {name for line in requirements if "extra ==" not in line for name in re.findall(r"^[\w-]+", line)}


def test_each_dependency_has_a_row_that_says_why() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    explained = {name.strip(" `") for cells in rows for cell in cells for name in cell.split(",")}
    requirements = importlib.metadata.requires("flyteplugins-codegen") or []
    extras = {name for line in requirements if "extra ==" in line for name in re.findall(r"^[\w-]+", line)}
    assert (declared_dependencies() | extras) - explained == set()


def test_the_version_is_above_the_published_plugins() -> None:
    project = (ROOT / "plugins" / "codegen" / "pyproject.toml").read_text()
    version = re.findall(r'^version = "([^"]+)"', project, re.MULTILINE)
    assert version == [importlib.metadata.version("flyteplugins-codegen")]
    assert int(version[0].split(".")[0]) >= 3


IGNORE = re.compile(r"#\s*(?:noqa\b(?::\s*(?:[A-Z]+\d+,?\s*)+)?|type:\s*ignore(?:\[[\w, -]+\])?|pragma:\s*no cover)")


def unexplained_ignores(path: Path) -> list[str]:
    """The ignores of a file that give no reason, after them in the same comment or in one on the line above."""
    text = path.read_text()
    if not IGNORE.search(text):
        return []
    found, lines = [], text.splitlines()
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type != tokenize.COMMENT or not (match := IGNORE.search(token.string)):
                continue
            rest = IGNORE.sub("", token.string[match.end() :]) + token.string[: match.start()]
            above = lines[token.start[0] - 2].strip() if token.start[0] > 1 else ""
            if len(re.findall(r"[A-Za-z]+", rest)) < 2 and not above.startswith("#"):
                found.append(f"{path}:{token.start[0]}: {token.string}")
    return found


def test_every_ignore_in_the_code_says_why() -> None:
    assert [line for path in SOURCES for line in unexplained_ignores(path)] == []


def test_an_ignore_without_a_reason_is_found(tmp_path: Path) -> None:
    bare, explained = tmp_path / "bare.py", tmp_path / "explained.py"
    bare.write_text("import os  # noqa: F401\nx: int = ''  # type: ignore[assignment]\n")
    explained.write_text("import os  # noqa: F401 - other modules take it from here\n")
    assert len(unexplained_ignores(bare)) == 2
    assert unexplained_ignores(explained) == []


def test_every_ignored_rule_in_the_settings_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    rules = [line for line in lines if re.match(r'^\s+"[A-Z]+\d*",\s*(#.*)?$', line)]
    assert rules
    assert [line for line in rules if "#" not in line] == []


SNIPPETS = [
    pytest.param(match[1], id=f"{path.relative_to(ROOT)}:{path.read_text()[: match.start()].count(chr(10)) + 1}")
    for path in DOCUMENTS
    for match in re.finditer(r"^```python[^\n]*\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_documents_snippet_compiles(snippet: str) -> None:
    # Snippets may await at the top level, as a notebook does.
    compile(snippet, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_documents_links_to_files_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|#", target)]
    assert [target for target in targets if not (document.parent / target.partition("#")[0]).exists()] == []


def test_every_page_is_in_the_navigation_the_overview_and_the_readme() -> None:
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")
    nav = re.findall(r"^  - .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(nav) == sorted(["index.md", *pages])
    assert sorted(re.findall(r"^- \[.+\]\((\S+\.md)\)", (ROOT / "docs/index.md").read_text(), re.MULTILINE)) == pages
    more = (ROOT / "README.md").read_text().partition("\n## More\n")[2]
    assert sorted(re.findall(r"\(docs/(\S+\.md)\)", more)) == pages


def test_the_documented_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {name for path in DOCUMENTS for name in re.findall(r"`?\bmake ([a-z]+)`", path.read_text())}
    assert mentioned
    assert mentioned <= targets


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_imports_without_doing_anything(example: Path) -> None:
    program = f"import runpy; runpy.run_path({str(example)!r}, run_name='example')"
    # What stands beside an example is importable for it, as it is where Python or Flyte runs the file.
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=example.parent, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
