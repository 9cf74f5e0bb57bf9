from django.contrib import admin

from apps.deployments.models import Deployment, Replica


@admin.register(Deployment)
class DeploymentAdmin(admin.ModelAdmin):
    list_display = ["name", "team", "version", "wanted_replicas", "is_public", "created_at"]
    list_filter = ["team", "is_public"]
    search_fields = ["name"]
    list_select_related = ["team", "version__model"]


@admin.register(Replica)
class ReplicaAdmin(admin.ModelAdmin):
    list_display = ["id", "deployment", "version", "node", "status", "strikes", "exit_code", "created_at", "ended_at"]
    list_filter = ["status", "node"]
    list_select_related = ["deployment", "version__model", "node"]
