"""Works out totals from a CSV whose columns are called otherwise: the code is written for the sample that it is given.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL. Run: python examples/process_csvs.py
"""

import flyte
from flyte.io import File
from flyte.sandbox import sandbox_environment

env = flyte.TaskEnvironment(name="process-csvs", depends_on=[sandbox_environment])

from flyteplugins.codegen import AutoCoderAgent

agent = AutoCoderAgent(
    name="sales-processor",
    model="gpt-4.1",
    max_iterations=5,
    resources=flyte.Resources(cpu=1, memory="512Mi"),
    litellm_params={"temperature": 0.2, "max_tokens": 4096},
)


@env.task
async def process_sales(csv_file: File) -> dict[str, float | int]:
    result = await agent.generate.aio(
        prompt="Read the CSV and compute total_revenue, total_units, and transaction_count.",
        samples={"csv_data": csv_file},
        outputs={
            "total_revenue": float,
            "total_units": int,
            "transaction_count": int,
        },
    )

    if not result.success:
        raise RuntimeError(f"Code generation failed: {result.error}")

    total_revenue, total_units, transaction_count = await result.run.aio()

    return {
        "total_revenue": total_revenue,
        "total_units": total_units,
        "transaction_count": transaction_count,
    }


if __name__ == "__main__":
    from pathlib import Path

    transactions = Path(__file__).parent / "data" / "transactions.csv"
    run = flyte.with_runcontext(mode="local").run(process_sales, csv_file=File(path=str(transactions)))
    print(run.outputs()[0])
