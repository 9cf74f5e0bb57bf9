"""Forms of the sign-in, team and key pages."""

from django import forms
from django.contrib.auth import forms as auth_forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from apps.accounts.limits import MAX_PER_MINUTE
from apps.accounts.models import Membership


class SignInForm(forms.Form):
    username = forms.CharField(
        label=pgettext_lazy("of a person", "Name"),
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class PasswordWords:
    """What is wrong with a password stands beside the field it was first typed into, not beside its repetition."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["new_password2"].label = _("New password again")
        self.fields["new_password2"].help_text = ""

    def validate_password_for_user(self, user, password_field_name: str) -> None:
        super().validate_password_for_user(user, "new_password1")


class SetPasswordForm(PasswordWords, auth_forms.SetPasswordForm):
    pass


class PasswordChangeForm(PasswordWords, auth_forms.PasswordChangeForm):
    pass


class InviteForm(forms.Form):
    username = forms.CharField(
        label=pgettext_lazy("of a person", "Name"),
        max_length=150,
        help_text=_("What they sign in with. Someone who has an account here is added at once."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "placeholder": "ada"}),
    )
    role = forms.ChoiceField(
        label=_("Role"),
        choices=Membership.Role.choices,
        initial=Membership.Role.MEMBER,
        help_text=_("Viewers look, members train and deploy, admins also invite, owners also choose owners."),
    )


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices)


class TeamForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Data, jobs and models belong to one team."))


class KeyForm(forms.Form):
    name = forms.CharField(
        label=_("What is it for?"),
        max_length=80,
        help_text=_("So that you know later which program uses it."),
        widget=forms.TextInput(attrs={"placeholder": _("laptop notebook")}),
    )
    requests_per_minute = forms.IntegerField(
        label=_("Predictions a minute"),
        required=False,
        min_value=1,
        max_value=MAX_PER_MINUTE,
        help_text=_("Left empty, there is no limit. You can change it later."),
    )


class KeyLimitForm(forms.Form):
    """Empty is no limit."""

    requests_per_minute = forms.IntegerField(required=False, min_value=1, max_value=MAX_PER_MINUTE)
