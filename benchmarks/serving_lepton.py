"""Lepton as anybody starts it, with deployments, an API key and rate limits: what ``make bench-serving`` measures.

``python -m benchmarks.serving_lepton <replicas> <name>=<folder with a model> ...`` deploys each folder under its name
on the site of LEPTON_HOME, waits until all of them are ready, and prints the key.
"""

import os
import sys
import time
from pathlib import Path

import django

READY_SECONDS = 120
PER_MINUTE = 1_000_000  # counted for each request, and never reached


def deploy(models: dict[str, Path], replicas: int) -> str:
    """The secret of a key that may ask them."""
    from apps.accounts.models import User
    from apps.accounts.services import create_api_key, create_team
    from apps.core.storage import put_file
    from apps.deployments.models import Replica
    from apps.deployments.services import change_deployment, deploy_version
    from apps.registry.services import register_version
    from workers.inference.predictor import read_meta

    user = User.objects.create_user(username="bench")
    team = create_team(user=user, name="Bench")
    key, secret = create_api_key(team=team, user=user, name="bench")
    key.requests_per_minute = PER_MINUTE
    key.save()
    for name, folder in models.items():
        meta = read_meta(folder)
        version = register_version(
            team=team, user=user, model_name=name, task=meta["task"], meta=meta, metrics={}, lineage={},
            files={path.name: put_file(path) for path in folder.iterdir()},
        )  # fmt: skip
        deployment = deploy_version(team=team, user=user, version=version, name=name)
        change_deployment(deployment=deployment, user=user, requests_per_minute=PER_MINUTE, wanted_replicas=replicas)
    deadline = time.monotonic() + READY_SECONDS
    while Replica.objects.filter(status=Replica.Status.READY).count() < replicas * len(models):
        if time.monotonic() > deadline:
            raise SystemExit("the deployments are not ready")
        time.sleep(0.2)
    return secret


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "lepton_site.settings"
    django.setup()
    named = (argument.partition("=") for argument in sys.argv[2:])
    print(deploy({name: Path(folder) for name, _is, folder in named}, int(sys.argv[1])))
