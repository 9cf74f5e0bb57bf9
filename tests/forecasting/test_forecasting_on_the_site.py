"""Forecasting on the site: the form proposes task and columns, the demo forecasts, a downloaded model does alone."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.deployments import snippets
from apps.deployments.demos.series import as_texts, read_history
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.forecasting.making import DAILY, stores, train_here, wave, write_data
from tests.inference.processes import serve
from tests.jobs.making import make_version
from tests.people import Person
from tests.training.here import read
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("forecasting")]

TASK = "forecasting"
HTMX = {"HX-Request": "true", "HX-Target": "result"}
SHOWN = [{"name": "north", "times": ["2022-01-03", "2022-01-04"], "values": [1.0, None]}]
FACTS = {"time": "date", "target": "sales", "series": "store", "known": [], "count": 2, "frequency": "daily",
         "season": 7, "usual_horizon": 14, "from": "2022-01-03", "until": "2023-02-06", "median_length": 400, "gaps": 0,
         "shown": SHOWN}  # fmt: skip


@pytest.fixture
def sales(team):
    report = {
        "columns": [{"name": "date", "type": "date", "unique": 400},
                    {"name": "store", "type": "categorical", "unique": 2},
                    {"name": "sales", "type": "numeric", "unique": 700, "min": 1.0, "max": 9.0, "mean": 4.0}],
        "splits": {"train": 640, "val": 80, "test": 80},
        "split_source": "time",
        "series": FACTS,
        "preview": [list(row) for row in stores()[:3]],
    }  # fmt: skip
    return make_version(team, "Sales", kind="table", task=TASK, target="sales", report=report)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("data"), DAILY, stores())
    return train_here(tmp_path_factory.mktemp("work"), data, trees=10)


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def shop(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "sales"), socket_path, "sales")


def launch_form(person: Person, **query):
    response = person.page.get("/jobs/new/", query)
    assert response.status_code == 200
    return response.context["form"], response.content.decode()


def test_the_form_proposes_the_task_the_columns_and_the_target(member, sales):
    form, page = launch_form(member, dataset_version=sales.pk)
    assert form.task_name == TASK and form.target_column == "sales"
    assert "Automatic: date" in page and "Automatic: store" in page and 'name="horizon"' in page
    assert 'name="epochs"' not in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": sales.pk, "horizon": "21"}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target) == (TASK, "sales")
    chosen = {"time_column": "date", "series_column": "store", "horizon": 21}
    assert job.hyperparameters == preset_values(TASK, "balanced") | chosen


def test_the_same_table_can_be_trained_on_as_a_table(member, sales):
    form, page = launch_form(member, dataset_version=sales.pk, task="tabular_regression")
    assert form.task_name == "tabular_regression" and not form.role_fields and "series_column" not in page


def start(person: Person, **settings) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Sales", "hyperparameters": settings}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"time_column": "when"}, "unknown_time_column", "time_column"),
        ({"series_column": "sales"}, "same_column_twice", "series_column"),
        ({"known_columns": "store, weather"}, "unknown_known_columns", "known_columns"),
        ({"time_column": "-"}, "no_time_column", "time_column"),
        ({"horizon": -1}, "out_of_range", "horizon"),
        ({"epochs": 3}, "unknown_hyperparameter", "epochs"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_beside_its_field(member, sales, settings, code, field):
    status, body = start(member, **settings)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, field)
    assert not Job.objects.exists()


def test_a_table_can_be_taken_as_one_series(member, sales):
    status, job = start(member, series_column="-")
    assert (status, job["hyperparameters"]["series_column"]) == (201, "-")


def test_the_page_of_the_data_shows_its_series_and_how_it_was_split(member, sales):
    page = member.page.get(reverse("datasets:detail", args=[sales.dataset_id])).content.decode()
    assert "daily" in page and "2022-01-03 – 2023-02-06" in page and "data-series=" in page
    assert "The last part of time is the test" in page
    assert "Series" in member.page.get("/data/").content.decode()


def test_the_results_stand_beside_those_of_forecasts_without_learning(trained):
    found = read_results(read(trained / "result.json"), {})
    assert [item.name for item in found.test][0] == "mase" and found.test[0].baseline
    forecast = found.forecast
    assert [row.is_model for row in forecast.rows] == [True, False, False] and not forecast.is_beaten
    assert forecast.labels[0] == "Scaled error (MASE)" and len(forecast.rows[1].texts) == len(forecast.labels)
    drawn = json.loads(forecast.charts[0].chart)
    assert len(drawn["times"]) == len(drawn["values"]) == len(drawn["forecast"])
    assert len(forecast.charts[0].rows) == sum(value is not None for value in drawn["forecast"])


def test_the_page_of_the_model_says_what_it_takes(owner, trained):
    version = store_model(owner, trained / "model", "sales")
    page = owner.page.get(reverse("registry:version", args=[version.model_id, version.number])).content.decode()
    assert "2 series until 2023-02-06" in page and "7 steps, daily" in page and "jobs/compress" not in page


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_the_team_goes_on_with_a_series_of_its_data(owner, shop):
    page = owner.page.get(url(shop)).content.decode()
    assert 'name="series"' in page and "up to 7 steps ahead" in page
    done = owner.page.post(url(shop), {"how": "known", "series": "south"}, headers=HTMX)
    assert done.status_code == 200
    outcome = done.context["outcome"]
    assert outcome["series"] == "south" and len(outcome["forecast"]) == 7
    drawn = json.loads(done.context["chart"])
    assert drawn["values"][-7:] == [None] * 7 and len(drawn["times"]) == len(drawn["low"]) == len(drawn["values"])
    assert drawn["forecast"][-8] == drawn["values"][-8]  # the line goes on from the last value
    assert outcome["forecast"][0]["time"] in done.content.decode() and "data-series=" in done.content.decode()


def pasted(days: int = 60, header: str = "date,sales\n") -> str:
    lines = [f"{date(2024, 1, 1) + timedelta(days=day)},{value:.1f}" for day, value in enumerate(wave(days))]
    return header + "\n".join(lines)


def test_anybody_forecasts_values_of_their_own_on_a_public_demo(owner, shop):
    Deployment.objects.update(is_public=True)
    stranger = Client()
    page = stranger.get(url(shop)).content.decode()
    assert 'name="history"' in page and 'name="series"' not in page and "south" not in page
    done = stranger.post(url(shop), {"how": "history", "history": pasted(), "horizon": "5"}, headers=HTMX)
    assert done.status_code == 200
    assert [item["time"] for item in done.context["outcome"]["forecast"]][0] == "2024-03-01"
    file = SimpleUploadedFile("h.csv", pasted().replace(",", ";").encode(), "text/csv")
    again = stranger.post(url(shop), {"how": "history", "file": file, "horizon": "5"})
    assert again.context["outcome"]["forecast"] == done.context["outcome"]["forecast"]


def test_a_stranger_may_not_ask_for_a_series_of_the_data(owner, shop):
    Deployment.objects.update(is_public=True)
    asked = Client().post(url(shop), {"how": "known", "series": "south"}, headers=HTMX)
    assert asked.status_code == 403 and "Only the team may" in asked.content.decode()
    assert "outcome" not in asked.context


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"history": " "}, "Paste some times"),
        ({"history": "a,b,c\n1,2,3"}, "must name the columns"),
        ({"history": pasted(), "horizon": "many"}, "must be a whole number"),
        ({"history": pasted(), "horizon": "70"}, "was trained to forecast 7"),
        ({"history": "date,store,sales\n2024-01-01,a,1\n2024-01-02,b,2"}, "2 series"),
        ({"history": "date,sales\nsoon,1\nlater,2"}, "is no time that can be read"),
        ({"history": "date,sales\n" + "9" * 200_000 + ",1"}, "A cell is longer than"),
        ({"history": 'date,sales\n"2024-01-01,1\n' + "2024-01-01,1\n" * 12_000}, "quotation mark"),
    ],
)
def test_what_cannot_be_forecast_says_what_to_do(owner, shop, sent, told):
    done = owner.page.post(url(shop), {"how": "history", **sent}, headers=HTMX)
    assert done.status_code == 422 and told in done.content.decode()


def test_more_lines_than_are_read_are_refused_before_they_are_taken_apart(owner, shop):
    done = owner.page.post(url(shop), {"how": "history", "history": "1,2\n" * 20_001}, headers=HTMX)
    assert done.status_code == 413 and "20001 lines" in done.content.decode()


def test_rows_without_a_value_say_what_is_known_beforehand():
    text = "date,sales,promo\n2024-01-01,5,no\n2024-01-02,6,no\n2024-01-03,,yes"
    found = read_history(text, {"time": "date", "target": "sales"})
    assert [row["sales"] for row in found["history"]] == ["5", "6"]
    assert found["future"] == [{"date": "2024-01-03", "sales": "", "promo": "yes"}]
    assert read_history("2024-01-01\t1\n2024-01-02\t2", {})["history"][0] == {"time": "2024-01-01", "value": "1"}


def test_the_snippets_name_a_series(owner, shop):
    page = owner.page.get(reverse("deployments:detail", args=[shop.pk]))
    assert '{"series": "north", "horizon": 7}' in page.context["curl"]
    example = shop.version.meta["input"]["example"]
    assert "predict(series='north', horizon=7)" in snippets.python(shop, "http://testserver", example)


def test_a_downloaded_model_forecasts_alone(owner, trained, tmp_path):
    version = store_model(owner, trained / "model", "sales")
    address = reverse("registry:bundle", args=[version.model_id, version.number])
    body = b"".join(owner.page.get(address).streaming_content)
    zipfile.ZipFile(io.BytesIO(body)).extractall(tmp_path / "home")
    (tmp_path / "history.csv").write_text(pasted())
    command = [sys.executable, str(tmp_path / "home" / "predict.py"), "--check", str(tmp_path / "history.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said, line = done.stdout.splitlines()
    assert "as it did when it was made" in said and json.loads(line)["forecast"][0]["time"] == "2024-03-01"
    assert "next 7 values of each series (daily)" in (tmp_path / "home" / "README.md").read_text()


def test_forecast_numbers_stand_with_as_many_decimals_under_each_other():
    rows = [
        {"time": "a", "value": 138.0, "low": 132.44, "high": 141.5},
        {"time": "b", "value": 9.0, "low": 8, "high": 9},
    ]
    assert [(row["value"], row["low"]) for row in as_texts(rows)] == [("138.0", "132.4"), ("9.0", "8.0")]
    assert as_texts([{"time": "a", "value": 1e-9, "low": 0.0, "high": 2.5}])[0]["value"] == "1e-09"
