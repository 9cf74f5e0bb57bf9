"""What people should know of who took what before they train. Pure but for the clock, which is passed in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from workers.interactions import FEWEST_TO_SPLIT
from workers.preprocessing.columns import parse_number, shorten
from workers.preprocessing.findings import SHOWN_ITEMS, Findings, Remedy
from workers.preprocessing.interactions import Interactions, popular_share
from workers.preprocessing.items import Group, Items, groups_of, tell_crossing, tell_groups, tell_repeated, tell_some
from workers.preprocessing.report import describe
from workers.series.columns import far_away

FEW_OF_A_USER, FEW_OF_AN_ITEM = FEWEST_TO_SPLIT, 3
MANY = 0.2  # a share of users or items that is worth a warning
SCALE_VALUES, SCALE_SHARE = 21, 0.99
POPULAR_ENOUGH, POPULAR_SHARE = 100, 0.5  # of fewer items none is one of a hundredth
SPARSE = 1e-4
BUSY_QUANTILE, BUSY_FACTOR, BUSY_ROWS = 0.95, 10, 200
FEWEST_LETTERS = 4  # of fewer, names that differ in case are codes
DAY = 86_400.0
THIS_AGE = (1e8, 5e9)  # seconds since 1970, from 1973 to 2128: a median there says that times are such seconds
MILLISECONDS = 1e11  # from here numbers of such an age are milliseconds


def warn_of_interactions(
    found: Interactions, items: Items, findings: Findings, now: Callable[[], float] = time.time
) -> None:
    """What makes recommendations worse, or their figures better than they are. `now` is in seconds since 1970."""
    known = set(found.known.tolist())
    lacking = [row for row in range(len(found.users)) if row not in known]
    message = f"Rows without a user or an item, which are left out: {len(lacking):,}."
    tell_some(lacking, items, "missing_user_or_item", message, findings)
    _warn_of_counts(found, items, findings)
    _warn_of_pairs(found, items, findings)
    if found.ratings is not None:
        _warn_of_ratings(found, items, findings)
    if found.moments is not None:
        _warn_of_times(found, items, findings, now())
    _warn_of_names(found, items, findings)
    for side in (0, 1):
        _warn_of_case(found, side, items, findings)


def _tell_of(
    found: Interactions, side: int, places: np.ndarray, items: Items, code: str, message: str, findings: Findings, *,
    cost: str = "", can_go: bool = True,
) -> None:  # fmt: skip
    """Some users (`side` 0) or items (1), by their numbers, with how many rows each has."""
    numbers, names = found.numbered[side]
    column = found.roles.user if side == 0 else found.roles.item
    facts = [(place, [("rows", f"{found.counts[side][place]:,}")]) for place in places[:SHOWN_ITEMS].tolist()]
    groups = [
        Group.of(column, names[place], told, found.known[numbers == place].tolist())
        for place, told in facts
    ]  # fmt: skip
    rows = found.known[np.isin(numbers, places)].tolist() if can_go else ()
    tell_groups(groups, len(places), rows, items, code, message, findings, cost=cost)


def _warn_of_counts(found: Interactions, items: Items, findings: Findings) -> None:
    users, things = found.counts
    few_users, few_items = np.flatnonzero(users < FEW_OF_A_USER), np.flatnonzero(things < FEW_OF_AN_ITEM)
    if len(few_users) > MANY * len(users):
        message = (
            f"Users with fewer than {FEW_OF_A_USER} rows: {len(few_users):,} of {len(users):,}. Nothing of theirs can "
            "be kept for the test, and little is known of them."
        )
        _tell_of(found, 0, few_users, items, "short_histories", message, findings)
    if len(few_items) > MANY * len(things):
        message = (
            f"Items with fewer than {FEW_OF_AN_ITEM} rows: {len(few_items):,} of {len(things):,}. They will hardly be "
            "recommended."
        )
        _tell_of(found, 1, few_items, items, "rare_items", message, findings)
    _warn_of_busy_users(found, items, findings)
    share = popular_share(things)
    if share > POPULAR_SHARE and len(things) >= POPULAR_ENOUGH:
        message = (
            f"The most popular hundredth of the items has {share * 100:.0f} % of all rows. Look at the coverage of a "
            "model, and compare it with popularity."
        )
        most = np.argsort(-things, kind="stable")[: max(1, round(len(things) / POPULAR_ENOUGH))]
        _tell_of(found, 1, most, items, "popular_items", message, findings, can_go=False)
    if 0 < found.density < SPARSE:
        findings.add(
            "sparse_interactions",
            f"Of all pairs of a user and an item {found.density * 100:.4f} % are known. Recommendations will lean on "
            "what is popular.",
        )


def _warn_of_busy_users(found: Interactions, items: Items, findings: Findings) -> None:
    """Users with so many more rows than nearly all others that they are programs, or accounts of many people."""
    users = found.counts[0]
    if not len(users):
        return
    usual = float(np.quantile(users, BUSY_QUANTILE))
    busy = np.flatnonzero(users > max(BUSY_ROWS, BUSY_FACTOR * usual))
    if len(busy):
        busy = busy[np.argsort(-users[busy], kind="stable")]
        share = users[busy].sum() / users.sum()
        message = (
            f"Users with far more rows than others: {len(busy):,}. Of all users {BUSY_QUANTILE:.0%} have at most "
            f"{usual:,.0f} rows, and these over {BUSY_FACTOR} times as many: they may be programs, tests, or accounts "
            "of many people."
        )
        cost = f"{share:.1%} of all rows are theirs; what they took is taken for what people like."
        _tell_of(found, 0, busy, items, "busy_users", message, findings, cost=cost)


def _warn_of_pairs(found: Interactions, items: Items, findings: Findings) -> None:
    pairs = list(zip(*(numbers.tolist() for numbers in found.numbers), strict=True))
    rows = found.known.tolist()
    equal: set[int] = set()
    if _has_hours(found):
        told = [(*pair, found.times[row], found.ratings[row] if found.ratings else "")
                for row, pair in zip(rows, pairs, strict=True)]  # fmt: skip
        equal = {rows[place] for places in groups_of(told) for place in places[1:]}
        message = f"Rows with the user, the item, the time and the rating of an earlier one: {len(equal):,}."
        tell_repeated(sorted(equal), items, "duplicates", message, findings)
    groups = [[rows[place] for place in places] for places in groups_of(pairs)]
    again = [left for group in groups if len(left := [row for row in group if row not in equal]) > 1]
    is_rated = found.roles.rating is not None
    beside = [_newest_first(found, group) if is_rated else group for group in again]
    repeated = sorted(row for group in beside for row in group[1:])
    meaning = "of each the last rating counts" if is_rated else "each counts as a further event"
    message = f"Rows that repeat the user and the item of another: {len(repeated):,}; {meaning}."
    tell_repeated(repeated, items, "repeated_interactions", message, findings, beside=beside)
    crossing = sum(len({items.splits[row] for row in group}) > 1 for group in groups)
    message = (
        f"Users and items that stand together in more than one of train, val and test: {crossing:,}. They count in "
        "the first of these alone."
    )
    tell_crossing(groups, items, "interactions_across_splits", message, findings)


def _newest_first(found: Interactions, rows: list[int]) -> list[int]:
    """By time where it is known, then as they stand in the table."""
    when = np.zeros(len(rows)) if found.moments is None else np.nan_to_num(found.moments[rows], nan=-np.inf)
    return [rows[place] for place in np.lexsort((np.arange(len(rows)), when))[::-1].tolist()]


def _has_hours(found: Interactions) -> bool:
    """Whether times are finer than days, so that two equal ones are one event told twice."""
    moments = found.moments
    return moments is not None and bool((moments[~np.isnan(moments)] % DAY != 0).any())


def _warn_of_ratings(found: Interactions, items: Items, findings: Findings) -> None:
    column = found.roles.rating
    read = {value: parse_number(value) for value in set(found.ratings)}
    words = [row for row, value in enumerate(found.ratings) if value and read[value] is None]
    if words:
        message = (
            f'Ratings in "{column}" that are no numbers: {len(words):,}, such as '
            f'"{shorten(found.ratings[words[0]], 40)}". These rows are left out.'
        )
        tell_some(words, items, "ratings_no_numbers", message, findings)
    numbers = Counter(number for value in found.ratings if (number := read[value]) is not None)
    drop = Remedy(drop=[column])
    if len(numbers) == 1:
        message = f'All ratings in "{column}" are {next(iter(numbers)):g}, so each row counts as an event.'
        findings.add("ratings_constant", message, remedy=drop)
    elif strange := outside_scale(numbers):
        (low, high), values = strange
        beyond = set(values)
        odd = [row for row, value in enumerate(found.ratings) if read[value] in beyond]
        message = (
            f"Nearly all ratings are from {low:g} to {high:g}, and {len(odd):,} are not: "
            f"{describe([f'{value:g}' for value in values])}. One such number spoils the errors of a whole model."
        )
        tell_some(odd, items, "ratings_out_of_scale", message, findings)
    elif len(numbers) > SCALE_VALUES and max(numbers) > 10 * max(1.0, _median(numbers)):
        findings.add(
            "ratings_are_counts",
            f'"{column}" reaches from {min(numbers):g} to {max(numbers):g}, with {_median(numbers):g} in the '
            "middle: these look like counts and not like ratings. Train with no rating column.",
            remedy=drop,
        )


def outside_scale(numbers: Mapping[float, int]) -> tuple[tuple[float, float], list[float]] | None:
    """The scale that nearly all ratings keep to, and the numbers beyond it; None where there are none."""
    total = sum(numbers.values())
    common = [value for value, count in numbers.items() if count >= total * (1 - SCALE_SHARE)]
    if not 2 <= len(common) <= SCALE_VALUES or sum(numbers[value] for value in common) < SCALE_SHARE * total:
        return None
    low, high = min(common), max(common)
    room = (high - low) / (len(common) - 1)  # a rare end of the scale, such as half a star, lies a step away
    beyond = sorted(value for value in numbers if not low - room <= value <= high + room)
    return ((low, high), beyond) if beyond else None


def _median(numbers: Mapping[float, int]) -> float:
    values = sorted(numbers)
    ends = np.cumsum([numbers[value] for value in values])
    return values[int(np.searchsorted(ends, ends[-1] / 2))]


def _warn_of_times(found: Interactions, items: Items, findings: Findings, now: float) -> None:
    column, cost = found.roles.time, "What somebody took last is tested; with wrong times it is something else."
    unread = np.flatnonzero(np.isnan(found.moments)).tolist()
    if unread:
        message = (
            f'Rows whose time in "{column}" cannot be read and counts as the earliest: {len(unread):,}, such as '
            f'"{shorten(found.times[unread[0]], 40)}".'
        )
        tell_some(unread, items, "unreadable_times", message, findings, cost=cost)
    strange = strange_times(found.moments, now)
    if strange:
        message = (
            f'Rows whose time in "{column}" lies in the future, at the beginning of 1970, or far from all others: '
            f'{len(strange):,}, such as "{shorten(found.times[strange[0]], 40)}".'
        )
        tell_some(strange, items, "strange_times", message, findings, cost=cost)


def strange_times(moments: np.ndarray, now: float) -> list[int]:
    """Rows whose time cannot be true: far away from the others and, where times are seconds or milliseconds since 1970,
    later than tomorrow or in the first day of 1970 or before, where most are of a later age."""
    known = moments[~np.isnan(moments)]
    if not len(known):
        return []
    strange = np.zeros(len(moments), dtype=bool)
    strange[far_away(moments, [""] * len(moments))] = True
    seconds = moments / (1_000 if np.median(known) >= MILLISECONDS else 1)
    if THIS_AGE[0] <= np.nanmedian(seconds) <= THIS_AGE[1]:
        strange |= (seconds > now + DAY) | (seconds < DAY)
    return np.flatnonzero(strange).tolist()


def _warn_of_names(found: Interactions, items: Items, findings: Findings) -> None:
    if found.names is None:
        return
    first: dict[str, int] = {}
    others: dict[str, list[int]] = {}
    for row, (item, name) in enumerate(zip(found.items, found.names, strict=True)):
        if item and name and found.names[first.setdefault(item, row)] != name:
            others.setdefault(item, []).append(row)
    if others:
        item, (other, *_more) = next(iter(others.items()))
        findings.add(
            "several_names",
            f'Items with several names: {len(others):,}, such as "{shorten(item, 40)}" '
            f'("{shorten(found.names[first[item]], 40)}" and "{shorten(found.names[other], 40)}"). The first is shown.',
            total=sum(map(len, others.values())),
            shown=items.some_groups([[first[item], *rows] for item, rows in others.items()]),
            remedy=Remedy(
                relabel={items.ids[row]: found.names[first[item]] for item, rows in others.items() for row in rows},
                column=found.roles.name or "",
            ),
        )


def _warn_of_case(found: Interactions, side: int, items: Items, findings: Findings) -> None:
    """Users or items that are one but for case and blanks: each can become the one of them with most rows."""
    numbers, names = found.numbered[side]
    counts, column = found.counts[side], found.roles.user if side == 0 else found.roles.item
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if is_written(name):
            alike.setdefault(" ".join(name.casefold().split()), []).append(place)
    groups = [sorted(places, key=lambda place: -counts[place]) for places in alike.values() if len(places) > 1]
    if not groups:
        return
    known = {place: names[places[0]] for places in groups for place in places[1:]}
    rows = [(row, names[place], known[place]) for row, place in zip(found.known.tolist(), numbers.tolist(), strict=True)
            if place in known]  # fmt: skip
    one, other = (shorten(names[place], 40) for place in groups[0][:2])
    findings.add(
        "same_but_for_case",
        f'Values in "{column}" that differ in case or blanks alone: {len(known):,}, such as "{one}" and "{other}".',
        about=column,
        total=len(rows),
        shown=[
            items.shown(row, label=shorten(name, 40), suggested=shorten(wanted, 40))
            for row, name, wanted in rows[:SHOWN_ITEMS]
        ],
        remedy=Remedy(relabel={items.ids[row]: wanted for row, _name, wanted in rows}, column=column),
    )


def is_written(name: str) -> bool:
    """Whether this is written as words are, and is no code such as dQw4w9 or a7, in which case tells things apart."""
    if sum(map(str.isalpha, name)) < FEWEST_LETTERS:
        return False
    return name.islower() or name.isupper() or all(word[:1] + word[1:].lower() == word for word in name.split())
