"""Members, roles, invitations, and the team one works in."""

import re

import pytest
from django.test import Client

from apps.accounts.models import AuditEvent, Membership, Team, User
from apps.accounts.services import change_role, create_team, invite_member, remove_member, renew_invitation
from apps.core.errors import Conflict, Forbidden, Unprocessable
from tests.people import make_person

ROLES = Membership.Role


def roles_of(team: Team) -> dict[str, str]:
    return dict(team.memberships.values_list("user__username", "role"))


def test_an_invited_person_comes_in_by_the_link_that_the_owner_sends(owner):
    page = owner.page.post("/team/", {"username": "ada", "role": "member"})
    assert page.status_code == 201
    path = re.search(r'value="http://testserver(/sign-in/link/[^"]+)"', page.content.decode()).group(1)
    ada = Client()
    ada.post(path)
    assert ada.get("/api/v1/me/").json() == {"user": "ada", "team": owner.team.slug, "role": "member"}


def test_who_has_an_account_is_added_without_a_link(owner, stranger):
    membership, path = invite_member(
        team=owner.team, actor=owner.membership, username=stranger.user.username.upper(), role=ROLES.VIEWER
    )
    assert path == "" and membership.user == stranger.user


def test_a_link_into_somebody_elses_account_cannot_be_had_by_inviting_them(owner, stranger):
    User.objects.update(last_login=None)
    membership, _path = invite_member(
        team=owner.team, actor=owner.membership, username=stranger.user.username, role=ROLES.MEMBER
    )
    with pytest.raises(Forbidden):
        renew_invitation(membership=membership, actor=owner.membership)


def test_an_invitation_is_renewed_until_the_person_has_come(owner):
    membership, path = invite_member(team=owner.team, actor=owner.membership, username="ada", role=ROLES.MEMBER)
    fresh = renew_invitation(membership=membership, actor=owner.membership)
    assert Client().post(path).status_code == 404
    assert Client().post(fresh).status_code == 302
    membership = Membership.objects.get(pk=membership.pk)
    with pytest.raises(Forbidden):
        renew_invitation(membership=membership, actor=owner.membership)


@pytest.mark.parametrize("name", ["with space", "", "semi;colon"])
def test_a_name_that_cannot_be_one_is_refused_beside_the_field(owner, name):
    page = owner.page.post("/team/", {"username": name, "role": "member"})
    assert page.status_code == 422 and "id_username_error" in page.content.decode()
    assert list(roles_of(owner.team)) == [owner.user.username]


def test_nobody_is_invited_twice(owner, member):
    with pytest.raises(Conflict, match="in this team already"):
        invite_member(team=owner.team, actor=owner.membership, username=member.user.username, role=ROLES.ADMIN)


@pytest.mark.parametrize("who", ["member", "viewer"])
def test_only_owners_and_admins_invite(who, request, owner):
    person = request.getfixturevalue(who)
    assert person.page.post("/team/", {"username": "ada", "role": "member"}).status_code == 403
    assert not User.objects.filter(username="ada").exists()


def test_an_admin_can_make_nobody_an_owner(owner, member):
    change_role(membership=member.membership, role=ROLES.ADMIN, actor=owner.membership)
    actor = member.membership
    with pytest.raises(Forbidden):
        invite_member(team=owner.team, actor=actor, username="ada", role=ROLES.OWNER)
    with pytest.raises(Forbidden):
        change_role(membership=actor, role=ROLES.OWNER, actor=actor)
    with pytest.raises(Forbidden):
        remove_member(membership=owner.membership, actor=actor)
    assert roles_of(owner.team) == {owner.user.username: "owner", member.user.username: "admin"}


def test_an_unknown_role_is_refused(owner, member):
    with pytest.raises(Unprocessable):
        change_role(membership=member.membership, role="emperor", actor=owner.membership)


