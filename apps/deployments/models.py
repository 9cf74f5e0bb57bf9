"""Deployments: what should be served. Canaries: versions beside the stable one. Replicas: the processes that serve."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import ApiKey, Team
from apps.deployments.pages import decision_of
from apps.registry.models import ModelVersion
from apps.resources.models import Allocation, Node
from workers.inference.reaching import lane_ports, lane_sockets


class Deployment(models.Model):
    """The wanted state: the stable version, how many replicas it has, who may see its demo page.

    The stable version gets the traffic that no canary gets. A canary is stopped by itself when its share of server
    errors lies more than `max_error_points` percentage points above the stable version's, or its 99th percentile of
    latency is more than `max_latency_factor` times the stable version's, each after `min_answers` answers.

    Each API key may ask `requests_per_minute` times a minute (None: as often as it likes), and only from
    `allowed_networks`, in CIDR notation (none: from anywhere).

    With `max_replicas` the number of the stable version's replicas follows the load between `min_replicas` and it, and
    `wanted_replicas` is what it has come to: see scaling.py. Without, it is what people chose.

    `replica_cpu` (cores) and `replica_memory` (GB) are what the pool sets aside for each replica, None what is usual
    for its model: see claims.py.

    Of the requests by key `logged_percent` are written down for `logged_days`, with what was sent where `logs_inputs`.

    `page` is how the demo page looks where it is not the usual one, with `page_settings` (apps/deployments/pages.py).
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="deployments")
    name = models.SlugField(max_length=80)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments")
    wanted_replicas = models.PositiveIntegerField(default=1)
    is_public = models.BooleanField(default=False)
    min_answers = models.PositiveIntegerField(default=50)
    max_error_points = models.FloatField(default=2.0)
    max_latency_factor = models.FloatField(default=2.0)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    allowed_networks = models.JSONField(default=list, blank=True)
    max_replicas = models.PositiveSmallIntegerField(null=True, blank=True)
    min_replicas = models.PositiveSmallIntegerField(default=1)
    target_in_flight = models.FloatField(default=8.0)
    target_latency_ms = models.PositiveIntegerField(null=True, blank=True)
    idle_minutes = models.PositiveIntegerField(default=15)
    replica_cpu = models.FloatField(null=True, blank=True)
    replica_memory = models.FloatField(null=True, blank=True)
    logged_percent = models.FloatField(default=0.0)
    logged_days = models.PositiveIntegerField(default=7)
    logs_inputs = models.BooleanField(default=False)
    page = models.CharField(max_length=20, blank=True)
    page_settings = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="deployment_name_unique_in_team")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def decision(self) -> dict[str, Any] | None:
        """What its answers decide (apps/deployments/pages.py)."""
        return decision_of(self.page, self.page_settings)

    @property
    def may_sleep(self) -> bool:
        """Whether its last replica ends by itself, and comes back with a request."""
        return self.max_replicas is not None and self.min_replicas == 0


class Canary(models.Model):
    """A version that should get `weight` percent of a deployment's traffic beside the stable one.

    One that was stopped by itself stays, with weight 0 and the reason, until the traffic is changed again.
    """

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="canaries")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="canaries")
    weight = models.PositiveSmallIntegerField()
    wanted_replicas = models.PositiveIntegerField(default=1)
    stopped_at = models.DateTimeField(null=True, blank=True)
    stopped_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["deployment", "version"], name="canary_version_unique_in_deployment"),
            models.CheckConstraint(condition=models.Q(weight__lt=100), name="canary_leaves_traffic_to_the_stable"),
        ]
        ordering = ["id"]


