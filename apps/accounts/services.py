"""Every change of users, teams, roles, keys and sign-in links."""

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.limits import check_per_minute
from apps.accounts.models import ApiKey, AuditEvent, Membership, SignInLink, Team, User
from apps.core.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unprocessable

LINK_LIFETIME = timedelta(hours=24)
KEY_PREFIX = "lp_"
KEY_TOUCH_INTERVAL = timedelta(minutes=1)
MAX_KEYS_PER_PERSON = 50

ATTEMPT_WINDOW_SECONDS = 15 * 60
MAX_ATTEMPTS_PER_NAME = 5
MAX_ATTEMPTS_PER_ADDRESS = 60

FIRST_ADMINISTRATOR = "admin"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def record_audit(
    *, team: Team | None, actor: User | None, action: str, target: object = "", details: dict[str, Any] | None = None
) -> AuditEvent:
    """Note who did what to what. `action` is a stable dotted word such as "member.invited"."""
    return AuditEvent.objects.create(
        team=team, actor=actor, action=action, target=str(target)[:200], details=details or {}
    )


# Signing in


def sign_in_with_password(request: HttpRequest, *, username: str, password: str) -> User:
    """The person behind name and password. Raises TooManyRequests, or Unprocessable without saying which was wrong."""
    address = request.META.get("REMOTE_ADDR", "")
    name_counter = f"sign-in:{_hash(f'{address} {username.lower()}')}"
    _count_attempt(name_counter, MAX_ATTEMPTS_PER_NAME)
    _count_attempt(f"sign-in:{_hash(address)}", MAX_ATTEMPTS_PER_ADDRESS)
    user = authenticate(request, username=username, password=password)
    if user is None:
        message = _("Name or password is wrong. Check both, or ask for a sign-in link.")
        raise Unprocessable(message, code="wrong_password")
    cache.delete(name_counter)
    return user


def _count_attempt(counter: str, limit: int) -> None:
    cache.add(counter, 0, ATTEMPT_WINDOW_SECONDS)
    try:
        attempts = cache.incr(counter)
    except ValueError:  # it expired between the two calls
        return
    if attempts > limit:
        minutes = ATTEMPT_WINDOW_SECONDS // 60
        message = _("Too many attempts. Wait up to %(minutes)d minutes, or use a sign-in link.") % {"minutes": minutes}
        raise TooManyRequests(message, code="too_many_attempts", retry_after_seconds=ATTEMPT_WINDOW_SECONDS)


@transaction.atomic
def create_sign_in_link(*, user: User) -> str:
    """A path that signs `user` in once within 24 hours. Links made before and not used stop working."""
    token = secrets.token_urlsafe(32)
    user.sign_in_links.filter(used_at__isnull=True).delete()
    SignInLink.objects.create(user=user, token_hash=_hash(token), expires_at=timezone.now() + LINK_LIFETIME)
    return reverse("accounts:sign_in_link", args=[token])


def find_sign_in_link(token: str) -> SignInLink:
    """The link, if it can still be used; looking does not use it. Raises NotFound with the reason."""
    link = SignInLink.objects.select_related("user").filter(token_hash=_hash(token)).first()
    again = _("Ask for a new one, or run “manage.py sign_in_link” on the server.")
    if link is None or not link.user.is_active:
        raise NotFound(_("This sign-in link is not valid.") + " " + again, code="link_unknown")
    if link.used_at:
        raise NotFound(_("This sign-in link was used already.") + " " + again, code="link_used")
    if link.expires_at <= timezone.now():
        raise NotFound(_("This sign-in link is older than 24 hours.") + " " + again, code="link_expired")
    return link


def use_sign_in_link(token: str) -> User:
    """Use up the link and return its person. Of two requests at once one wins. Raises NotFound."""
    now = timezone.now()
    unused = SignInLink.objects.filter(token_hash=_hash(token), used_at__isnull=True, expires_at__gt=now)
    if not unused.filter(user__is_active=True).exists() or not unused.update(used_at=now):
        find_sign_in_link(token)
        raise NotFound(_("This sign-in link was used already."), code="link_used")
    return User.objects.get(sign_in_links__token_hash=_hash(token))


