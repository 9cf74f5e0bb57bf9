"""The people of the tests: one team with every role, and a stranger who owns another team."""

from dataclasses import dataclass, field

import pytest
from django.test import Client

from apps.accounts.models import Membership, Team, User
from apps.accounts.services import create_api_key, create_team


@dataclass
class Person:
    """Somebody with a browser that is signed in, and a program that has their API key."""

    user: User
    team: Team
    secret: str
    page: Client = field(init=False)
    api: Client = field(init=False)

    def __post_init__(self) -> None:
        self.page = Client()
        self.page.force_login(self.user)
        self.api = Client(headers={"Authorization": f"Bearer {self.secret}", "Accept": "application/json"})

    @property
    def membership(self) -> Membership:
        return self.team.memberships.get(user=self.user)


def make_person(name: str, team: Team | None = None, role: str = Membership.Role.OWNER) -> Person:
    """Somebody who belongs to `team` with `role`; without a team, the owner of a new one."""
    user = User.objects.create_user(username=name)
    if team is None:
        team = create_team(user=user, name=f"Team of {name}")
    else:
        Membership.objects.create(user=user, team=team, role=role)
    _key, secret = create_api_key(team=team, user=user, name="tests")
    return Person(user, team, secret)


@pytest.fixture
def owner(db) -> Person:
    return make_person("olga")


@pytest.fixture
def team(owner: Person) -> Team:
    return owner.team


@pytest.fixture
def member(owner: Person) -> Person:
    return make_person("max", owner.team, Membership.Role.MEMBER)


@pytest.fixture
def viewer(owner: Person) -> Person:
    return make_person("vera", owner.team, Membership.Role.VIEWER)


@pytest.fixture
def stranger(db) -> Person:
    return make_person("stefan")


@pytest.fixture
def administrator(db) -> Person:
    person = make_person("anna")
    User.objects.filter(pk=person.user.pk).update(is_staff=True, is_superuser=True)
    person.user.refresh_from_db()
    return person
