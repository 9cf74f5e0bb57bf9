from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from apps.accounts.models import ApiKey, AuditEvent, Membership, Team, User
from apps.core.admin import LookingOnly

admin.site.register(User, UserAdmin)


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    list_display = ("user", "team", "role", "created_at")
    list_filter = ("role",)
    search_fields = ("user__username", "team__name")
    autocomplete_fields = ("user", "team")


@admin.register(ApiKey)
class ApiKeyAdmin(LookingOnly):
    list_display = ("name", "prefix", "user", "team", "last_used_at", "revoked_at")
    search_fields = ("name", "prefix", "user__username", "team__name")
    exclude = ("key_hash",)


@admin.register(AuditEvent)
class AuditEventAdmin(LookingOnly):
    list_display = ("at", "team", "actor", "action", "target")
    list_filter = ("action",)
    search_fields = ("target", "actor__username", "team__name")
