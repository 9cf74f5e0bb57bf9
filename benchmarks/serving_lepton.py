"""Lepton as anybody starts it, with a deployment, an API key and rate limits: what ``make bench-serving`` measures.

``python -m benchmarks.serving_lepton <folder with a model> <replicas>`` deploys that folder on the site of LEPTON_HOME,
waits until all of it is ready, and prints the key.
"""

import os
import sys
import time
from pathlib import Path

import django

READY_SECONDS = 120
PER_MINUTE = 1_000_000  # counted for each request, and never reached


def deploy(model_dir: Path, replicas: int) -> str:
    """The secret of a key that may ask "bench"."""
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
    meta = read_meta(model_dir)
    version = register_version(
        team=team, user=user, model_name="bench", task=meta["task"], meta=meta, metrics={}, lineage={},
        files={path.name: put_file(path) for path in model_dir.iterdir()},
    )  # fmt: skip
    deployment = deploy_version(team=team, user=user, version=version, name="bench")
    change_deployment(deployment=deployment, user=user, requests_per_minute=PER_MINUTE, wanted_replicas=replicas)
    deadline = time.monotonic() + READY_SECONDS
    while deployment.replicas.filter(status=Replica.Status.READY).count() < replicas:
        if time.monotonic() > deadline:
            raise SystemExit("the deployment is not ready")
        time.sleep(0.2)
    return secret


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "lepton_site.settings"
    django.setup()
    print(deploy(Path(sys.argv[1]), int(sys.argv[2])))
