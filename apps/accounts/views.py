"""Sign-in, the team, its keys and its audit trail."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.i18n import set_language
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts import services
from apps.accounts.access import require_manage, require_team
from apps.accounts.forms import (
    InviteForm,
    KeyForm,
    KeyLimitForm,
    PasswordChangeForm,
    RoleForm,
    SetPasswordForm,
    SignInForm,
    TeamForm,
)
from apps.accounts.middleware import TEAM_KEY
from apps.accounts.models import ApiKey, AuditEvent, Membership
from apps.core.errors import DomainError, NotFound, Unprocessable

BY_LINK_KEY = "signed_in_by_link"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def _add_error(form, error: DomainError) -> int:
    """Put a service's error beside the field it names; returns the status to answer."""
    form.add_error(error.field if error.field in form.fields else None, error.message)
    return error.status


# Signing in and out


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.htmx:  # a part of a page asked after the session had ended: the whole page has to go, not the part
        return HttpResponseClientRedirect(reverse("accounts:sign_in"))
    if request.user.is_authenticated:
        return redirect("dashboard:home")
    form, status = SignInForm(request.POST or None), 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                login(request, services.sign_in_with_password(request, **form.cleaned_data))
                return redirect(_safe_next(request))
            except DomainError as error:
                status = _add_error(form, error)
    context = {"form": form, "next": request.GET.get("next", "")}
    return render(request, "accounts/sign_in.html", context, status=status)


def _safe_next(request: HttpRequest) -> str:
    wanted = request.POST.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_safe else reverse(settings.LOGIN_REDIRECT_URL)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """A GET only shows a button, so that the preview of a chat program does not use up the link."""
    if request.method == "GET":
        return render(request, "accounts/sign_in_link.html", {"link": services.find_sign_in_link(token)})
    user = services.use_sign_in_link(token)
    login(request, user, backend=MODEL_BACKEND)
    request.session[BY_LINK_KEY] = True
    return redirect("dashboard:home" if user.has_usable_password() else "accounts:password")


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("accounts:sign_in")


