from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("resources", "0003_quota_rows")]
    operations = [
        migrations.RemoveField(
            model_name="quota",
            name="max_devices",
        ),
        migrations.RemoveField(
            model_name="quota",
            name="max_jobs",
        ),
        migrations.RemoveField(
            model_name="quota",
            name="max_storage_bytes",
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.UniqueConstraint(
                fields=("team", "pool", "resource"), name="one_quota_per_team_pool_and_resource"
            ),
        ),
    ]
