from django.contrib import admin

from apps.core.admin import LookingOnly
from apps.resources.models import (
    Allocation,
    Budget,
    CreditEntry,
    Device,
    Node,
    Placement,
    Pool,
    Price,
    Quota,
    Share,
    UsageRecord,
)


class DeviceInline(admin.TabularInline):
    model = Device
    extra = 0
    can_delete = False
    fields = readonly_fields = ("kind", "index", "name", "memory_bytes", "allocation")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


class PlacementInline(admin.TabularInline):
    model = Placement
    extra = 0
    can_delete = False
    fields = readonly_fields = ("node", "cpu_millicores", "memory_bytes")


@admin.register(Pool)
class PoolAdmin(LookingOnly):
    """Changed on the Policy page, which checks and notes it."""

    list_display = ("name", "policy", "is_preemptive", "min_runtime_seconds")


@admin.register(Node)
class NodeAdmin(LookingOnly):
    """A node's agent registers it; cordon, drain and remove it on the Pool pages."""

    list_display = ("name", "pool", "is_cordoned", "cpu_count", "memory_bytes", "last_beat_at")
    list_filter = ("pool", "is_cordoned")
    search_fields = ("name",)
    list_select_related = ("pool",)
    inlines = (DeviceInline,)


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin):
    list_display = ("team", "pool", "resource", "guaranteed", "limit", "user_limit")
    list_filter = ("pool", "resource", "team")
    list_select_related = ("team", "pool")


@admin.register(Share)
class ShareAdmin(LookingOnly):
    list_display = ("team", "pool", "weight", "credits", "held_devices", "held_jobs")
    list_select_related = ("team", "pool")


@admin.register(CreditEntry)
class CreditEntryAdmin(LookingOnly):
    list_display = ("share", "kind", "amount", "note", "at")
    list_filter = ("kind",)


@admin.register(Price)
class PriceAdmin(LookingOnly):
    """Changed on the page Prices and budgets, which notes who did."""

    list_display = ("item", "device_name", "amount")


@admin.register(Budget)
class BudgetAdmin(LookingOnly):
    """Changed on the page Prices and budgets, which notes who did."""

    list_display = ("team", "amount_per_month")


@admin.register(Allocation)
class AllocationAdmin(LookingOnly):
    """For looking only: the scheduler grants and releases."""

    list_display = ("id", "team", "status", "devices_asked", "node", "requested_at", "granted_at", "released_at")
    list_filter = ("status", "pool", "team")
    list_select_related = ("team", "node")
    inlines = (PlacementInline,)


@admin.register(UsageRecord)
class UsageRecordAdmin(LookingOnly):
    list_display = ("team", "job_name", "node_name", "device_kind", "device_seconds", "cost", "ended_at")
    list_filter = ("team", "device_kind")