def test_a_team_keeps_an_owner(owner, member):
    with pytest.raises(Conflict, match="needs an owner"):
        change_role(membership=owner.membership, role=ROLES.MEMBER, actor=owner.membership)
    assert owner.page.post(f"/team/members/{owner.membership.pk}/remove/").status_code == 409
    change_role(membership=member.membership, role=ROLES.OWNER, actor=owner.membership)
    remove_member(membership=owner.membership, actor=owner.membership)
    assert roles_of(owner.team) == {member.user.username: "owner"}


def test_who_leaves_takes_no_key_along(owner, member):
    assert member.api.get("/api/v1/me/").status_code == 200
    member.page.post(f"/team/members/{member.membership.pk}/remove/")
    assert member.api.get("/api/v1/me/").status_code == 401
    assert not member.user.api_keys.filter(revoked_at__isnull=True).exists()


def test_members_of_another_team_cannot_be_reached(owner, member, stranger):
    for verb in ("role", "remove", "link"):
        address = f"/team/members/{member.membership.pk}/{verb}/"
        assert stranger.page.post(address, {"role": "viewer"}).status_code == 404
    assert roles_of(owner.team)[member.user.username] == "member"


def test_the_switcher_changes_the_team_and_nothing_reaches_a_foreign_one(owner, stranger):
    second = create_team(user=owner.user, name="Second")
    assert owner.page.get("/api/v1/me/").json()["team"] == owner.team.slug
    owner.page.post("/team/switch/", {"team": second.slug})
    assert owner.page.get("/api/v1/me/").json()["team"] == second.slug
    assert owner.page.post("/team/switch/", {"team": stranger.team.slug}).status_code == 404
    assert owner.page.get("/api/v1/me/").json()["team"] == second.slug


def test_a_session_that_remembers_a_team_left_since_falls_back_to_another(owner, stranger):
    Membership.objects.create(user=owner.user, team=stranger.team, role=ROLES.VIEWER)
    owner.page.post("/team/switch/", {"team": stranger.team.slug})
    assert owner.page.get("/api/v1/me/").json()["team"] == stranger.team.slug
    Membership.objects.filter(user=owner.user, team=stranger.team).delete()
    assert owner.page.get("/api/v1/me/").json()["team"] == owner.team.slug


def test_who_is_in_no_team_is_told_so(db):
    client = Client()
    client.force_login(User.objects.create_user("alone"))
    assert "You are not in a team yet" in client.get("/").content.decode()
    assert client.get("/team/").status_code == 403
    assert client.get("/keys/").status_code == 403
    assert client.get("/api/v1/me/").json()["team"] is None


def test_two_teams_have_different_names_and_addresses(owner, stranger):
    page = owner.page.post("/team/new/", {"name": stranger.team.name.upper()})
    assert page.status_code == 409 and "exists already" in page.content.decode()
    first, second = create_team(user=owner.user, name="Größe!"), create_team(user=owner.user, name="Grosse")
    assert first.slug != second.slug


def test_the_audit_trail_names_who_did_what_and_managers_alone_read_it(owner, viewer, stranger):
    owner.page.post("/team/", {"username": "ada", "role": "member"})
    event = AuditEvent.objects.get(action="member.invited")
    assert (event.team, event.actor, event.target) == (owner.team, owner.user, "ada")
    assert "member.invited" in owner.page.get("/team/audit/").content.decode()
    assert viewer.page.get("/team/audit/").status_code == 403
    assert "member.invited" not in stranger.page.get("/team/audit/").content.decode()


def test_an_admin_gets_no_link_that_signs_in_as_an_owner(owner):
    admin = make_person("adam", owner.team, ROLES.ADMIN)
    membership, _path = invite_member(team=owner.team, actor=owner.membership, username="ada", role=ROLES.OWNER)
    with pytest.raises(Forbidden):
        renew_invitation(membership=membership, actor=admin.membership)
    assert renew_invitation(membership=membership, actor=owner.membership)
