#!/usr/bin/env python3
"""Makes houses.csv: 600 houses that nobody lives in, with what such tables have: texts with
commas and quotation marks in them, values that are missing, and a price that is no straight line.
"""

import csv
import math
import pathlib
import random

DISTRICTS = {"Harbour": 1.25, "Hill": 1.1, "Mill, Upper": 0.9, "Mill, Lower": 0.8, "Station": 0.7}
STREETS = ["Mill Lane", "Ferry Street", '"Old Town" Road', "Station Road", "Elm Avenue", "Quay"]


def house(draw):
    district = draw.choice(list(DISTRICTS))
    area = round(draw.lognormvariate(4.6, 0.35))
    rooms = max(1, round(area / 28 + draw.gauss(0, 0.7)))
    year = draw.randint(1890, 2023)
    distance = round(draw.expovariate(0.4), 1)
    worth = 0.9 * area**0.95 + 8 * math.sqrt(rooms) + 40 * math.exp(-distance / 2)
    worth += 25 * ((year - 1955) / 65) ** 2
    price = worth * DISTRICTS[district] * draw.lognormvariate(0, 0.05)
    return {
        "address": f"{draw.choice(STREETS)}, {draw.randint(1, 99)}",
        "district": district,
        "area": "NA" if draw.random() < 0.06 else area,
        "rooms": rooms,
        "year": "" if draw.random() < 0.04 else year,
        "distance": distance,
        "price": round(price, 1),
    }


def main():
    draw = random.Random(1)
    houses = [house(draw) for _ in range(600)]
    path = pathlib.Path(__file__).with_name("houses.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, houses[0], lineterminator="\n")
        table.writeheader()
        table.writerows(houses)


if __name__ == "__main__":
    main()
