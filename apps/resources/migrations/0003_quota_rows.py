"""One row for each quota of a resource, from one row with a column for each; counters for what is held."""

from django.db import migrations
from django.db.models import F, Sum

COLUMNS = {"max_devices": "devices", "max_jobs": "jobs", "max_storage_bytes": "storage"}


def split_quotas(apps, _schema_editor):
    Quota = apps.get_model("resources", "Quota")
    for old in list(Quota.objects.all()):
        for column, resource in COLUMNS.items():
            limit = getattr(old, column)
            if limit is not None:
                Quota.objects.create(team_id=old.team_id, pool_id=old.pool_id, resource=resource, limit=limit)
        old.delete()


def count_what_is_held(apps, _schema_editor):
    Allocation, Placement = (apps.get_model("resources", name) for name in ("Allocation", "Placement"))
    Node, Share = (apps.get_model("resources", name) for name in ("Node", "Share"))
    Node.objects.update(cpu_millicores=F("cpu_count") * 1000)
    Allocation.objects.update(submitted_at=F("requested_at"))
    granted = Allocation.objects.filter(status="granted")
    Placement.objects.bulk_create(
        Placement(allocation_id=pk, node_id=node) for pk, node in granted.values_list("pk", "node_id")
    )
    for team_id, pool_id in Allocation.objects.values_list("team_id", "pool_id").distinct():
        mine = granted.filter(team_id=team_id, pool_id=pool_id)
        devices = mine.aggregate(n=Sum("devices_asked"))["n"] or 0
        Share.objects.create(team_id=team_id, pool_id=pool_id, held_devices=devices, held_jobs=mine.count())


class Migration(migrations.Migration):
    dependencies = [("resources", "0002_pool_shared")]
    operations = [
        migrations.RunPython(split_quotas, migrations.RunPython.noop),
        migrations.RunPython(count_what_is_held, migrations.RunPython.noop),
    ]
