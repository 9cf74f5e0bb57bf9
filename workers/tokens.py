"""Tokens by which the processes of a runner, of its program and of a replica are found again.

Several sites may run on one machine, with nodes and jobs of the same name and number: the data folder tells them apart.
"""

import hashlib
from functools import cache

from django.conf import settings


def site_prefix() -> str:
    return _prefix_of(str(settings.LEPTON_HOME))


@cache
def _prefix_of(home: str) -> str:
    return hashlib.sha256(home.encode()).hexdigest()[:12]


def runner_prefix(node_name: str) -> str:
    return f"{site_prefix()}/runner/{node_name}/"


def runner_token(node_name: str, job_id: int, attempt: int) -> str:
    return f"{runner_prefix(node_name)}{job_id}-{attempt}/"


def program_token(node_name: str, job_id: int, attempt: int) -> str:
    return f"{site_prefix()}/job/{node_name}/{job_id}-{attempt}/"


def replica_prefix(node_name: str) -> str:
    return f"{site_prefix()}/replica/{node_name}/"


def replica_token(node_name: str, replica_id: int) -> str:
    return f"{replica_prefix(node_name)}{replica_id}/"


def profile_prefix(node_name: str) -> str:
    return f"{site_prefix()}/profile/{node_name}/"


def spare_prefix(node_name: str) -> str:
    return f"{site_prefix()}/spare/{node_name}/"


def spare_token(node_name: str, name: str) -> str:
    """Of a process that waits; once it has work it is found by the token of that (workers.spares)."""
    return f"{spare_prefix(node_name)}{name}/"
