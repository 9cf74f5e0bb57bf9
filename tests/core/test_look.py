"""The filters and tags that every page uses."""

from datetime import timedelta

import pytest
from django import forms
from django.template import Context, Template
from django.utils import timezone

from apps.core.templatetags.lepton import field, in_bytes, in_time, percent, status_badge, time_ago


@pytest.mark.parametrize(
    ("size", "text"), [(None, "–"), (0, "0 B"), (999, "999 B"), (3_200_000, "3.2 MB"), (2 * 10**12, "2.0 TB")]
)
def test_sizes_have_units(size, text):
    assert in_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (1.25, "1.2 s"), (42, "42 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")]
)
def test_durations_have_units(seconds, text):
    assert in_time(seconds) == text


def test_shares_are_percent():
    assert percent(0.9763) == "97.6 %" and percent(None) == "–"


def test_a_status_has_colour_icon_and_word_and_is_escaped():
    badge = status_badge("failed", "<b>Failed</b>")
    assert "text-red" in badge and "ti-x" in badge and "&lt;b&gt;Failed" in badge


def test_a_time_is_relative_with_the_exact_one_on_hover():
    moment = timezone.now() - timedelta(minutes=3)
    assert ">3\xa0minutes ago</time>" in time_ago(moment) and 'title="' in time_ago(moment)
    assert time_ago(None) == "–"


class Form(forms.Form):
    name = forms.CharField(label="Name", help_text="What it is called.")
    agree = forms.BooleanField(label="Agree", required=False)


def test_a_field_ties_label_help_and_error_to_its_input():
    empty, wrong = Form(), Form({"name": ""})
    assert 'aria-describedby="id_name_help"' in field(empty["name"])["widget"]
    widget = field(wrong["name"])["widget"]
    assert "is-invalid" in widget and 'aria-invalid="true"' in widget and 'aria-describedby="id_name_error"' in widget
    html = Template("{% field form.name %}{% field form.agree %}").render(Context({"form": wrong}))
    assert 'for="id_name"' in html and 'id="id_name_error"' in html and "form-check-input" in html
