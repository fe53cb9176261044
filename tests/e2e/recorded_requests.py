"""The requests whose generations are recorded: what was asked, with no hint at what is hidden in the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flyteplugins.codegen.cli.demo.request import LOOKALIKE, NamedRequest

DATA = Path(__file__).parent / "data"
RECORDINGS = Path(__file__).parent / "recordings"

SALES = NamedRequest(
    name="summarize-sales",
    prompt="Read the CSV and compute total_revenue, total_units and row_count.",
    samples={"sales": DATA / "sales.csv"},
    outputs={"total_revenue": "float", "total_units": "int", "row_count": "int"},
)

SENSORS = NamedRequest(
    name="sensor-analysis",
    prompt=(
        "Analyze IoT sensor data. For each sensor, calculate mean/min/max\n"
        "temperature, mean humidity, and count warnings. Output a summary CSV."
    ),
    samples={"readings": DATA / "readings.csv"},
    constraints=(
        "Temperature values must be between -40 and 60 Celsius",
        "Humidity values must be between 0 and 100 percent",
        "Output report must have one row per unique sensor_id",
    ),
    outputs={"report": "File", "total_anomalies": "int"},
)

ORDERS = NamedRequest(
    name="monthly-orders",
    prompt=(
        "Read the export of our shop's orders. For each month, give the number of orders and the sum of the amounts "
        "that are paid, as a CSV with the columns month (YYYY-MM), orders and paid_amount, months in order. Give the "
        "sum over all months as well, and the number of orders whose payment is still open."
    ),
    samples={"export": DATA / "orders_export.csv"},
    outputs={"monthly": "File", "total_paid": "float", "open_orders": "int"},
)

TYPED_ORDERS = NamedRequest(
    name="monthly-orders-typed",
    prompt=ORDERS.prompt,
    samples={"export": DATA / "orders_typed.csv"},
    constraints=("total_paid is the sum of paid_amount over all months",),
    outputs=ORDERS.outputs,
)

REQUESTS = {request.name: request for request in (SALES, SENSORS, LOOKALIKE, ORDERS, TYPED_ORDERS)}


@dataclass(frozen=True)
class NamedFollowUp:
    """A follow-up request.

    Attributes:
        name: Name of its recording.
        prompt: What is asked for.
        after: Name of the recorded request or follow-up that it comes after.
    """

    name: str
    prompt: str
    after: str


PER_COUNTRY = NamedFollowUp(
    name="lookalike-holdout-per-country", prompt="also add a holdout group per country", after=LOOKALIKE.name
)
EU_ONLY = NamedFollowUp(name="lookalike-eu-only", prompt="EU segment only", after=PER_COUNTRY.name)

FOLLOW_UPS = {follow_up.name: follow_up for follow_up in (PER_COUNTRY, EU_ONLY)}