@login_not_required
@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """`language` is kept with the account, and in a cookie for the pages before signing in; then back to the page."""
    services.choose_language(user=request.user, language=request.POST.get("language", ""))
    return set_language(request)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Who came by a link, or has no password yet, sets one; everyone else names the old one too."""
    is_first = not request.user.has_usable_password()
    kind = SetPasswordForm if is_first or request.session.get(BY_LINK_KEY) else PasswordChangeForm
    form = kind(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        update_session_auth_hash(request, request.user)
        request.session.pop(BY_LINK_KEY, None)
        services.record_audit(team=None, actor=request.user, action="password.set", target=request.user.username)
        messages.success(request, _("Your password is set."))
        return redirect("dashboard:home")
    status = 422 if form.errors else 200
    return render(request, "accounts/password.html", {"form": form, "is_first": is_first}, status=status)


# The team


@require_http_methods(["GET", "POST"])
def team(request: HttpRequest) -> HttpResponse:
    require_team(request)
    form, status, invited = InviteForm(request.POST or None), 200, None
    if request.method == "POST":
        require_manage(request)
        status = 422
        if form.is_valid():
            try:
                membership, path = services.invite_member(
                    team=request.team, actor=request.membership, **form.cleaned_data
                )
                invited, form, status = _invitation(request, membership, path), InviteForm(), 201
            except DomainError as error:
                status = _add_error(form, error)
    return _team_page(request, form, invited, status)


def _invitation(request: HttpRequest, membership: Membership, path: str) -> dict:
    return {"membership": membership, "url": request.build_absolute_uri(path) if path else ""}


def _team_page(request: HttpRequest, form: InviteForm, invited: dict | None, status: int = 200) -> HttpResponse:
    members = request.team.memberships.select_related("user").order_by("created_at", "id")
    rows = [
        {
            "membership": member,
            "is_me": member.pk == request.membership.pk,
            "may_renew": request.membership.may_manage and services.may_renew_link(member),
        }
        for member in members
    ]
    context = {"rows": rows, "form": form, "invited": invited, "roles": Membership.Role.choices}
    return render(request, "accounts/team.html", context, status=status)


def _member(request: HttpRequest, membership_id: int) -> Membership:
    return get_object_or_404(request.team.memberships.select_related("user", "team"), pk=membership_id)


@require_POST
def change_role(request: HttpRequest, membership_id: int) -> HttpResponse:
    require_manage(request)
    form = RoleForm(request.POST)
    role = form.cleaned_data["role"] if form.is_valid() else ""
    membership = services.change_role(membership=_member(request, membership_id), role=role, actor=request.membership)
    name = membership.user.username
    messages.success(request, _("%(name)s is now %(role)s.") % {"name": name, "role": membership.get_role_display()})
    return redirect("accounts:team")


@require_POST
def remove_member(request: HttpRequest, membership_id: int) -> HttpResponse:
    require_team(request)
    membership = _member(request, membership_id)
    services.remove_member(membership=membership, actor=request.membership)
    messages.success(request, _("%(name)s is no longer in the team.") % {"name": membership.user.username})
    return redirect("dashboard:home" if membership.user == request.user else "accounts:team")


@require_POST
def renew_invitation(request: HttpRequest, membership_id: int) -> HttpResponse:
    require_manage(request)
    membership = _member(request, membership_id)
    path = services.renew_invitation(membership=membership, actor=request.membership)
    return _team_page(request, InviteForm(), _invitation(request, membership, path))


@require_http_methods(["GET", "POST"])
def new_team(request: HttpRequest) -> HttpResponse:
    form, status = TeamForm(request.POST or None), 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                made = services.create_team(user=request.user, name=form.cleaned_data["name"])
                request.session[TEAM_KEY] = made.pk
                messages.success(request, _("The team %(name)s is ready.") % {"name": made.name})
                return redirect("accounts:team")
            except DomainError as error:
                status = _add_error(form, error)
    return render(request, "accounts/new_team.html", {"form": form}, status=status)


@require_POST
def switch_team(request: HttpRequest) -> HttpResponse:
    slug = request.POST.get("team", "")
    membership = next((one for one in request.memberships if one.team.slug == slug), None)
    if membership is None:
        raise NotFound(_("You are in no team of this name."))
    request.session[TEAM_KEY] = membership.team_id
    return redirect("dashboard:home")


@require_GET
def audit(request: HttpRequest) -> HttpResponse:
    require_manage(request)
    events = AuditEvent.objects.filter(team=request.team).select_related("actor")
    page = Paginator(events, 50).get_page(request.GET.get("page"))
    return render(request, "accounts/audit.html", {"page": page})


# API keys


def _keys(request: HttpRequest):
    """The team's keys for those who manage it, one's own for everyone else."""
    keys = ApiKey.objects.filter(team=request.team).select_related("user")
    return keys if request.membership.may_manage else keys.filter(user=request.user)


@never_cache
@require_http_methods(["GET", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    require_team(request)
    form, status, secret = KeyForm(request.POST or None), 200, ""
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                _key, secret = services.create_api_key(team=request.team, user=request.user, **form.cleaned_data)
                form, status = KeyForm(), 201
            except DomainError as error:
                status = _add_error(form, error)
    rows = _keys(request).order_by(F("revoked_at").desc(nulls_first=True), "-created_at")
    snippet = sdk_snippet(secret, request.build_absolute_uri("/").rstrip("/"))
    context = {"keys": rows, "form": form, "secret": secret, "snippet": snippet}
    return render(request, "accounts/keys.html", context, status=status)


def sdk_snippet(secret: str, base_url: str) -> str:
    """The shortest program that uses the key."""
    return (
        "import leptonai\n\n"
        f'client = leptonai.Client(\n    api_key="{secret or "lp_..."}",\n    base_url="{base_url}",\n)\n'
        'model = client.load_model("image_classification")\n'
        'print(model.predict("7.png"))'
    )


@require_POST
def limit_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """`requests_per_minute`, empty for no limit."""
    require_team(request)
    key = get_object_or_404(_keys(request), pk=key_id)
    form = KeyLimitForm(request.POST)
    if not form.is_valid():
        raise Unprocessable(" ".join(error for errors in form.errors.values() for error in errors))
    services.limit_api_key(key=key, actor=request.user, **form.cleaned_data)
    messages.success(request, _("The limit of the key %(name)s is changed.") % {"name": key.name})
    return redirect("accounts:keys")


@require_POST
def revoke_key(request: HttpRequest, key_id: int) -> HttpResponse:
    require_team(request)
    key = get_object_or_404(_keys(request), pk=key_id)
    services.revoke_api_key(key=key, actor=request.user)
    messages.success(request, _("The key %(name)s no longer works.") % {"name": key.name})
    return redirect("accounts:keys")