class TrafficChange(models.Model):
    """What served from a moment on: `shares` is [{"version_id", "version", "weight", "replicas"}], the stable first.

    Answers are counted anew from each change. `reason` says why the site made it by itself.
    """

    class Kind(models.TextChoices):
        CREATED = "created", _("Deployed")
        CHANGED = "changed", _("Traffic changed")
        PROMOTED = "promoted", _("Promoted")
        ROLLED_BACK = "rolled_back", _("Rolled back")
        STOPPED = "stopped", _("Stopped by itself")

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="traffic_changes")
    kind = models.CharField(max_length=12, choices=Kind)
    shares = models.JSONField()
    reason = models.TextField(blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class ScalingEvent(models.Model):
    """The number of replicas was changed: by a person, or by the site itself; then `reason` says why, with numbers."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="scaling_events")
    before = models.PositiveSmallIntegerField()
    after = models.PositiveSmallIntegerField()
    reason = models.TextField(blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Replica(models.Model):
    """Inference processes of one version on one node, `lanes` in number; `pid` is the first, which the others end with.
    Ready only after each has answered a real prediction. It gets its node with its claim on the pool, `allocation`; one
    that lost that, since its machine was taken for lost, is replaced. `ports` are those of its lanes at its machine's
    address, for other machines that know `token`; none where no other machine is to ask it."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        STARTING = "starting", _("Starting")
        READY = "ready", _("Ready")
        STOPPING = "stopping", _("Stopping")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")

    LIVE = (Status.PENDING, Status.STARTING, Status.READY)
    MOVING = (Status.PENDING, Status.STARTING, Status.STOPPING)
    ENDED = (Status.STOPPED, Status.FAILED)

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="replicas")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="replicas")
    node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="replicas")
    allocation = models.OneToOneField(Allocation, null=True, on_delete=models.SET_NULL, related_name="replica")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    socket_path = models.CharField(max_length=200, blank=True)
    lanes = models.PositiveSmallIntegerField(default=1)
    ports = models.JSONField(default=list, blank=True)
    token = models.CharField(max_length=64, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    process_started_at = models.FloatField(null=True, blank=True)
    strikes = models.PositiveIntegerField(default=0)
    exit_code = models.IntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]

    @property
    def is_unplaced(self) -> bool:
        """Whether it waits for a machine."""
        return self.status == self.Status.PENDING and self.node_id is None

    @property
    def log(self) -> str:
        """The end of what its process wrote, which stands behind the sentence in `reason`."""
        return self.reason.partition("\n")[2]

    @property
    def sockets(self) -> tuple[str, ...]:
        """One for each lane, on its own machine."""
        return lane_sockets(self.socket_path, self.lanes)

    @property
    def remote_sockets(self) -> tuple[str, ...]:
        """The same for other machines."""
        return lane_ports(self.node.address, self.ports, self.token) if self.node else ()


class LoadTest(models.Model):
    """`clients` that ask a deployment its own sample over and over for `seconds`, by its public address.

    `figures` are those of apps/deployments/loading.py, written about once a second while it runs. `api_key` is the one
    that it asks with, which goes with its end.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Starting")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Done")
        FAILED = "failed", _("Failed")

    OPEN = (Status.QUEUED, Status.RUNNING)

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="load_tests")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL, related_name="+")
    seconds = models.PositiveIntegerField()
    clients = models.PositiveIntegerField()
    version_number = models.PositiveIntegerField()
    replicas = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    figures = models.JSONField(default=dict, blank=True)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment"],
                condition=models.Q(status__in=["queued", "running"]),
                name="one_load_test_at_once",
            )
        ]
        ordering = ["-id"]

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN


class LoggedRequest(models.Model):
    """One request by key, as it was answered. `content` and `input` are what was sent, None where that is not kept;
    `kept_bytes` is what the row takes."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="logged_requests")
    at = models.DateTimeField()
    version_number = models.PositiveIntegerField()
    verb = models.CharField(max_length=10)
    status = models.PositiveSmallIntegerField()
    seconds = models.FloatField()
    input_bytes = models.PositiveBigIntegerField()
    content = models.CharField(max_length=10, blank=True)
    input = models.BinaryField(null=True)
    answer = models.TextField(blank=True)
    kept_bytes = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index(fields=["deployment", "-id"])]
        ordering = ["-id"]
