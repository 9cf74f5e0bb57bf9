"""The filters and the order of the job list, from an allow-list."""

from collections.abc import Mapping

from django.db.models import DurationField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Coalesce, Least, Now

from apps.accounts.models import User
from apps.jobs.models import Job

# A pause does not count: what is paused, or was cancelled then, had given its devices back before.
ENDED_AT = Coalesce(Least("finished_at", "allocation__released_at"), Now())
DURATION = ExpressionWrapper(ENDED_AT - F("started_at"), output_field=DurationField())
ORDERS = {"name": "name", "kind": "kind", "status": "status", "created": "created_at", "duration": "duration"}
DEFAULT_ORDER = "-created"


def filter_jobs(jobs: QuerySet[Job], params: Mapping[str, str], user: User) -> QuerySet[Job]:
    """`params`: status, kind, mine=1, sort (a key of ORDERS, "-" in front for descending); others are ignored."""
    if params.get("status") in Job.Status.values:
        jobs = jobs.filter(status=params["status"])
    if params.get("kind") in Job.Kind.values:
        jobs = jobs.filter(kind=params["kind"])
    if params.get("mine") == "1":
        jobs = jobs.filter(created_by=user)
    return jobs.annotate(duration=DURATION).order_by(*_order(params.get("sort", "")))


def chosen_order(sort: str) -> str:
    return sort if sort.removeprefix("-") in ORDERS else DEFAULT_ORDER


def _order(sort: str) -> list:
    name = chosen_order(sort)
    column = F(ORDERS[name.removeprefix("-")])
    first = column.desc(nulls_last=True) if name.startswith("-") else column.asc(nulls_last=True)
    return [first, "-id"]
