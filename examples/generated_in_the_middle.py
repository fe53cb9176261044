"""A pipeline with a generated task in the middle: made from one file, mapped over ten.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL.
Run: python examples/generated_in_the_middle.py
"""

import csv
import tempfile
from pathlib import Path

import flyte
from flyte.io import File
from flyte.sandbox import sandbox_environment

from flyteplugins.codegen import AutoCoderAgent

SALES = Path(__file__).parent / "data" / "sales.csv"
DAYS = 10

agent = AutoCoderAgent(model="gpt-4.1", name="summarize-sales")
env = flyte.TaskEnvironment(name="sales-by-day", depends_on=[sandbox_environment])


@env.task
async def split(sales: File) -> list[File]:
    """One file for each of ten parts of the export."""
    async with sales.open("rb") as stream:
        content = bytes(await stream.read()).decode()
    header, *rows = csv.reader(content.splitlines())
    folder = Path(tempfile.mkdtemp())
    parts = []
    for number in range(DAYS):
        path = folder / f"sales-{number}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows[number::DAYS]])
        parts.append(await File.from_local(path))
    return parts


@env.task
async def total(figures: list[tuple[float, int, int]]) -> tuple[float, int, int]:
    """What the parts come to in all."""
    revenue, units, rows = zip(*figures, strict=True)
    return sum(revenue), sum(units), sum(rows)


@env.task
async def pipeline(sales: File) -> tuple[float, int, int]:
    parts = await split(sales)
    result = await agent.generate.aio(
        prompt="Read the CSV and compute total_revenue, total_units and row_count.",
        samples={"sales": sales},
        outputs={"total_revenue": float, "total_units": int, "row_count": int},
    )
    if not result.success:
        raise RuntimeError(f"Code generation failed: {result.error}")
    summarize = result.as_task("summarize-one-part")
    with flyte.group("parts"):
        figures = [figure async for figure in flyte.map.aio(summarize, parts, return_exceptions=False)]
    return await total(figures)


if __name__ == "__main__":
    flyte.init()
    run = flyte.with_runcontext(mode="local").run(pipeline, sales=File(path=str(SALES)))
    print("total_revenue, total_units, row_count:", *run.outputs())
