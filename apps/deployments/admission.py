"""Who may ask a deployment, and how often: networks and requests a minute. Pure; nothing here asks a database."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.core.errors import Forbidden, TooManyRequests, Unprocessable
from apps.deployments.limiting import RateLimiter

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_NETWORKS = 100
# Translated only where they are needed: each request passes here.
KEY_LIMIT = gettext_noop("This key may ask %(n)d times a minute.")
DEPLOYMENT_LIMIT = gettext_noop("This deployment answers a key %(n)d times a minute.")

EXPLANATION_WEIGHT = 10  # predictions that one explanation counts as


@dataclass(frozen=True)
class Caller:
    """An API key, as the gateway knows it; no `requests_per_minute` is no limit."""

    key_id: int
    team_id: int
    requests_per_minute: int | None = None


class Limited(Protocol):
    """A deployment that is asked; `requests_per_minute` holds for each key."""

    deployment_id: int
    requests_per_minute: int | None


def read_networks(text: str) -> list[str]:
    """Addresses and networks in CIDR notation, in their usual form, from text with commas, blanks or lines between.

    Raises Unprocessable for what is neither.
    """
    return check_networks(text.replace(",", " ").split())


def check_networks(written: Sequence[str]) -> list[str]:
    """As `read_networks`, of a list."""
    if len(written) > MAX_NETWORKS:
        raise Unprocessable(
            _("At most %(n)d networks can be listed.") % {"n": MAX_NETWORKS},
            code="out_of_range",
            field="allowed_networks",
        )
    return list(dict.fromkeys(str(_read(one)) for one in written))


def _read(written: str) -> Network:
    try:
        return ipaddress.ip_network(written)
    except ValueError as error:
        raise Unprocessable(
            _("%(text)s is no network: write 10.1.0.0/16, 2001:db8::/32 or one address. %(why)s")
            % {"text": written[:60], "why": _sentence(error)},
            code="invalid_network",
            field="allowed_networks",
        ) from error


def _sentence(error: ValueError) -> str:
    """ "10.1.0.1/16 has host bits set" is worth telling; that it is no network has been said."""
    return f"{error}." if "host bits" in str(error) else ""


def to_networks(written: Sequence[str]) -> tuple[Network, ...]:
    """Of what `check_networks` gave."""
    return tuple(ipaddress.ip_network(one) for one in written)


def check_address(networks: Sequence[Network], address: str) -> None:
    """Raises Forbidden unless `address` lies in one of `networks`, or there are none."""
    if networks and not _is_within(networks, address):
        raise Forbidden(
            _("This deployment does not answer requests from %(address)s. Its team can add your network on its page.")
            % {"address": address or _("an unknown address")},
            code="address_not_allowed",
        )


def _is_within(networks: Sequence[Network], address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def check_rate(limiter: RateLimiter, caller: Caller, endpoint: Limited, *, now: float, weight: int = 1) -> None:
    """Let one request through that counts as `weight` predictions; what is refused counts for neither limit. `now` is
    in seconds. Raises TooManyRequests."""
    of_key, of_deployment = caller.requests_per_minute, endpoint.requests_per_minute
    if of_key and (wait_seconds := limiter.take(caller.key_id, of_key, now=now, weight=weight)):
        raise _too_many(KEY_LIMIT, of_key, wait_seconds)
    if of_deployment:
        key = (caller.key_id, endpoint.deployment_id)
        if wait_seconds := limiter.take(key, of_deployment, now=now, weight=weight):
            if of_key:
                limiter.give_back(caller.key_id, of_key, weight=weight)
            raise _too_many(DEPLOYMENT_LIMIT, of_deployment, wait_seconds)


def count_items(limiter: RateLimiter, caller: Caller, endpoint: Limited, items: int, *, now: float) -> None:
    """A request that was let through as one prediction had so many `items`. `now` is in seconds."""
    if items > 1 and caller.requests_per_minute:
        limiter.add(caller.key_id, now=now, weight=items - 1)
    if items > 1 and endpoint.requests_per_minute:
        limiter.add((caller.key_id, endpoint.deployment_id), now=now, weight=items - 1)


def _too_many(words: str, limit: int, wait_seconds: int) -> TooManyRequests:
    again = _("Come again in %(n)d s.") % {"n": wait_seconds}
    message = f"{_(words) % {'n': limit}} {again}"
    return TooManyRequests(message, code="rate_limited", retry_after_seconds=wait_seconds)
