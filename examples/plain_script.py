"""The same without a task and without `flyte.init()`: a plain script, with the synchronous calls.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL. Run: python examples/plain_script.py
"""

from pathlib import Path

import pandas as pd

from flyteplugins.codegen import AutoCoderAgent

DATA = Path(__file__).parent / "data"

if __name__ == "__main__":
    agent = AutoCoderAgent(name="big-orders", model="gpt-4.1")
    result = agent.generate(
        "Count the orders of at least min_units units, and add up what they brought in.",
        samples={"sales": pd.read_csv(DATA / "sales.csv")},
        inputs={"min_units": int},
        outputs={"orders": int, "revenue": float},
    )
    print(result.summary())
    if not result.success:
        raise SystemExit(result.error)
    for min_units in (5, 9):
        orders, revenue = result.run(min_units=min_units)
        print(f"at least {min_units} units: {orders} orders, {revenue:.2f}")
    print("saved in", result.save("big-orders"))
