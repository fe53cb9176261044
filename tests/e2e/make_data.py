"""Makes the data of the demo and of the recorded generations: the same bytes from the same versions, every time.

    python tests/e2e/make_data.py [--check]

The figures are drawn with `random.Random`, whose sequence Python keeps across versions. The quirks are those of
exports that people really get: names as a legacy system has them, missing values, an id with a blank around it.
"""

from __future__ import annotations

import csv
import io
import math
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "plugins/codegen/src/flyteplugins/codegen/cli/demo/data"

USERS = 4000
COUNTRIES = ("DE", "FR", "NL", "ES", "IT", "PL", "SE", None)


def user_features() -> pa.Table:
    """The users of a shop; who never bought has no average and no last purchase, and some exports lost a field."""
    draw = _figures(20260131)
    rows = []
    for number in range(USERS):
        bought = draw.random() > 0.12
        frequency = 1 + int(draw.gammavariate(1.4, 3.1)) if bought else 0
        value = round(math.exp(draw.gauss(3.6, 0.55)), 2) if bought else None
        days = min(730, int(draw.expovariate(1 / 95)) + 1) if bought else None
        rows.append(
            {
                "user_id": f"U{100001 + 7 * number}",
                "purch_freq": None if draw.random() < 0.02 else float(frequency),
                "avg_ov": None if draw.random() < 0.03 else value,
                "days_last_purch": None if draw.random() < 0.02 or days is None else float(days),
                "country": draw.choice(COUNTRIES),
                "email_optin": draw.choice(("Y", "Y", "Y", "N", "")),
                "loyalty_tier": draw.choices((None, "basic", "silver", "gold"), (5, 8, 3, 1))[0],
            }
        )
    # The best customers of the quarter: their ids are what the seed list names.
    for place, (frequency, value, days) in zip(
        SEEDS, ((24, 131.4, 3), (19, 148.9, 6), (27, 118.2, 2), (21, 139.5, 9)), strict=True
    ):
        rows[place] |= {"purch_freq": float(frequency), "avg_ov": value, "days_last_purch": float(days)}
    return pa.Table.from_pylist(rows)


SEEDS = (212, 1407, 2533, 3690)


def high_value_q1() -> str:
    """The seed list: fewer rows than most neighbour counts, and one id with the blanks that a spreadsheet left."""
    ids = [f"U{100001 + 7 * place}" for place in SEEDS]
    lines = ["user_id,spend_90d,added_by"]
    for user, spend, who in zip(
        ids, ("1892.40", "1716.75", "2014.10", "1655.00"), ("crm", "crm", "manual", "crm"), strict=True
    ):
        lines.append(f"{user} ,{spend},{who}" if who == "manual" else f"{user},{spend},{who}")
    return "\n".join(lines) + "\n"


def sales() -> str:
    """A quarter of sales, as a shop writes them."""
    draw = _figures(11)
    products = {"keyboard": 49.9, "mouse": 19.5, "monitor": 189.0, "cable": 7.25, "headset": 64.0}
    rows = []
    for number in range(120):
        product = draw.choice(list(products))
        day = f"2026-{draw.randint(1, 3):02d}-{draw.randint(1, 28):02d}"
        rows.append((1000 + number, day, product, draw.randint(1, 9), f"{products[product]:.2f}"))
    return _csv(("order_id", "date", "product", "units", "unit_price"), rows)


def readings() -> str:
    """Sensors that measure every hour; some values can't be, and some are missing."""
    draw = _figures(7)
    rows = []
    for hour in range(48):
        for sensor in range(1, 7):
            temperature: object = round(draw.gauss(18 + sensor, 4), 1)
            humidity: object = round(draw.gauss(55, 9), 1)
            chance = draw.random()
            if chance < 0.02:
                temperature = draw.choice((-99.9, 85.0))
            elif chance < 0.04:
                humidity = draw.choice((-1.0, 120.5))
            elif chance < 0.06:
                temperature = ""
            rows.append(
                (f"S-{sensor:02d}", f"2026-02-{1 + hour // 24:02d}T{hour % 24:02d}:00:00", temperature, humidity)
            )
    return _csv(("sensor_id", "timestamp", "temperature", "humidity"), rows)


