"""Everybody reads the site in their language: the browser's until they choose, then theirs wherever they sign in."""

import pytest
from django.test import Client

from apps.accounts.models import User
from tests.core.routes import every_route
from tests.jobs.making import make_node, make_table, make_version, run, submit, succeed

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
ENGLISH = {"Accept-Language": "en-GB,en;q=0.9"}
CHOICE = "/language/"
SIGN_IN = "/sign-in/"


def choose(client: Client, language: str, **more: str):
    return client.post(CHOICE, {"language": language, **more})


def test_a_browser_that_asks_for_english_or_for_an_unknown_language_sees_english(client):
    for headers in (ENGLISH, {"Accept-Language": "de"}, {}):
        page = client.get(SIGN_IN, headers=headers).content.decode()
        assert '<html lang="en"' in page and ">Sign in</button>" in page


@pytest.mark.parametrize("asked", ["zh-CN", "zh-Hans", "zh", "zh-SG", "ZH-cn,en;q=0.5"])
def test_a_chinese_browser_sees_chinese(client, asked):
    response = client.get(SIGN_IN, headers={"Accept-Language": asked})
    page = response.content.decode()
    assert '<html lang="zh-hans"' in page and ">登录</button>" in page
    assert response["Content-Language"] == "zh-hans"


def test_the_choice_stands_on_the_sign_in_page_each_language_by_its_own_name(client):
    for headers in (ENGLISH, CHINESE):
        page = client.get(SIGN_IN, headers=headers).content.decode()
        assert 'value="en"' in page and ">English</button>" in page
        assert 'value="zh-hans"' in page and ">简体中文</button>" in page


def test_a_visitor_keeps_a_choice_in_the_browser(db, client):
    response = choose(client, "zh-hans", next=SIGN_IN)
    assert response.status_code == 302 and response.url == SIGN_IN
    assert ">登录</button>" in client.get(SIGN_IN, headers=ENGLISH).content.decode()
    assert ">Sign in</button>" in Client().get(SIGN_IN, headers=ENGLISH).content.decode()


def test_a_person_finds_the_choice_in_their_menu_and_keeps_it_with_their_account(member):
    assert "简体中文" in member.page.get("/").content.decode()
    assert choose(member.page, "zh-hans", next="/jobs/?status=running").url == "/jobs/?status=running"
    member.user.refresh_from_db()
    assert member.user.language == "zh-hans"
    elsewhere = Client(headers=ENGLISH)
    elsewhere.force_login(member.user)
    assert '<html lang="zh-hans"' in elsewhere.get("/").content.decode()


def test_what_an_account_has_chosen_comes_before_the_browser_and_its_cookie(member):
    User.objects.filter(pk=member.user.pk).update(language="en")
    member.page.cookies["django_language"] = "zh-hans"
    assert '<html lang="en"' in member.page.get("/", headers=CHINESE).content.decode()
    member.page.logout()
    member.page.cookies["django_language"] = "zh-hans"
    assert '<html lang="zh-hans"' in member.page.get(SIGN_IN, headers=ENGLISH).content.decode()


def test_a_language_that_the_site_speaks_no_more_is_no_choice(member):
    User.objects.filter(pk=member.user.pk).update(language="fr")
    assert '<html lang="en"' in member.page.get("/", headers=ENGLISH).content.decode()


@pytest.mark.parametrize("language", ["", "de", "zh", "../../etc", "x" * 500])
def test_an_unknown_language_is_refused_and_nothing_is_kept(member, language):
    response = member.page.post(CHOICE, {"language": language}, headers={"Accept": "application/json"})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "unknown_language" and "English, 简体中文" in error["message"]
    member.user.refresh_from_db()
    assert member.user.language == "" and "django_language" not in response.cookies


def test_nobody_is_sent_to_another_site(member):
    assert choose(member.page, "en", next="https://evil.example/").url == "/"


def test_a_program_reads_english_unless_it_asks_for_another_language(member):
    """What its person has chosen for pages does not change what a program reads; the code is the same in any case."""
    User.objects.filter(pk=member.user.pk).update(language="zh-hans")
    plain = member.api.get("/api/v1/jobs/99/").json()["error"]
    asked = member.api.get("/api/v1/jobs/99/", headers=CHINESE).json()["error"]
    assert plain["code"] == asked["code"] == "not_found"
    assert plain["message"].startswith("There is nothing here") and asked["message"].startswith("这里")


def test_large_numbers_have_marks_and_days_are_written_the_chinese_way(member):
    make_version(member.team, item_count=12345)
    page = member.page.get("/data/", headers=CHINESE).content.decode()
    assert "12,345" in page and "年" in page


def test_every_page_of_a_team_that_works_is_told_in_chinese(administrator, tmp_path):
    """All that can be opened by GET, with data, a job that succeeded, one that waits, and its model."""
    node, team, user = make_node(), administrator.team, administrator.user
    succeed(run(submit(team, user), node), tmp_path)
    submit(team, user, make_table(team))
    opened = 0
    for address, _name in every_route():
        if address.startswith(("/api/", "/admin/", "/healthz", "/sign-")):
            continue
        response = administrator.page.get(address, headers=CHINESE)
        assert response.status_code < 500, address
        if "<html" in (page := "" if response.streaming else response.content.decode("utf-8", "replace")):
            assert '<html lang="zh-hans"' in page, address
            opened += response.status_code == 200
    assert opened > 25
