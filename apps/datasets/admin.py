from django.contrib import admin

from apps.datasets.models import Dataset, DatasetVersion, Upload


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    list_display = ["id", "name", "team", "status", "received_bytes", "size_bytes", "updated_at"]
    list_filter = ["status"]
    search_fields = ["name", "team__name"]


@admin.register(Dataset)
class DatasetAdmin(admin.ModelAdmin):
    list_display = ["name", "team", "created_by", "created_at"]
    search_fields = ["name", "team__name"]


@admin.register(DatasetVersion)
class DatasetVersionAdmin(admin.ModelAdmin):
    list_display = ["__str__", "status", "kind", "item_count", "size_bytes", "created_at"]
    list_filter = ["status", "kind"]
    search_fields = ["dataset__name", "content_hash"]
