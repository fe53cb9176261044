"""Recorded generations, replayed: the model's answers are what they were, everything else happens anew."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_data import differences
from recorded_requests import DATA, ORDERS, RECORDINGS, SALES, SENSORS, TYPED_ORDERS

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.demo.request import NamedRequest


def rows(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter))


def sales_are_summed(outputs: tuple[Any, ...]) -> None:
    sold = rows("sales.csv")
    revenue, units, count = outputs
    assert revenue == pytest.approx(sum(int(row["units"]) * float(row["unit_price"]) for row in sold))
    assert units == sum(int(row["units"]) for row in sold)
    assert count == len(sold)


def sensors_have_a_row_each(outputs: tuple[Any, ...]) -> None:
    report, anomalies = outputs
    with Path(report.path).open(encoding="utf-8", newline="") as stream:
        sensors = [row["sensor_id"] for row in csv.DictReader(stream)]
    assert sorted(sensors) == sorted({row["sensor_id"] for row in rows("readings.csv")})
    impossible = sum(
        (row["temperature"] != "" and not -40 <= float(row["temperature"]) <= 60)
        or not 0 <= float(row["humidity"]) <= 100
        for row in rows("readings.csv")
    )
    # A reading that is missing may count as an anomaly; one that can't be must.
    assert anomalies >= impossible


def orders_are_summed_as_they_were_meant(outputs: tuple[Any, ...], export: str = "orders_export.csv") -> None:
    monthly, total_paid, open_orders = outputs
    orders = [row for row in rows(export, ";") if row["Bestellnr"].isdigit()]
    paid = [
        float(row["Betrag"].replace(".", "").replace("\u00a0", "").replace(",", "."))
        for row in orders
        if row["Status"] == "bezahlt"
    ]
    assert total_paid == pytest.approx(sum(paid), abs=0.01)
    assert open_orders == sum(row["Status"] == "offen" for row in orders)
    with Path(monthly.path).open(encoding="utf-8", newline="") as stream:
        months = list(csv.DictReader(stream))
    assert [row["month"] for row in months] == ["2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03"]
    assert sum(float(row["paid_amount"]) for row in months) == pytest.approx(total_paid, abs=0.05)


def typed_orders_are_summed_as_well(outputs: tuple[Any, ...]) -> None:
    orders_are_summed_as_they_were_meant(outputs, "orders_typed.csv")


def test_the_data_is_what_its_script_makes() -> None:
    assert differences() == []


@pytest.mark.isolation
@pytest.mark.parametrize(
    ("request_", "right"),
    [
        pytest.param(SALES, sales_are_summed, id=SALES.name),
        pytest.param(SENSORS, sensors_have_a_row_each, id=SENSORS.name),
        pytest.param(ORDERS, orders_are_summed_as_they_were_meant, id=ORDERS.name),
        pytest.param(TYPED_ORDERS, typed_orders_are_summed_as_well, id=TYPED_ORDERS.name),
    ],
)
def test_a_recorded_generation_replays_to_a_result_that_is_right(
    request_: NamedRequest, right: Callable[[tuple[Any, ...]], None]
) -> None:
    recording = RECORDINGS / f"{request_.name}.jsonl"
    if not recording.is_file():
        pytest.skip(f"there is no recording {recording.name} yet")
    agent = AutoCoderAgent(name=request_.name, model=f"replay:{recording}")
    result = agent.generate(**generate_arguments(request_))
    assert result.success, result.error
    right(result.run())


def test_the_recorded_request_whose_traps_no_profile_shows_took_a_repair() -> None:
    recording = RECORDINGS / f"{TYPED_ORDERS.name}.jsonl"
    if not recording.is_file():
        pytest.skip(f"there is no recording {recording.name} yet")
    steps = [json.loads(line)["step"] for line in recording.read_text(encoding="utf-8").splitlines()]
    assert {"repair_code", "repair_tests"} & set(steps)