def orders_export() -> str:
    """Two exports of a German shop system in one file: the header comes again, and the second writes otherwise.

    The first part writes `49,90` and `31.12.2025`; the second `1.249,00` from a thousand on and ISO dates. Lines that
    were cancelled carry a minus sign behind the amount, and each part ends with a line of its sum.
    """
    draw = _figures(3)
    out = io.StringIO()
    sums: list[str] = []
    for part, size in enumerate((240, 160)):
        out.write("Bestellnr;Datum;Kunde;Betrag;Status\n")
        total = 0
        for number in range(size):
            cents = draw.randint(590, 98000) if part == 0 else draw.randint(590, 260000)
            status = draw.choices(("bezahlt", "offen", "storniert"), (12, 2, 1))[0]
            month, day = draw.randint(1, 3) if part else draw.randint(10, 12), draw.randint(1, 28)
            date = f"2026-{month:02d}-{day:02d}" if part else f"{day:02d}.{month:02d}.2025"
            amount = _german(cents)
            if status == "storniert":
                amount, cents = f"{amount}-", -cents
            total += cents
            customer = draw.choice(("Müller & Söhne", "Krüger GmbH", "Café Strauß", "Weber", "A. Öztürk"))
            out.write(f"{5000 + 1000 * part + number};{date};{customer};{amount};{status}\n")
        sums.append(f"Summe;;;{_german(total)};\n")
        out.write(sums[-1])
    return out.getvalue()


def orders_typed() -> str:
    """Two exports as above, larger, in which somebody typed a few lines by hand.

    These have a no-break space between the thousands, a year of two digits, or no amount yet: too few of them to show
    in a profile.
    """
    draw = _figures(5)
    lines = []
    for part, size in enumerate((1100, 700)):
        lines.append("Bestellnr;Datum;Kunde;Betrag;Status")
        total = 0
        for number in range(size):
            cents = draw.randint(590, 260000) if part else draw.randint(590, 98000)
            status = draw.choices(("bezahlt", "offen", "storniert"), (12, 2, 1))[0]
            month, day = draw.randint(1, 3) if part else draw.randint(10, 12), draw.randint(1, 28)
            date = f"2026-{month:02d}-{day:02d}" if part else f"{day:02d}.{month:02d}.2025"
            amount = _german(cents)
            if part and number in (307, 411, 598):
                status, cents = "bezahlt", 100000 + cents % 100000
                date, amount = f"{day:02d}.{month:02d}.26", _german(cents).replace(".", "\u00a0")
            elif part and number == 503:
                status, cents, amount = "offen", 0, "k.A."
            elif status == "storniert":
                amount, cents = f"{amount}-", -cents
            total += cents
            customer = draw.choice(("Müller & Söhne", "Krüger GmbH", "Café Strauß", "Weber", "A. Öztürk"))
            lines.append(f"{5000 + 2000 * part + number};{date};{customer};{amount};{status}")
        lines.append(f"Summe;;;{_german(total)};")
    return "\n".join(lines) + "\n"


def _figures(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 # made-up figures, no secret


def _german(cents: int) -> str:
    return f"{cents / 100:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def _csv(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def write(demo: Path, data: Path) -> Iterator[Path]:
    """Write the data of the demo into one folder and that of the other recordings into another."""
    for folder in (demo, data):
        folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(user_features(), demo / "user_features.parquet", compression="zstd")
    yield demo / "user_features.parquet"
    texts = {
        demo / "high_value_q1.csv": high_value_q1(),
        data / "sales.csv": sales(),
        data / "readings.csv": readings(),
        data / "orders_export.csv": orders_export(),
        data / "orders_typed.csv": orders_typed(),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
        yield path


def differences() -> list[str]:
    """The committed files whose content is not what this script makes."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = list(write(Path(folder) / "demo", Path(folder) / "data"))
        committed = {path.name: path for path in (*DEMO.iterdir(), *(HERE / "data").iterdir())}
        return [path.name for path in fresh if path.name not in committed or not _same(path, committed[path.name])]


def _same(one: Path, other: Path) -> bool:
    # The bytes of a Parquet file name the version of the library that wrote it; its table is what counts.
    if one.suffix == ".parquet":
        return bool(pq.read_table(one).equals(pq.read_table(other)))
    return one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    if "--check" in sys.argv:
        if changed := differences():
            sys.exit(f"not what this script makes: {', '.join(changed)}")
    else:
        for written in write(DEMO, HERE / "data"):
            print(written, written.stat().st_size)  # noqa: T201 # a tool that is run by hand
