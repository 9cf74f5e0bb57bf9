"""The Celery application. The database is the truth; Celery is only the doorbell."""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_site.settings")

# In a container everything runs as root, and no message here can carry code: JSON only.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("lepton_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["workers"])
