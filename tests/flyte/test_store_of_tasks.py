"""A result records its runs where its agent does, and a task of it too."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade import made_result

from flyteplugins.codegen import CodeGenEvalResult

pytestmark = pytest.mark.isolation

RANDOM = """
import argparse, uuid
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--outputs")
if __name__ == "__main__":
    Path(parser.parse_args().outputs, "drawn").write_text(uuid.uuid4().hex)
"""


@pytest.mark.parametrize("shared", [True, False])
async def test_what_one_machine_ran_is_served_on_another_that_shares_the_store(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "store") if shared else None
    result = await made_result(RANDOM, outputs={"drawn": str}, store=store)
    told = result.model_dump_json()
    drawn = []
    for machine in ("one", "two"):
        home = tmp_path / machine
        home.mkdir()
        monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(home))
        here = CodeGenEvalResult.model_validate_json(told)
        drawn.append(await here.run.aio())
        assert await here.as_task(name="drawn").aio() == drawn[-1]  # nothing runs twice on one machine
    assert (drawn[0] == drawn[1]) == shared
