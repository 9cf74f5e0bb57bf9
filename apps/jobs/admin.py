from django.contrib import admin

from apps.core.admin import LookingOnly
from apps.jobs.models import Job, JobEvent


class JobEventInline(admin.TabularInline):
    model = JobEvent
    extra = 0
    can_delete = False
    readonly_fields = ("at", "attempt", "status", "actor", "message")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(LookingOnly):
    """For looking only: a job changes its state through its services."""

    list_display = ("id", "name", "kind", "status", "team", "node", "attempt", "created_at")
    list_filter = ("status", "kind", "team")
    search_fields = ("id", "name", "model_name")
    list_select_related = ("team", "node")
    date_hierarchy = "created_at"
    inlines = (JobEventInline,)
