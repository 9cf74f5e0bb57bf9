"""What every team and person holds, what they may still take, and what has been promised to others."""

from collections.abc import Mapping

from apps.resources.scheduling.types import Demand, Limits, Request, Team

Amounts = tuple[int, int, int]  # devices, thousandths of a core, bytes

RESOURCES = ("devices", "cpu_millicores", "memory_bytes")
NO_LIMITS = Limits()


def amounts_of(demand: Demand) -> Amounts:
    return demand.devices, demand.cpu_millicores, demand.memory_bytes


def limits_of(limits: Limits) -> tuple[int | None, ...]:
    return limits.devices, limits.cpu_millicores, limits.memory_bytes, limits.jobs


class Use:
    """What somebody holds: devices, CPU, memory, and how many claims. `parked` is where a queue keeps what it passes
    over until a person holds less."""

    __slots__ = ("held", "parked")

    def __init__(self) -> None:
        self.held = [0, 0, 0, 0]
        self.parked: list = []

    def first_over(self, asked: Amounts, jobs: int, limits: Limits) -> str | None:
        """The first resource of which `asked` would be too much on top of what is held; one not asked for never is."""
        held = self.held
        if limits.devices is not None and asked[0] and held[0] + asked[0] > limits.devices:
            return "devices"
        if limits.cpu_millicores is not None and asked[1] and held[1] + asked[1] > limits.cpu_millicores:
            return "cpu_millicores"
        if limits.memory_bytes is not None and asked[2] and held[2] + asked[2] > limits.memory_bytes:
            return "memory_bytes"
        if limits.jobs is not None and jobs and held[3] + jobs > limits.jobs:
            return "jobs"
        return None


class TeamUse(Use):
    """A team, with what it holds; `locked` is the part that cannot be preempted, `leaving` what was asked to leave.

    `key` and `grips` are what a policy has worked out of what is held, for as long as that stands.
    """

    __slots__ = (
        "team",
        "guaranteed",
        "locked",
        "leaving",
        "users",
        "key",
        "grips",
        "has_limit",
        "has_user_limit",
        "may_be_refused",
    )

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.locked = [0, 0, 0]
        self.leaving = [0, 0, 0]
        self.users: dict[int, Use] = {}
        self.become(team)

    def become(self, team: Team) -> None:
        self.team = team
        granted = team.guaranteed
        self.guaranteed: Amounts = (granted.devices, granted.cpu_millicores, granted.memory_bytes)
        self.has_limit = team.limit != NO_LIMITS
        self.has_user_limit = team.user_limit != NO_LIMITS
        self.may_be_refused = team.is_budget_spent or team.device_seconds_left is not None
        self.forget()

    def forget(self) -> None:
        """What is held, or the pool, has changed."""
        self.key: float | None = None
        self.grips: dict[Amounts, float] = {}

    def user(self, user_id: int) -> Use:
        use = self.users.get(user_id)
        if use is None:
            use = self.users[user_id] = Use()
        return use

    def change_leaving(self, asked: Amounts, sign: int) -> None:
        """Running work of the team was asked to leave (1), or is gone (-1)."""
        for of_this, amount in enumerate(asked):
            self.leaving[of_this] += sign * amount
        self.grips.clear()

    def refusal(self, demand: Demand) -> str | None:
        """hours_spent or budget_spent, if the team may start nothing. Work without devices spends no device time, and
        what serves goes on serving."""
        team = self.team
        if demand.is_service:
            return None
        if demand.devices and team.device_seconds_left is not None and team.device_seconds_left <= 0:
            return "hours_spent"
        return "budget_spent" if team.is_budget_spent else None

    def is_inside(self, asked: Amounts) -> bool:
        """Whether `asked` on top of what is held stays inside the guarantee.

        It must cover the resource that the work is about: devices, or CPU for light work. What a guarantee does not
        name (0) goes along.
        """
        held, (devices, cpu, memory) = self.held, self.guaranteed
        if not (devices if asked[0] else cpu):
            return False
        return (
            not (devices and asked[0] and held[0] + asked[0] > devices)
            and not (cpu and asked[1] and held[1] + asked[1] > cpu)
            and not (memory and asked[2] and held[2] + asked[2] > memory)
        )

    def may_be_inside(self) -> bool:
        """Whether `is_inside` holds for anything at all."""
        return self.held[0] < self.guaranteed[0] or self.guaranteed[1] > 0

    def may_lose(self, asked: Amounts, already: Amounts | list[int] = (0, 0, 0)) -> bool:
        """Whether the team still has its guarantee, or all that it is now below, when work of this size is gone."""
        for of_this in (0, 1, 2):
            if asked[of_this] and self.guaranteed[of_this]:
                left = self.held[of_this] - self.leaving[of_this] - already[of_this] - asked[of_this]
                if left < self.guaranteed[of_this]:
                    return False
        return True


