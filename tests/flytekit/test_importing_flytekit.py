"""flytekit is an extra: it is loaded by those who ask for it, and missed with a word on what to install."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_the_package_does_not_load_flytekit() -> None:
    done = run(
        "import sys; from flyteplugins.codegen import AutoCoderAgent; AutoCoderAgent()\n"
        "import flyteplugins.codegen.verbs, flyteplugins.codegen.results.running\n"
        "assert 'flytekit' not in sys.modules\n"
        "import flyteplugins.codegen.flytekit; assert 'flytekit' in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_flytekit_s_face_loads_nothing_heavy_of_ours() -> None:
    done = run(
        "import sys, flytekit, flyteplugins.codegen.flytekit as ours\n"
        "ours.AutoCoderAgent()\n"
        "heavy = {'litellm', 'jinja2', 'pandera', 'duckdb', 'polars', 'rich_click'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_the_pod_of_a_run_loads_no_flytekit() -> None:
    done = run("import sys, flyteplugins.codegen.sandbox.shipped\nassert 'flytekit' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_without_the_extra_it_is_named() -> None:
    done = run(
        "import sys; sys.modules['flytekit'] = None\n"
        "try:\n    import flyteplugins.codegen.flytekit\n"
        "except ImportError as error:\n    print(error)"
    )
    assert done.stdout == (
        "flyteplugins.codegen.flytekit needs flytekit. Install it with: pip install 'flyteplugins-codegen[flytekit]'\n"
    ), done.stderr
