"""Sums up a CSV of sales: the quick start.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL. Run: python examples/quick_start.py
"""

import flyte
from flyte.io import File
from flyte.sandbox import sandbox_environment

from flyteplugins.codegen import AutoCoderAgent

agent = AutoCoderAgent(model="gpt-4.1", name="summarize-sales")

env = flyte.TaskEnvironment(
    name="my-env",
    secrets=[flyte.Secret(key="openai_key", as_env_var="OPENAI_API_KEY")],
    image=flyte.Image.from_debian_base().with_pip_packages(
        "flyteplugins-codegen",
    ),
    depends_on=[sandbox_environment],
)


@env.task
async def process_data(csv_file: File) -> tuple[float, int, int]:
    result = await agent.generate.aio(
        prompt="Read the CSV and compute total_revenue, total_units and row_count.",
        samples={"sales": csv_file},
        outputs={"total_revenue": float, "total_units": int, "row_count": int},
    )
    return await result.run.aio()


if __name__ == "__main__":
    from pathlib import Path

    sales = Path(__file__).parent / "data" / "sales.csv"
    run = flyte.with_runcontext(mode="local").run(process_data, csv_file=File(path=str(sales)))
    print("total_revenue, total_units, row_count:", *run.outputs())
