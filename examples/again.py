"""A generation run again: what was answered, built and run before is on record, and no model is asked.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL. Run: python examples/again.py
"""

import time
from pathlib import Path

from flyte.io import File

from flyteplugins.codegen import AutoCoderAgent

SALES = Path(__file__).parent / "data" / "sales.csv"


def generate() -> None:
    started = time.monotonic()
    agent = AutoCoderAgent(model="gpt-4.1", name="summarize-sales")
    result = agent.generate(
        "Read the CSV and compute total_revenue, total_units and row_count.",
        samples={"sales": File(path=str(SALES))},
        outputs={"total_revenue": float, "total_units": int, "row_count": int},
    )
    if not result.success:
        raise SystemExit(result.error)
    print(f"{time.monotonic() - started:.1f} s, total_revenue, total_units, row_count:", *result.run())


if __name__ == "__main__":
    generate()
    generate()