class Ledger:
    """All teams. `promised` is, per resource, the sum over teams of the larger of guarantee and locked work: work that
    cannot be preempted may start as long as that fits into the pool, so that no guarantee can be blocked by it."""

    def __init__(self, teams: Mapping[int, Team], capacity: Amounts) -> None:
        self.capacity = capacity
        self.uses: dict[int, TeamUse] = {}
        self.promised = [0, 0, 0]
        self.has_guarantees = False
        for team_id in sorted(teams):
            self.change_team(teams[team_id])

    def of(self, team_id: int) -> TeamUse:
        use = self.uses.get(team_id)
        if use is None:
            use = self.uses[team_id] = TeamUse(Team(team_id))
        return use

    def change_capacity(self, capacity: Amounts) -> None:
        self.capacity = capacity
        for use in self.uses.values():
            use.forget()

    def change_team(self, team: Team) -> None:
        use = self.uses.get(team.id)
        if use is None:
            self.uses[team.id] = TeamUse(team)
        else:
            use.become(team)
        self.has_guarantees = any(any(use.guaranteed) for use in self.uses.values())
        for of_this in (0, 1, 2):
            self.promised[of_this] = sum(
                max(use.guaranteed[of_this], use.locked[of_this]) for use in self.uses.values()
            )

    def charge(self, use: TeamUse, person: Use, asked: Amounts, jobs: int, is_preemptible: bool, sign: int = 1) -> None:
        """Add what work asks for to what its team and its person hold; -1 takes it away again."""
        if sign == 1:
            devices, cpu, memory = asked
        else:
            devices, cpu, memory, jobs = -asked[0], -asked[1], -asked[2], -jobs
        held = use.held
        held[0] += devices
        held[1] += cpu
        held[2] += memory
        held[3] += jobs
        held = person.held
        held[0] += devices
        held[1] += cpu
        held[2] += memory
        held[3] += jobs
        use.key = None
        if use.grips:
            use.grips.clear()
        if not is_preemptible:
            guaranteed, locked = use.guaranteed, use.locked
            for of_this, more in enumerate((devices, cpu, memory)):
                before = locked[of_this]
                now = locked[of_this] = before + more
                own = guaranteed[of_this]
                if before > own or now > own:
                    self.promised[of_this] += (now if now > own else own) - (before if before > own else own)

    def may_lock(self, use: TeamUse, asked: Amounts) -> bool:
        """Whether work that cannot be preempted leaves enough for everybody's guarantee, in each resource."""
        return not self.has_guarantees or is_within(asked, self.lockable(use))

    def lockable(self, use: TeamUse) -> Amounts:
        """How much more work that cannot be preempted may start: what the team has left of its guarantee, and what is
        promised to nobody."""
        each = zip(use.guaranteed, use.locked, self.capacity, self.promised, strict=True)
        return tuple(
            [
                (own - locked if own > locked else 0) + (of - promised if of > promised else 0)
                for own, locked, of, promised in each
            ]
        )


def is_within(asked: Amounts, most: Amounts) -> bool:
    return asked[0] <= most[0] and asked[1] <= most[1] and asked[2] <= most[2]


def limit_reached(use: TeamUse, request: Request) -> tuple[str, dict[str, int | str]] | None:
    """Which promise to others keeps `request` from starting however much is free: a reason's code and numbers."""
    refusal = use.refusal(request.demand)
    if refusal is not None:
        return refusal, {}
    asked, jobs = amounts_of(request.demand), request.demand.jobs
    for code, of_whom, limits in (
        ("team_limit", use, use.team.limit),
        ("user_limit", use.user(request.user_id), use.team.user_limit),
    ):
        resource = of_whom.first_over(asked, jobs, limits)
        if resource is not None:
            at = (*RESOURCES, "jobs").index(resource)
            numbers = {"asks": (*asked, jobs)[at], "limit": limits_of(limits)[at], "in_use": of_whom.held[at]}
            return code, {"resource": resource, **numbers}
    return None
