from django.contrib import admin

from apps.deployments.models import Canary, Deployment, Replica, TrafficChange


@admin.register(Deployment)
class DeploymentAdmin(admin.ModelAdmin):
    list_display = ["name", "team", "version", "wanted_replicas", "requests_per_minute", "is_public", "created_at"]
    list_filter = ["team", "is_public"]
    search_fields = ["name"]
    list_select_related = ["team", "version__model"]


@admin.register(Replica)
class ReplicaAdmin(admin.ModelAdmin):
    list_display = ["id", "deployment", "version", "node", "status", "strikes", "exit_code", "created_at", "ended_at"]
    list_filter = ["status", "node"]
    exclude = ["token"]
    list_select_related = ["deployment", "version__model", "node"]


@admin.register(Canary)
class CanaryAdmin(admin.ModelAdmin):
    list_display = ["deployment", "version", "weight", "wanted_replicas", "stopped_at"]
    list_select_related = ["deployment", "version__model"]


@admin.register(TrafficChange)
class TrafficChangeAdmin(admin.ModelAdmin):
    list_display = ["deployment", "kind", "reason", "made_by", "at"]
    list_filter = ["kind"]
    list_select_related = ["deployment", "made_by"]
