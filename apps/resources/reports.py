"""A question about usage, as the page, the CSV and the API ask it, and its answer."""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.core.errors import NotFound, Unprocessable
from apps.resources.ledger import job_names, machines, read_lines
from apps.resources.models import Device
from apps.resources.periods import CUSTOM, LAST_MONTH, MAX_DAYS, THIS_MONTH, Period, days_between, named_period
from apps.resources.usage import DEVICES, Line, Sums, add_up, capacity_seconds

TEAM, USER, JOB, DAY, KIND = "team", "user", "job", "day", "kind"
GROUPS = {
    TEAM: gettext_lazy("Team"),
    USER: gettext_lazy("Person"),
    JOB: gettext_lazy("Job"),
    DAY: gettext_lazy("Day"),
    KIND: gettext_lazy("Device"),
}
PERIODS = {
    THIS_MONTH: gettext_lazy("This month"),
    LAST_MONTH: gettext_lazy("Last month"),
    "7d": gettext_lazy("7 days"),
    "30d": gettext_lazy("30 days"),
    "90d": gettext_lazy("90 days"),
}
OTHER = "other"  # of storage and network, which belong to no person, no job and no device
KEYS: Mapping[str, Callable[[Line], Hashable]] = {
    TEAM: lambda line: line.team_id,
    USER: lambda line: line.user_id if line.about == DEVICES else OTHER,
    JOB: lambda line: line.job_id if line.about == DEVICES else OTHER,
    DAY: lambda line: line.day,
    KIND: lambda line: line.kind if line.about == DEVICES else OTHER,
}
FIRST_YEAR, LAST_YEAR = 2000, 2999
MAX_DIGITS = 18


@dataclass(frozen=True)
class Question:
    """`team_ids` None is every team. `name` is the period's, `custom` for days that were chosen."""

    period: Period
    name: str
    group: str
    team_ids: Collection[int] | None
    now: datetime
    zone: tzinfo

    @property
    def days(self) -> list[date]:
        return self.period.days(self.zone)


@dataclass(frozen=True)
class Row:
    key: Hashable
    label: str
    sums: Sums


@dataclass(frozen=True)
class Report:
    question: Question
    lines: list[Line]
    rows: list[Row]
    total: Sums
    capacity_seconds: float

    @property
    def held_fraction(self) -> float | None:
        """How much of what the pool's devices could have given was held."""
        return min(1.0, self.total.device_seconds / self.capacity_seconds) if self.capacity_seconds else None


def read_question(
    values: Mapping[str, str], *, user: User, team: Team | None, sees_all: bool, now: datetime, zone: tzinfo
) -> Question:
    """From the address: `group`, `period` or `from` and `to` (days, both included), and `team`.

    `sees_all` is what an administrator is shown who names no team; `team` is "all" or an id. Everybody else is shown
    `team`. Raises Unprocessable with `field`, and NotFound for a team that is not theirs to see.
    """
    name, period = _period(values, now, zone)
    asked = values.get("team", "")
    team_ids = _team_ids(asked, user, team, sees_all)
    group = values.get("group") or (TEAM if team_ids is None else USER)
    if group not in GROUPS:
        known = ", ".join(GROUPS)
        message = _("Usage cannot be grouped by that. Choose one of: %(known)s.") % {"known": known}
        raise Unprocessable(message, code="unknown_group", field="group")
    return Question(period, name, group, team_ids, now, zone)


def _team_ids(asked: str, user: User, team: Team | None, sees_all: bool) -> Collection[int] | None:
    if user.is_superuser and (asked == "all" or (not asked and sees_all)):
        return None
    if not asked:
        return [team.pk] if team else []
    is_number = asked.isascii() and asked.isdecimal() and len(asked) <= MAX_DIGITS
    is_own = is_number and team is not None and int(asked) == team.pk
    if is_own or (is_number and user.is_superuser and Team.objects.filter(pk=int(asked)).exists()):
        return [int(asked)]
    raise NotFound(_("There is no such team, or it is not yours."))


def _period(values: Mapping[str, str], now: datetime, zone: tzinfo) -> tuple[str, Period]:
    name = values.get("period", "")
    first, last = values.get("from", ""), values.get("to", "")
    if name == CUSTOM or (not name and (first or last)):
        today = now.astimezone(zone).date()
        begin, end = _day(first, "from") or today.replace(day=1), _day(last, "to") or today
        if end < begin:
            raise Unprocessable(_("The last day lies before the first."), code="out_of_range", field="to")
        if (end - begin).days >= MAX_DAYS:
            message = _("Choose at most %(n)d days.") % {"n": MAX_DAYS}
            raise Unprocessable(message, code="out_of_range", field="to")
        return CUSTOM, days_between(begin, end, zone)
    if name and name not in PERIODS:
        message = _("There is no such period. Choose one of: %(known)s.") % {"known": ", ".join([*PERIODS, CUSTOM])}
        raise Unprocessable(message, code="unknown_period", field="period")
    return name or THIS_MONTH, named_period(name or THIS_MONTH, now, zone)


def _day(text: str, field: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise Unprocessable(_("Write a day as 2030-01-31."), code="wrong_day", field=field)
    return day


def make_report(question: Question) -> Report:
    lines = read_lines(question.period, now=question.now, zone=question.zone, team_ids=question.team_ids)
    sums = add_up(lines, KEYS[question.group])
    labels = labels_of(question.group, sums)
    rows = [Row(key, labels[key], part) for key, part in sums.items()]
    total = add_up(lines, lambda _line: None).get(None, Sums())
    until = Period(question.period.start, min(question.now, question.period.end))
    return Report(question, lines, rows, total, capacity_seconds(machines(now=question.now), until))


def labels_of(group: str, keys: Collection[Hashable]) -> dict[Hashable, str]:
    """What each key is called."""
    match group:
        case "team":
            known = dict(Team.objects.filter(pk__in=keys).values_list("pk", "name"))
        case "user":
            people = User.objects.filter(pk__in=[key for key in keys if key != OTHER])
            known = {person.pk: person.get_full_name() or person.username for person in people}
            known |= {0: _("Nobody (the account is gone)")}
        case "job":
            known = job_names(key for key in keys if key != OTHER) | {0: _("Not a job")}
        case "kind":
            known = dict(Device.Kind.choices) | {"": _("No device (light work)")}
        case _:
            known = {key: date_format(key, "DATE_FORMAT") for key in keys}
    known[OTHER] = _("Storage and network")
    return {key: str(known.get(key) or f"#{key}") for key in keys}


SORTS: Mapping[str, Callable[[Row], object]] = {
    "name": lambda row: row.key if isinstance(row.key, date) else row.label.lower(),
    "hours": lambda row: row.sums.device_seconds,
    "busy": lambda row: row.sums.busy_fraction or 0.0,
    "idle": lambda row: row.sums.idle_cost,
    "storage": lambda row: row.sums.byte_seconds,
    "network": lambda row: row.sums.sent_bytes,
    "cost": lambda row: row.sums.cost,
}


def sorted_rows(report: Report, sort: str) -> list[Row]:
    """By one of SORTS, with "-" the largest first; without a known one the dearest first, and days as they came."""
    if sort.removeprefix("-") not in SORTS:
        if report.question.group == DAY:
            return sorted(report.rows, key=SORTS["name"], reverse=True)
        return sorted(report.rows, key=lambda row: (-row.sums.cost, -row.sums.device_seconds, row.label.lower()))
    return sorted(report.rows, key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))
