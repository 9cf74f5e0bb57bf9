"""Which version gets how much of a deployment's traffic. Pure.

The target is what people ask for: shares that sum to 100. What is active follows from it and from which versions have
a ready replica: a share whose version is not ready goes to the others until it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable

WHOLE = 100
MAX_REPLICAS = 8
MAX_VERSIONS = 5

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """`weight` percent for a version, served by so many replicas."""

    version_id: int
    weight: int
    replicas: int = 1


def check_shares(shares: Sequence[Share]) -> None:
    """Raises Unprocessable unless each version stands there once, with whole percents that sum to 100."""
    if not 1 <= len(shares) <= MAX_VERSIONS:
        raise Unprocessable(
            _("A deployment serves 1 to %(n)d versions at once; %(asked)d were named.")
            % {"n": MAX_VERSIONS, "asked": len(shares)},
            code="out_of_range",
            field="traffic",
        )
    if len({share.version_id for share in shares}) < len(shares):
        raise Unprocessable(_("Name each version once."), code="named_twice", field="traffic")
    for share in shares:
        if not 0 <= share.weight <= WHOLE:
            raise Unprocessable(
                _("A version gets between 0 and 100 percent of the traffic; %(n)d was asked.") % {"n": share.weight},
                code="out_of_range",
                field="weight",
            )
        check_count(share.replicas)
        if share.weight and not share.replicas and len(shares) > 1:
            raise Unprocessable(
                _("A version that gets traffic needs at least one replica."), code="out_of_range", field="replicas"
            )
    total = sum(share.weight for share in shares)
    if total != WHOLE:
        raise Unprocessable(
            _("The percents must sum to 100; they sum to %(n)d.") % {"n": total},
            code="weights_do_not_sum",
            field="weight",
        )


def check_count(wanted: int) -> None:
    """Raises Unprocessable for a number of replicas out of range."""
    if not 0 <= wanted <= MAX_REPLICAS:
        raise Unprocessable(
            _("Choose between 0 and %(n)d replicas.") % {"n": MAX_REPLICAS},
            code="out_of_range",
            field="wanted_replicas",
        )


def stable_of(shares: Sequence[Share], present_id: int) -> Share:
    """The version that the others are compared with: the present one while it keeps a share, else the largest."""
    return max(shares, key=lambda share: (share.version_id == present_id and share.weight > 0, share.weight))


def with_canary(shares: Sequence[Share], canary: Share) -> list[Share]:
    """`shares`, the stable one first, with `canary` among them at the cost of the stable one.

    Raises Unprocessable where nothing would be left for the stable one.
    """
    stable = shares[0]
    if canary.version_id == stable.version_id:
        raise Unprocessable(
            _("This is the version that serves already. Choose another one to try."), code="is_stable", field="version"
        )
    others = [share for share in shares[1:] if share.version_id != canary.version_id and share.weight > 0]
    rest = WHOLE - canary.weight - sum(share.weight for share in others)
    if rest < 1 or canary.weight < 1:
        most = rest + canary.weight - 1
        raise Unprocessable(
            _("A trial gets between 1 and %(most)d percent of the traffic. To give it all, promote it.")
            % {"most": most},
            code="out_of_range",
            field="weight",
        )
    return [Share(stable.version_id, rest, stable.replicas), *others, canary]


def active_weights(shares: Sequence[Share], ready_ids: Sequence[int]) -> dict[int, float]:
    """Version -> the percent it gets now, for those that get any. `ready_ids` have a ready replica, the newest first.

    Where none that has a share is ready, one that served before it answers, and a stopped one only as the last resort.
    """
    ready = [share for share in shares if share.weight > 0 and share.version_id in ready_ids]
    total = sum(share.weight for share in ready)
    if total:
        return {share.version_id: WHOLE * share.weight / total for share in ready}
    named = {share.version_id for share in shares}
    fallback = sorted(ready_ids, key=lambda version_id: version_id in named)
    return {fallback[0]: float(WHOLE)} if fallback else {}


def in_order(weighted: Sequence[tuple[Item, float]], point: float) -> list[Item]:
    """All items, first the one at `point` in [0, 1) when they lie side by side by their weights, then the heaviest."""
    if len(weighted) < 2:
        return [item for item, _weight in weighted]
    left = point * sum(weight for _item, weight in weighted)
    chosen = len(weighted) - 1
    for number, (_item, weight) in enumerate(weighted):
        left -= weight
        if left < 0:
            chosen = number
            break
    others = [pair for number, pair in enumerate(weighted) if number != chosen]
    others.sort(key=lambda pair: -pair[1])
    return [weighted[chosen][0], *(item for item, _weight in others)]


def served_before(history: Sequence[Sequence[Mapping[str, Any]]], existing_ids: Collection[int]) -> int | None:
    """The version to go back to, from the `shares` of all changes, newest first; None where there is none.

    While a trial runs it is the stable version. Otherwise it is the newest other version that had all the traffic and
    still exists.
    """
    if not history:
        return None
    now = [share for share in history[0] if share["weight"] > 0]
    if len(now) > 1:
        return now[0]["version_id"]
    for shares in history[1:]:
        whole = [share["version_id"] for share in shares if share["weight"] == WHOLE]
        if whole and whole[0] != now[0]["version_id"] and whole[0] in existing_ids:
            return whole[0]
    return None
