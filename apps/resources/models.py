"""The pool: machines and devices, what teams were promised, who holds what, and what it cost."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team


class Pool(models.Model):
    """Machines that are shared under one policy. Times are in seconds; credits are what an auction is paid with.

    `start_calibration` is what was learned of forecasts of starts by those that came true.
    """

    class Policy(models.TextChoices):
        FIFO = "fifo", _("First come, first served")
        PRIORITY = "priority", _("Priority, age and fair share")
        FAIR_SHARE = "fair_share", _("Fair share of every resource")
        AUCTION = "auction", _("Auction in credits")
        SHORTEST_PREDICTED = "shortest_predicted", _("Shortest predicted first")

    name = models.SlugField(max_length=60, unique=True)
    policy = models.CharField(max_length=20, choices=Policy, default=Policy.FIFO)
    is_preemptive = models.BooleanField(default=True)
    min_runtime_seconds = models.PositiveIntegerField(default=1800)
    starvation_seconds = models.PositiveIntegerField(default=5 * 86400)
    credits_per_period = models.PositiveIntegerField(default=10_000)
    credit_period_hours = models.PositiveIntegerField(default=168)
    credits_given_at = models.DateTimeField(null=True, blank=True)
    start_calibration = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A machine. Its agent beats every few seconds.

    `is_cordoned` keeps new work away; `drain_requested_at` also sends running work elsewhere; a node with `removed_at`
    is no longer part of the pool, and an agent of that name is refused until it joins anew. `machine_id` tells two
    machines of one name apart. `*_held` is what granted claims were promised; a constraint keeps it within the machine.
    `retired_at` is when its agent stopped in order, while it has not come back.
    `health` is what the agent last saw: {"problems": [{"code", "numbers"}], "load": {...}}.
    """

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="nodes")
    name = models.SlugField(max_length=60, unique=True)
    machine_id = models.CharField(max_length=64, blank=True)
    address = models.CharField(max_length=100, blank=True)
    cpu_count = models.PositiveIntegerField(default=1)
    cpu_millicores = models.PositiveBigIntegerField(default=1000)
    cpu_held_millicores = models.PositiveBigIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    memory_held_bytes = models.BigIntegerField(default=0)
    storage_bytes = models.BigIntegerField(default=0)
    storage_free_bytes = models.BigIntegerField(default=0)
    network_in_bytes_per_second = models.FloatField(default=0)
    network_out_bytes_per_second = models.FloatField(default=0)
    health = models.JSONField(default=dict, blank=True)
    is_cordoned = models.BooleanField(default=False)
    drain_requested_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    last_beat_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(cpu_held_millicores__lte=F("cpu_millicores")), name="no_more_cpu_held_than_there_is"
            ),
            models.CheckConstraint(
                condition=Q(memory_held_bytes__gte=0) & Q(memory_held_bytes__lte=F("memory_bytes")),
                name="no_more_memory_held_than_there_is",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class JoinToken(models.Model):
    """Lets one machine join a pool once under one name. Only the token's sha256 is kept."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="join_tokens")
    node_name = models.SlugField(max_length=60)
    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)


class Quota(models.Model):
    """What a team was promised of one resource of a pool, and how far it may go.

    `guaranteed` is never broken, `limit` never exceeded, `user_limit` holds for each person of the team; None is
    unlimited. Units: devices and jobs in pieces, CPU in thousandths of a core, memory, storage and egress in bytes,
    device time in seconds; egress and device time per calendar month. Only devices, CPU and memory can be guaranteed.
    """

    class Resource(models.TextChoices):
        DEVICES = "devices", _("Devices")
        CPU = "cpu", _("CPU")
        MEMORY = "memory", _("Memory")
        JOBS = "jobs", _("Jobs at once")
        DEVICE_TIME = "device_time", _("Device-hours a month")
        STORAGE = "storage", _("Storage")
        EGRESS = "egress", _("Network out a month")

    GUARANTEED = (Resource.DEVICES, Resource.CPU, Resource.MEMORY)

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="quotas")
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="quotas")
    resource = models.CharField(max_length=12, choices=Resource)
    guaranteed = models.PositiveBigIntegerField(default=0)
    limit = models.PositiveBigIntegerField(null=True, blank=True)
    user_limit = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "pool", "resource"], name="one_quota_per_team_pool_and_resource"),
            models.CheckConstraint(
                condition=Q(limit__isnull=True) | Q(guaranteed__lte=F("limit")), name="guaranteed_within_limit"
            ),
        ]


class Share(models.Model):
    """How a team stands in a pool beside the others: its weight in what is borrowed, and its credits to bid with.

    `held_*` is what the team's granted claims hold: the row that two schedulers lock before they grant to one team.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="shares")
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="shares")
    weight = models.FloatField(default=1.0)
    credits = models.FloatField(default=0.0)
    held_devices = models.PositiveIntegerField(default=0)
    held_cpu_millicores = models.PositiveBigIntegerField(default=0)
    held_memory_bytes = models.PositiveBigIntegerField(default=0)
    held_jobs = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "pool"], name="one_share_per_team_and_pool"),
            models.CheckConstraint(condition=Q(weight__gt=0), name="weight_is_positive"),
            models.CheckConstraint(condition=Q(credits__gte=0), name="no_credits_are_owed"),
        ]


