"""What the operators' admin of every app shares."""

from django.contrib import admin


class LookingOnly(admin.ModelAdmin):
    """Written by services alone: an operator may look and search."""

    def has_add_permission(self, request) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        return False
