"""A workflow of flytekit (Flyte 1) with a generation in it; the report is a deck of its task.

Needs the extra `flytekit`, and a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL.
Run: python examples/flytekit_workflow.py
Or:  pyflyte run examples/flytekit_workflow.py sales_report --sales examples/data/sales.csv
"""

from pathlib import Path

from flytekit import task, workflow
from flytekit.types.file import FlyteFile

from flyteplugins.codegen.flytekit import AutoCoderAgent

SALES = Path(__file__).parent / "data" / "sales.csv"

agent = AutoCoderAgent(model="gpt-4.1", name="summarize-sales")


@task(enable_deck=True)
def summarize(sales: FlyteFile) -> tuple[float, int, int]:
    result = agent.generate(
        "Read the CSV and compute total_revenue, total_units and row_count.",
        samples={"sales": sales},
        outputs={"total_revenue": float, "total_units": int, "row_count": int},
    )
    if not result.success:
        raise RuntimeError(f"Code generation failed: {result.error}")
    return result.run()


@task
def describe(revenue: float, units: int, rows: int) -> str:
    return f"{units} units in {rows} orders brought in {revenue:.2f}"


@workflow
def sales_report(sales: FlyteFile) -> str:
    revenue, units, rows = summarize(sales=sales)
    return describe(revenue=revenue, units=units, rows=rows)


if __name__ == "__main__":
    print(sales_report(sales=FlyteFile(str(SALES))))
