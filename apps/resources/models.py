"""The pool: machines, devices, quotas, and who holds what."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team


class Pool(models.Model):
    """Machines that are shared under one policy."""

    class Policy(models.TextChoices):
        FIFO = "fifo", _("First come, first served")

    name = models.SlugField(max_length=60, unique=True)
    policy = models.CharField(max_length=20, choices=Policy, default=Policy.FIFO)

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A machine. Its agent beats every few seconds; `is_cordoned` keeps new work away."""

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="nodes")
    name = models.SlugField(max_length=60, unique=True)
    cpu_count = models.PositiveIntegerField(default=1)
    memory_bytes = models.BigIntegerField(default=0)
    storage_free_bytes = models.BigIntegerField(default=0)
    is_cordoned = models.BooleanField(default=False)
    last_beat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Quota(models.Model):
    """What a team may use of a pool at most. None is unlimited."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="quotas")
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="quotas")
    max_devices = models.PositiveIntegerField(null=True, blank=True)
    max_jobs = models.PositiveIntegerField(null=True, blank=True)
    max_storage_bytes = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "pool"], name="one_quota_per_team_and_pool")]


class Allocation(models.Model):
    """A claim on devices of one node: pending, granted, released.

    `devices_asked` may be 0: work that needs no accelerator and no exclusive CPU device, such as checking an upload.
    `reason` says why a pending claim waits: {"code", "message", "numbers"}.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        GRANTED = "granted", _("Granted")
        RELEASED = "released", _("Released")

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="allocations")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="allocations")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    devices_asked = models.PositiveIntegerField(default=1)
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.PROTECT, related_name="allocations")
    reason = models.JSONField(default=dict, blank=True)
    requested_at = models.DateTimeField(auto_now_add=True)
    granted_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["status", "requested_at"])]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(status="granted") | models.Q(node__isnull=False), name="granted_means_placed"
            )
        ]


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
    allocation = models.ForeignKey(Allocation, null=True, blank=True, on_delete=models.SET_NULL, related_name="devices")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "kind", "index"], name="one_row_per_device")]
        ordering = ["node_id", "kind", "index"]


class UsageRecord(models.Model):
    """What an allocation used, written once when it is released."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="usage_records")
    allocation = models.OneToOneField(Allocation, on_delete=models.CASCADE, related_name="usage")
    device_kind = models.CharField(max_length=10)
    device_seconds = models.FloatField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