@transaction.atomic
def ensure_first_administrator() -> str | None:
    """Make the administrator and a team on an empty site; a sign-in path until an administrator has signed in."""
    if User.objects.filter(is_superuser=True, last_login__isnull=False).exists():
        return None
    user = User.objects.filter(is_superuser=True, is_active=True).order_by("id").first()
    if user is None:
        user = User(username=FIRST_ADMINISTRATOR, is_staff=True, is_superuser=True)
        user.set_unusable_password()
        user.save()
        record_audit(team=None, actor=None, action="administrator.created", target=user.username)
    if not user.memberships.exists():
        create_team(user=user, name=_("My team"))
    return create_sign_in_link(user=user)


# The language of pages


def choose_language(*, user: User | AnonymousUser, language: str) -> None:
    """Keep a person's choice; nothing is kept of somebody who has not signed in. Raises Unprocessable."""
    known = dict(settings.LANGUAGES)
    if language not in known:
        message = _("Lepton does not speak “%(language)s”. Choose one of: %(known)s.")
        told = {"language": language[:16], "known": ", ".join(known.values())}
        raise Unprocessable(message % told, code="unknown_language", field="language")
    if user.is_authenticated:
        user.language = language
        user.save(update_fields=["language"])


# Teams


@transaction.atomic
def create_team(*, user: User, name: str) -> Team:
    """A new team that `user` owns. Raises Conflict when the name is taken, Unprocessable when it is empty."""
    name = name.strip()
    if not name:
        raise Unprocessable(_("A team needs a name."), field="name")
    if Team.objects.filter(name__iexact=name).exists():
        message = _("A team called “%(name)s” exists already. Choose another name.") % {"name": name}
        raise Conflict(message, code="name_taken", field="name")
    team = Team.objects.create(name=name, slug=_free_slug(name))
    Membership.objects.create(user=user, team=team, role=Membership.Role.OWNER)
    record_audit(team=team, actor=user, action="team.created", target=team)
    return team