class CreditEntry(models.Model):
    """A line of a team's credit account: what it was given, and what its work was charged, as a negative amount.

    A claim has one line, which grows while it runs; `at` says until when it is paid.
    """

    class Kind(models.TextChoices):
        GIVEN = "given", _("Given for the period")
        CHARGED = "charged", _("Charged for device time")
        EXPIRED = "expired", _("Expired")

    share = models.ForeignKey(Share, on_delete=models.CASCADE, related_name="entries")
    kind = models.CharField(max_length=10, choices=Kind)
    amount = models.FloatField()
    allocation = models.ForeignKey("Allocation", null=True, on_delete=models.SET_NULL, related_name="credit_entries")
    note = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]


class ClearingPrice(models.Model):
    """What one device-hour cost when the auction cleared: published to everybody. Written when it changes."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="clearing_prices")
    price = models.FloatField()
    devices_asked = models.PositiveIntegerField(default=0)
    devices_sold = models.PositiveIntegerField(default=0)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Allocation(models.Model):
    """A claim on hardware: pending, granted, released.

    The demand is in total over its nodes; `devices_asked` may be 0 for work that needs no accelerator. `max_nodes` None
    may span nodes. `reason` says why a pending claim waits: {"code", "message", "numbers", "holders"}; `place` and
    `starts_*_at` where and when; `foretold_*_at` is what was said first, until something was learned from how it came.
    `submitted_at` and `attained_seconds` carry over from earlier claims of the same work.
    `is_service`: it is a replica's, which serves until nobody wants it any more; it counts as no job.
    A granted claim that was asked to leave has `leave_requested_at`, why, and for whose sake; `leave_code` of a pending
    one says why its work had to leave before.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        GRANTED = "granted", _("Granted")
        RELEASED = "released", _("Released")

    class Priority(models.IntegerChoices):
        LOW = 0, _("Low")
        NORMAL = 1, _("Normal")
        HIGH = 2, _("High")

    class Leave(models.TextChoices):
        RECLAIMED = "reclaimed", _("another team needs what it was guaranteed")
        OUTRANKED = "outranked", _("work that comes before it needs the devices")
        STARVING = "starving", _("other work has waited too long")
        DRAINED = "drained", _("the machine is being emptied")
        SERVING = "serving", _("a deployment needs the room")

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="allocations")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="allocations")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="allocations")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)

    devices_asked = models.PositiveIntegerField(default=1)
    device_kind = models.CharField(max_length=10, blank=True)
    cpu_millicores = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField(default=0)
    max_nodes = models.PositiveIntegerField(null=True, blank=True, default=1)
    is_service = models.BooleanField(default=False)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NORMAL)
    is_preemptible = models.BooleanField(default=True)
    bid = models.FloatField(default=0.0)
    low_seconds = models.FloatField(null=True, blank=True)
    median_seconds = models.FloatField(null=True, blank=True)
    high_seconds = models.FloatField(null=True, blank=True)
    attained_seconds = models.FloatField(default=0.0)

    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.PROTECT, related_name="allocations")
    price = models.FloatField(default=0.0)
    busy_device_seconds = models.FloatField(default=0.0)
    leave_requested_at = models.DateTimeField(null=True, blank=True)
    leave_code = models.CharField(max_length=10, choices=Leave, blank=True)
    leaving_for = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="makes_room")

    reason = models.JSONField(default=dict, blank=True)
    place = models.PositiveIntegerField(null=True, blank=True)
    starts_low_at = models.DateTimeField(null=True, blank=True)
    starts_high_at = models.DateTimeField(null=True, blank=True)
    foretold_low_at = models.DateTimeField(null=True, blank=True)
    foretold_high_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    requested_at = models.DateTimeField(auto_now_add=True)
    granted_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["status", "requested_at"]),
            models.Index(fields=["pool", "released_at"]),
            models.Index(fields=["pool"], name="foretold", condition=Q(foretold_low_at__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(status="granted") | Q(node__isnull=False), name="granted_means_placed")
        ]

    @property
    def jobs(self) -> int:
        """As how many it counts of the jobs at once."""
        return 0 if self.is_service else 1

    @property
    def work_name(self) -> str:
        """What it is for: the name of a job, or of a deployment; "" when that is gone."""
        if job := getattr(self, "job", None):
            return job.name
        replica = getattr(self, "replica", None)
        return replica.deployment.name if replica else ""


class Placement(models.Model):
    """The part of a granted claim that lies on one node; `node` of the claim is the one that leads.

    The rows stay while the claim is granted. Which devices it holds stands in Device.allocation.
    """

    allocation = models.ForeignKey(Allocation, on_delete=models.CASCADE, related_name="placements")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="placements")
    cpu_millicores = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["allocation", "node"], name="one_placement_per_node")]


