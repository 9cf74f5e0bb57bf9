"""What was used and what it cost: for a team its own, for administrators all teams'."""

import csv
from dataclasses import dataclass
from datetime import date

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from django.views.decorators.http import require_GET

from apps.accounts.access import require_team
from apps.accounts.models import Team
from apps.core.errors import Unprocessable
from apps.core.retelling import retell
from apps.resources.accounting import device_seconds_this_month
from apps.resources.budgets import all_budgets, budget_of
from apps.resources.chart import Chart, stacked
from apps.resources.metering import sent_this_month
from apps.resources.models import Quota
from apps.resources.money import money
from apps.resources.nodes import default_pool
from apps.resources.quotas import promises_of
from apps.resources.reports import (
    DAY,
    GROUPS,
    JOB,
    KEYS,
    PERIODS,
    TEAM,
    USER,
    Question,
    Report,
    Row,
    labels_of,
    make_report,
    read_question,
    sorted_rows,
)
from apps.resources.storage_use import storage_bytes, storage_bytes_by_team
from apps.resources.usage import add_up
from workers.spreadsheets import harmless

SHOWN_ROWS = 100
HOURS, COST = "hours", "cost"
MEASURES = {HOURS: gettext_lazy("Device-hours"), COST: gettext_lazy("Cost")}
COLUMNS = (
    ("name", ""),
    ("hours", gettext_lazy("Device-hours")),
    ("busy", gettext_lazy("Busy")),
    ("idle", gettext_lazy("Idle cost")),
    ("storage", gettext_lazy("GB-months")),
    ("network", gettext_lazy("Network out")),
    ("cost", gettext_lazy("Cost")),
)
CSV_HEAD = (
    "name", "device_hours", "busy_device_hours", "device_cost", "idle_cost", "storage_gb_months", "storage_cost",
    "network_out_bytes", "network_cost", "cost", "currency",
)  # fmt: skip


@require_GET
def usage(request: HttpRequest) -> HttpResponse:
    """A wrong choice in the address is said, and this month shown instead."""
    error, status = None, 200
    try:
        question = _question(request, request.GET)
    except Unprocessable as refused:
        error, status = refused.message, refused.status
        question = _question(request, {"team": request.GET.get("team", "")})
    context = _context(request, make_report(question)) | {"error": error}
    return render(request, "resources/usage.html", context, status=status)


@require_GET
def export(request: HttpRequest) -> HttpResponse:
    """The same table, whole, with plain numbers."""
    report = make_report(_question(request, request.GET))
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    days = report.question.days
    name = f"usage-by-{report.question.group}-{days[0]}-{days[-1]}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    writer = csv.writer(response)
    writer.writerow(CSV_HEAD)
    for row in sorted_rows(report, request.GET.get("sort", "")):
        label = row.key.isoformat() if isinstance(row.key, date) else harmless(row.label)
        sums = row.sums
        figures = (sums.device_hours, sums.busy_hours, sums.device_cost, sums.idle_cost, sums.gb_months)
        costs = (sums.storage_cost, round(sums.sent_bytes), sums.network_cost, sums.cost)
        written = [f"{value:.6f}" if not isinstance(value, int) else value for value in (*figures, *costs)]
        writer.writerow([label, *written, harmless(settings.LEPTON_CURRENCY)])
    return response


def _question(request: HttpRequest, values) -> Question:
    if not request.user.is_superuser:
        require_team(request)
    zone = timezone.get_default_timezone()
    return read_question(values, user=request.user, team=request.team, sees_all=True, now=timezone.now(), zone=zone)


def _context(request: HttpRequest, report: Report) -> dict:
    question = report.question
    sort = request.GET.get("sort", "")
    rows = sorted_rows(report, sort)
    measure = COST if request.GET.get("measure") == COST else HOURS
    days = question.days
    return {
        "report": report,
        "question": question,
        "rows": _with_links(rows[:SHOWN_ROWS], request, question),
        "has_bytes": question.group in (TEAM, DAY),
        "hidden_rows": max(0, len(rows) - SHOWN_ROWS),
        "headers": _headers(sort, question.group),
        "groups": _groups(question),
        "periods": PERIODS,
        "measures": MEASURES,
        "measure": measure,
        "chart": _chart(report, measure),
        "first_day": days[0],
        "last_day": min(days[-1], timezone.localdate(question.now)),
        "sees_all": request.user.is_superuser,
        "teams": Team.objects.order_by("name") if request.user.is_superuser else [],
        "team_id": question.team_ids[0] if question.team_ids else None,
        **_limits(question),
    }


def _with_links(rows: list[Row], request: HttpRequest, question: Question) -> list[dict]:
    """Jobs of the person's own team lead to their pages."""
    is_linked = question.group == JOB and request.team is not None and question.team_ids == [request.team.pk]
    own = set(request.team.jobs.filter(pk__in=_job_ids(rows)).values_list("pk", flat=True)) if is_linked else set()
    say = retell if question.group == JOB else str
    return [
        {
            "label": say(row.label),
            "sums": row.sums,
            "url": reverse("jobs:detail", args=[row.key]) if row.key in own else "",
        }
        for row in rows
    ]


def _job_ids(rows: list[Row]) -> list[int]:
    return [row.key for row in rows if isinstance(row.key, int)]


def _groups(question: Question) -> dict:
    """One team need not be grouped by team."""
    return {key: label for key, label in GROUPS.items() if key != TEAM or question.team_ids is None}


def _headers(sort: str, group: str) -> list[dict]:
    name, is_descending = sort.removeprefix("-"), sort.startswith("-")
    return [
        {
            "name": key,
            "label": label or GROUPS[group],
            "sort": key if (key == name and is_descending) or (key == "name" != name) else f"-{key}",
            "sorted": ("descending" if is_descending else "ascending") if key == name else "",
        }
        for key, label in COLUMNS
    ]


@dataclass(frozen=True)
class Limit:
    """How much of a monthly or lasting limit is used; `limit` None is none."""

    used: float
    limit: float | None


def _limits(question: Question) -> dict:
    """What is kept now and, for one team, how far its quotas and its budget have gone this month."""
    if question.team_ids is None:
        nearly_spent = [row for row in all_budgets().items() if row[1].is_nearly_spent]
        return {"stored": Limit(sum(storage_bytes_by_team().values()), None), "budgets": nearly_spent}
    team = Team.objects.filter(pk__in=question.team_ids).first()
    if team is None:
        return {"stored": Limit(0, None)}
    promises = promises_of(team)
    used = device_seconds_this_month(default_pool(), [team.pk])[team.pk]
    return {
        "stored": Limit(storage_bytes(team), promises[Quota.Resource.STORAGE].limit),
        "time": Limit(used, promises[Quota.Resource.DEVICE_TIME].limit),
        "network": Limit(sent_this_month(team.pk), promises[Quota.Resource.EGRESS].limit),
        "budget": budget_of(team),
    }


def _chart(report: Report, measure: str) -> Chart | None:
    """Bars by day, in pieces by team where there are several, else by person."""
    question = report.question
    group = TEAM if question.team_ids is None else USER
    sums = add_up(report.lines, lambda line: (line.day, KEYS[group](line)))
    values = {key: float(part.cost) if measure == COST else part.device_hours for key, part in sums.items()}
    return stacked(
        values,
        question.days,
        labels_of(group, {key for _day, key in values}),
        others=_("All others"),
        write=money if measure == COST else _hours,
        write_day=lambda day: date_format(day, pgettext("format of a date", "j M")),
    )


def _hours(value: float) -> str:
    return f"{value:,.0f} h" if value >= 10 or value == int(value) else f"{value:.2g} h"
