"""Tables that scikit-learn carries along, and tables of customers and shops that nobody has, drawn here."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes

from workers.examples.files import write_csv

CUSTOMERS = 4_000
JOBS = ("employee", "self-employed", "retired", "worker", "student")
BUYERS = 1_500
# What a household may own, by what leads to it: bundles of a shop for those who live outdoors.
BUNDLES = {
    "camping": ("Tent", "Sleeping bag", "Camping stove", "Gas cartridge", "Head torch", "Sleeping mat", "Cool box"),
    "hiking": ("Hiking boots", "Trekking poles", "Rucksack", "Rain jacket", "Water bottle", "Hiking map", "Gaiters"),
    "cycling": ("Road bike", "Helmet", "Bike lock", "Bike lights", "Cycling shorts", "Pump", "Repair kit", "Panniers"),
    "running": ("Running shoes", "Running watch", "Running vest", "Sports socks", "Energy gels", "Heart strap"),
    "climbing": ("Climbing shoes", "Harness", "Chalk bag", "Climbing rope", "Quickdraws", "Belay device"),
    "water": ("Wetsuit", "Paddle board", "Dry bag", "Swim goggles", "Life vest", "Paddle"),
}
EVERYDAY = ("Gift card", "Insulated cup", "Sunglasses")
DEMAND_START, DEMAND_DAYS = date(2022, 1, 3), 1_096


def write_breast_cancer(path: Path) -> None:
    """569 biopsies from Wisconsin, 30 measures of the nuclei of the cells each; whether the tumour was malignant."""
    found = load_breast_cancer()
    names = [name.replace(" ", "_") for name in found.feature_names]
    diagnoses = [found.target_names[label] for label in found.target]
    write_csv(path, [*names, "diagnosis"], ([*row, said] for row, said in zip(found.data, diagnoses, strict=True)))


def write_customers(path: Path) -> None:
    """4,000 customers that nobody is: drawn with a fixed seed, so that who subscribes depends on what is in the row."""
    random = np.random.default_rng(0)
    ages = random.integers(18, 80, CUSTOMERS)
    tenure = random.integers(0, 121, CUSTOMERS)
    balance = np.round(random.lognormal(7.0, 1.0, CUSTOMERS), 2)
    job = random.choice(JOBS, CUSTOMERS, p=(0.3, 0.25, 0.15, 0.2, 0.1))
    contact = random.choice(("e-mail", "phone", "app"), CUSTOMERS, p=(0.5, 0.2, 0.3))
    bought = random.poisson(1.2, CUSTOMERS)
    last = random.integers(0, 366, CUSTOMERS)
    score = (
        -3.3 + 0.55 * bought - 0.006 * last + 0.35 * np.log(balance / 1000) + 0.008 * tenure + (contact == "app") * 0.9
        + (job == "retired") * 1.1 + (job == "student") * 0.8 + np.abs(ages - 45) * 0.03
    )  # fmt: skip
    says = np.where(random.random(CUSTOMERS) < 1 / (1 + np.exp(-score)), "yes", "no")
    header = ["age", "job", "months_with_us", "balance", "contact", "purchases_last_year", "days_since_contact"]
    columns = (ages, job, tenure, balance, contact, bought, last, says)
    write_csv(path, [*header, "subscribed"], zip(*columns, strict=True))


def write_demand(path: Path) -> None:
    """Units that three made-up stores sell on each of 1,096 days, drawn with a fixed seed: a level and a trend of each
    store, a weekly and a yearly pattern, offers that sell a third more, and noise."""
    random = np.random.default_rng(0)
    days = np.arange(DEMAND_DAYS)
    dates = [str(DEMAND_START + timedelta(days=int(day))) for day in days]
    week = np.array([0.85, 0.8, 0.85, 0.95, 1.15, 1.4, 1.0])[days % 7]  # the first day is a Monday
    year = 1 + 0.2 * np.sin(2 * np.pi * (days - 100) / 365.25) + 0.35 * np.exp(-(((days % 365.25) - 350) ** 2) / 100)
    rows = []
    for store, level, growth in (("Harbour", 120, 0.2), ("Market", 70, 0.05), ("Station", 200, -0.1)):
        offer = random.random(DEMAND_DAYS) < 0.12
        mean = level * (1 + growth * days / 365.25) * week * year * np.where(offer, 1.33, 1.0)
        units = random.poisson(mean * random.lognormal(0, 0.06, DEMAND_DAYS))
        rows += zip(dates, [store] * DEMAND_DAYS, np.where(offer, "yes", "no"), units, strict=True)
    write_csv(path, ["date", "store", "offer", "units"], rows)


def write_purchases(path: Path) -> None:
    """What 1,500 customers that nobody is bought: drawn with a fixed seed, each from one or two bundles of things that
    go together, and now and then something else."""
    random = np.random.default_rng(0)
    bundles = list(BUNDLES.values())
    rows = []
    for customer in range(BUYERS):
        chosen = random.choice(len(bundles), 1 + int(random.random() < 0.35), replace=False)
        bought = [item for bundle in chosen for item in _part_of(bundles[bundle], random)]
        bought += [item for item in EVERYDAY if random.random() < 0.25]
        stray = bundles[random.integers(len(bundles))]
        bought += [stray[random.integers(len(stray))]] if random.random() < 0.3 else []
        days = np.sort(random.choice(700, len(set(bought)), replace=False))
        for day, item in zip(days.tolist(), dict.fromkeys(bought), strict=True):
            rows.append((f"C{customer:04d}", item, str(date(2023, 1, 1) + timedelta(day))))
    write_csv(path, ["customer", "product", "date"], rows)


def _part_of(bundle: Sequence[str], random: np.random.Generator) -> list[str]:
    """The first thing of a bundle nearly always, each further one less often."""
    return [item for place, item in enumerate(bundle) if random.random() < 0.9 - 0.08 * place]


def write_diabetes(path: Path) -> None:
    """442 people with diabetes: ten measures of each, and how far the illness had gone a year later."""
    found = load_diabetes(scaled=False)
    rows = ([*row, value] for row, value in zip(found.data, found.target, strict=True))
    write_csv(path, [*found.feature_names, "progression"], rows)