def _free_slug(name: str) -> str:
    stem = slugify(name)[:70] or "team"
    taken = set(Team.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    number = 1
    while (slug := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return slug


@transaction.atomic
def invite_member(*, team: Team, actor: Membership, username: str, role: str) -> tuple[Membership, str]:
    """Add a person to the team; returns the membership and, for a person new to the site, a sign-in path to send.

    A person who has an account already is added without a link: a link would let one team into another team's account.
    """
    _check_may_give(actor, role)
    user = User.objects.filter(username__iexact=username).first()
    path = ""
    if user is None:
        user = _new_user(username)
        path = create_sign_in_link(user=user)
    if team.memberships.filter(user=user).exists():
        raise Conflict(_("%(name)s is in this team already.") % {"name": user.username}, field="username")
    membership = Membership.objects.create(user=user, team=team, role=role)
    record_audit(team=team, actor=actor.user, action="member.invited", target=user.username, details={"role": role})
    return membership, path


def _new_user(username: str) -> User:
    user = User(username=username)
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise Unprocessable(messages[0], field=field) from error
    user.save()
    return user


def may_renew_link(membership: Membership) -> bool:
    """Whether the team may make another link: only for an invited person who never came and is in no other team."""
    user = membership.user
    return user.last_login is None and not user.is_superuser and user.memberships.count() == 1


def renew_invitation(*, membership: Membership, actor: Membership) -> str:
    """A new sign-in path for an invited person who has not come yet. Raises Forbidden.

    Whoever holds the path can sign in as that person, so an admin makes none for an owner.
    """
    _check_may_give(actor, membership.role)
    if not may_renew_link(membership):
        message = _("%(name)s has an account already and signs in with it. An administrator can make a new link.")
        raise Forbidden(message % {"name": membership.user.username})
    record_audit(team=membership.team, actor=actor.user, action="member.link_renewed", target=membership.user.username)
    return create_sign_in_link(user=membership.user)


@transaction.atomic
def change_role(*, membership: Membership, role: str, actor: Membership) -> Membership:
    """Give a member another role. Raises Forbidden, or Conflict when the team would be left without an owner."""
    _check_may_give(actor, role)
    _check_may_give(actor, membership.role)
    if role != Membership.Role.OWNER:
        _check_not_last_owner(membership)
    before, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    details = {"from": before, "to": role}
    name = membership.user.username
    record_audit(team=membership.team, actor=actor.user, action="member.role_changed", target=name, details=details)
    return membership


@transaction.atomic
def remove_member(*, membership: Membership, actor: Membership) -> None:
    """Take a person out of the team and revoke the keys they made for it. Anyone may leave."""
    if membership.pk != actor.pk:
        _check_may_give(actor, membership.role)
    _check_not_last_owner(membership)
    team, user = membership.team, membership.user
    for key in ApiKey.objects.filter(team=team, user=user, revoked_at__isnull=True):
        revoke_api_key(key=key, actor=actor.user)
    membership.delete()
    record_audit(team=team, actor=actor.user, action="member.removed", target=user.username)


def _check_may_give(actor: Membership, role: str) -> None:
    if role not in Membership.Role.values:
        raise Unprocessable(_("There is no role “%(role)s”.") % {"role": role}, field="role")
    if not actor.may_manage:
        raise Forbidden(_("Only owners and admins of the team can do this. Ask one of them."))
    if role == Membership.Role.OWNER and actor.role != Membership.Role.OWNER:
        raise Forbidden(_("Only an owner can change who owns the team."))


def _check_not_last_owner(membership: Membership) -> None:
    owners = membership.team.memberships.select_for_update().filter(role=Membership.Role.OWNER)
    if membership.role == Membership.Role.OWNER and {owner.pk for owner in owners} == {membership.pk}:
        raise Conflict(_("A team needs an owner. Make someone else owner first."), code="last_owner")


# API keys


@transaction.atomic
def create_api_key(*, team: Team, user: User, name: str, requests_per_minute: int | None = None) -> tuple[ApiKey, str]:
    """A key and its secret, which cannot be read again. Raises Unprocessable, Conflict when there are too many."""
    name = name.strip()
    check_per_minute(requests_per_minute)
    if not name:
        raise Unprocessable(_("A key needs a name, so that you know later what uses it."), field="name")
    if ApiKey.objects.filter(team=team, user=user, revoked_at__isnull=True).count() >= MAX_KEYS_PER_PERSON:
        message = _("You have %(n)d keys in this team. Revoke one you no longer use.") % {"n": MAX_KEYS_PER_PERSON}
        raise Conflict(message, code="too_many_keys")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        team=team,
        user=user,
        name=name[:80],
        prefix=secret[: len(KEY_PREFIX) + 6],
        key_hash=_hash(secret),
        requests_per_minute=requests_per_minute,
    )
    record_audit(team=team, actor=user, action="key.created", target=key.name, details={"prefix": key.prefix})
    return key, secret


def find_api_key(secret: str) -> ApiKey | None:
    """The live key with this secret, its team and user; None if revoked or its person left the team or the site."""
    live = ApiKey.objects.filter(revoked_at__isnull=True, user__is_active=True, user__memberships__team=F("team"))
    return live.select_related("team", "user").filter(key_hash=_hash(secret)).first()


def touch_api_key(key: ApiKey) -> None:
    """Note that the key is in use, at most once a minute."""
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - KEY_TOUCH_INTERVAL:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)


def limit_api_key(*, key: ApiKey, actor: User, requests_per_minute: int | None) -> ApiKey:
    """Let a key predict at most so often a minute; None is no limit. It holds within a second. Raises Unprocessable."""
    check_per_minute(requests_per_minute)
    if ApiKey.objects.filter(pk=key.pk).exclude(requests_per_minute=requests_per_minute).exists():
        ApiKey.objects.filter(pk=key.pk).update(requests_per_minute=requests_per_minute)
        details = {"prefix": key.prefix, "requests_per_minute": requests_per_minute}
        record_audit(team=key.team, actor=actor, action="key.limited", target=key.name, details=details)
    key.refresh_from_db()
    return key


def revoke_api_key(*, key: ApiKey, actor: User) -> ApiKey:
    """End a key. Doing it twice is the same as once."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        record_audit(team=key.team, actor=actor, action="key.revoked", target=key.name, details={"prefix": key.prefix})
    key.refresh_from_db()
    return key