class Device(models.Model):
    """One accelerator, or the CPU of a node that has none. It is held by one allocation at a time, or by none."""

    class Kind(models.TextChoices):
        CPU = "cpu", _("CPU")
        CUDA = "cuda", _("NVIDIA GPU")
        MPS = "mps", _("Apple GPU")

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="devices")
    index = models.PositiveIntegerField(default=0)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CPU)
    name = models.CharField(max_length=120, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    memory_used_bytes = models.BigIntegerField(default=0)
    busy_fraction = models.FloatField(default=0.0)
    allocation = models.ForeignKey(Allocation, null=True, blank=True, on_delete=models.SET_NULL, related_name="devices")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "kind", "index"], name="one_row_per_device")]
        ordering = ["node_id", "kind", "index"]


class Price(models.Model):
    """What the administrator charges: a device-hour of a kind (or of one model of device), a GB-month, a GB sent."""

    class Item(models.TextChoices):
        CPU = "cpu", _("CPU device, per hour")
        CUDA = "cuda", _("NVIDIA GPU, per hour")
        MPS = "mps", _("Apple GPU, per hour")
        STORAGE = "storage", _("Storage, per GB and month")
        EGRESS = "egress", _("Network out, per GB")

    item = models.CharField(max_length=10, choices=Item)
    device_name = models.CharField(max_length=120, blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=6, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "device_name"], name="one_price_per_item"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="price_is_not_negative"),
        ]


class Budget(models.Model):
    """What a team may spend in a calendar month: a warning at 80 %, no new work at 100 %."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, related_name="budget")
    amount_per_month = models.DecimalField(max_digits=12, decimal_places=2)


class UsageRecord(models.Model):
    """What an allocation used, written once when it is released; costs at the prices of that moment.

    `busy_device_seconds` is the part of `device_seconds` in which the devices were really at work. The words about job
    and node stay when those are gone.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="usage_records")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    pool = models.ForeignKey(Pool, null=True, on_delete=models.SET_NULL)
    allocation = models.OneToOneField(Allocation, on_delete=models.CASCADE, related_name="usage")
    job_id = models.BigIntegerField(null=True, blank=True)
    job_name = models.CharField(max_length=80, blank=True)
    node_name = models.CharField(max_length=60, blank=True)
    device_kind = models.CharField(max_length=10)
    device_name = models.CharField(max_length=120, blank=True)
    device_count = models.PositiveIntegerField(default=0)
    device_seconds = models.FloatField()
    busy_device_seconds = models.FloatField(default=0.0)
    cpu_core_seconds = models.FloatField(default=0.0)
    cost = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["team", "ended_at"]), models.Index(fields=["ended_at"])]


class Traffic(models.Model):
    """Bytes that left the site for a team on one day, by what they were."""

    class Kind(models.TextChoices):
        DOWNLOAD = "download", _("Downloads")
        PREDICTION = "prediction", _("Predictions")

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="traffic")
    day = models.DateField()
    kind = models.CharField(max_length=10, choices=Kind)
    sent_bytes = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=16, decimal_places=6, default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "day", "kind"], name="one_traffic_row_per_day")]


class StoredBytes(models.Model):
    """How much a team kept in storage on one day: byte-seconds, added up as measured, and the last measurement."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="stored_bytes")
    day = models.DateField()
    byte_seconds = models.FloatField(default=0.0)
    last_bytes = models.BigIntegerField(default=0)
    measured_at = models.DateTimeField()
    cost = models.DecimalField(max_digits=16, decimal_places=6, default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "day"], name="one_storage_row_per_day")]


class DurationHistory(models.Model):
    """What a pool has learned about how long work takes; see scheduling/prediction.py."""

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="duration_history")
    state = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)


class LayerProfile(models.Model):
    """What a model's layers take on one sort of device; a row without `measured_at` or `error` is wanted.

    `shape` is the model (workers/parallel/shapes.py), `result` what the program of `node` measured
    (workers/parallel/profiling.py). A sort of device is its kind and name, and for a CPU its threads.
    """

    shape_key = models.CharField(max_length=32)
    shape = models.JSONField()
    device_kind = models.CharField(max_length=10, choices=Device.Kind)
    device_name = models.CharField(max_length=120, blank=True)
    threads = models.PositiveIntegerField(default=1)
    node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="layer_profiles")
    wanted_at = models.DateTimeField()
    measured_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["shape_key", "device_kind", "device_name", "threads"], name="one_profile_per_shape_and_device"
            )
        ]


class NodeLink(models.Model):
    """How fast one machine sends to another. A row with `wanted_at` is to be measured: the machine that receives opens
    `port` for a moment and the one that sends shows it the `token`, which both are forgotten after."""

    from_node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="links_out")
    to_node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="links_in")
    bytes_per_second = models.FloatField(null=True, blank=True)
    rtt_seconds = models.FloatField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    wanted_at = models.DateTimeField(null=True, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    token = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["from_node", "to_node"], name="one_link_per_direction")]
        indexes = [models.Index(fields=["wanted_at"], condition=Q(wanted_at__isnull=False), name="links_to_measure")]
