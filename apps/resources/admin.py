from django.contrib import admin

from apps.resources.models import Allocation, Device, Node, Pool, Quota


class DeviceInline(admin.TabularInline):
    model = Device
    extra = 0
    can_delete = False
    fields = readonly_fields = ("kind", "index", "name", "memory_bytes", "allocation")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


@admin.register(Pool)
class PoolAdmin(admin.ModelAdmin):
    list_display = ("name", "policy")


@admin.register(Node)
class NodeAdmin(admin.ModelAdmin):
    """A node's agent registers it; an operator may keep new work away from it."""

    list_display = ("name", "pool", "is_cordoned", "cpu_count", "memory_bytes", "last_beat_at")
    list_filter = ("pool", "is_cordoned")
    search_fields = ("name",)
    list_select_related = ("pool",)
    readonly_fields = ("name", "cpu_count", "memory_bytes", "storage_free_bytes", "last_beat_at")
    inlines = (DeviceInline,)

    def has_add_permission(self, request) -> bool:
        return False


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin):
    list_display = ("team", "pool", "max_devices", "max_jobs", "max_storage_bytes")
    list_select_related = ("team", "pool")


@admin.register(Allocation)
class AllocationAdmin(admin.ModelAdmin):
    """For looking only: the scheduler grants and releases."""

    list_display = ("id", "team", "status", "devices_asked", "node", "requested_at", "granted_at", "released_at")
    list_filter = ("status", "pool", "team")
    list_select_related = ("team", "node")

    def has_add_permission(self, request) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        return False
