from django.contrib import admin

from apps.core.admin import LookingOnly
from apps.registry.models import ModelVersion, RegisteredModel


class ModelVersionInline(admin.TabularInline):
    model = ModelVersion
    extra = 0
    can_delete = False
    fields = readonly_fields = ("number", "parent", "size_bytes", "created_at")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


@admin.register(RegisteredModel)
class RegisteredModelAdmin(LookingOnly):
    """For looking only: versions are registered by the jobs that make them."""

    list_display = ("name", "team", "task", "created_at")
    list_filter = ("task", "team")
    search_fields = ("name",)
    list_select_related = ("team",)
    inlines = (ModelVersionInline,)
