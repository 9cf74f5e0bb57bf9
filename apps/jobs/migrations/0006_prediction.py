from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_bytes_read")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="prediction",
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
