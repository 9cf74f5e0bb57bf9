"""Deployments whose replica is a process that a whole test module shares."""

from apps.deployments.models import Deployment, Replica
from apps.registry.models import ModelVersion
from tests.people import Person


def served(person: Person, version: ModelVersion, socket_path: str, name: str = "shades", **fields) -> Deployment:
    """A deployment with one ready replica at `socket_path`."""
    deployment = Deployment.objects.create(team=person.team, version=version, name=name, **fields)
    ready = Replica.Status.READY
    Replica.objects.create(deployment=deployment, version=version, status=ready, socket_path=socket_path)
    return deployment
