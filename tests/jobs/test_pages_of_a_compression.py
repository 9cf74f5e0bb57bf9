"""People choose what a compression may lose, build recipes by clicks, and watch every smaller model appear."""

import io
import json
import re
import zipfile
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.services import deploy_version
from apps.jobs.candidates import keep_candidate
from apps.jobs.comparison import compare_candidates, front
from apps.jobs.models import Candidate, Job
from apps.registry.models import ModelVersion
from tests.jobs.compressions import (
    FAILED,
    HALF,
    ORIGINAL,
    SMALL,
    TINY,
    compress,
    end,
    figures,
    make_trained,
    result_of,
    tell,
)
from tests.jobs.making import make_node


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def trained(team) -> ModelVersion:
    return make_trained(team)


@pytest.fixture
def job(trained, node, member) -> Job:
    return compress(trained, node, member.user)


def page(person, path: str) -> str:
    response = person.page.get(path)
    assert response.status_code == 200
    return response.content.decode()


def poll(person, job: Job, **params):
    headers = {"HX-Request": "true", "HX-Target": "candidates"}
    return person.page.get(f"/jobs/{job.pk}/candidates/", params, headers=headers)


def order_of(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-number="(\d+)"', html)]


# The form


def test_one_click_searches_with_what_is_usual(member, trained):
    html = page(member, f"/jobs/compress/?version={trained.pk}")
    assert "The original has 97.5 %." in html and "a search, up to 12 models" in html
    response = member.page.post("/jobs/compress/", {"version": trained.pk})
    made = Job.objects.get()
    assert response.url == f"/jobs/{made.pk}/" and (made.method, made.base_version) == ("search", trained)
    assert (made.hyperparameters["limit_points"], made.hyperparameters["seconds"]) == (1.0, 900)


def test_what_is_chosen_is_what_runs(member, trained):
    sent = {
        "version": trained.pk, "limit_points": "2.5", "favour": "latency", "seconds": "300", "seed": "7",
        "recipes.0.0.method": "prune_channels", "recipes.0.0.amount": "0.75",
        "recipes.0.1.method": "quantise", "recipes.0.1.scheme": "int8", "recipes.0.1.equalise": "true",
        "recipes.1.0.method": "share", "recipes.1.0.values": "32", "cpu": "1",
    }  # fmt: skip
    assert member.page.post("/jobs/compress/", sent).status_code == 302
    made = Job.objects.get()
    settings = made.hyperparameters
    assert (settings["limit_points"], settings["favour"], settings["seconds"], settings["seed"]) == (
        2.5,
        "latency",
        300,
        7,
    )
    first, second = settings["recipes"]
    assert [step["method"] for step in first] == ["prune_channels", "quantise"] and first[1]["equalise"] is True
    assert first[0]["amount"] == 0.75 and second == [{"method": "share", "values": 32}]
    assert (made.method, made.allocation.cpu_millicores) == ("recipe", 1000)


def steps_of(response) -> list[list[str]]:
    return [[step.method.name for step in draft.steps] for draft in response.context["form"].recipes]


def test_recipes_are_built_by_clicks_without_javascript(member, trained):
    sent = {"version": trained.pk}

    def click(change: str):
        response = member.page.post("/jobs/compress/", {**sent, "change": change})
        assert response.status_code == 200 and not Job.objects.exists(), "nothing is handed in by that"
        sent.clear()
        sent.update({"version": trained.pk, "recipe": []})
        for tag in re.findall(r"<input[^>]*>", response.content.decode()):
            name, value = re.search(r'name="(recipes?[.\w]*)"', tag), re.search(r'value="([^"]*)"', tag)
            if name and name[1] == "recipe":
                sent["recipe"].append(value[1])
            elif name:
                sent[name[1]] = value[1]
        return response

    assert steps_of(click("preset:half")) == [["prune_channels", "quantise"]]
    assert steps_of(click("empty")) == [["prune_channels", "quantise"], []]
    assert steps_of(click("add:1:quantise"))[1] == ["quantise"]
    assert steps_of(click("add:1:distil"))[1] == ["distil", "quantise"], "a step takes its place by itself"
    sent["recipes.1.0.width"] = "0.3"
    response = click("remove:1:1")
    assert steps_of(response)[1] == ["distil"] and 'value="0.3"' in response.content.decode()
    assert steps_of(click("drop:0")) == [["distil"]]
    for nonsense in ("drop:7", "remove:0:9", "add:0:magic", "add:9:share", "preset:magic", "remove:x:0", "drop:"):
        assert steps_of(click(nonsense)) == [["distil"]]


def test_every_preset_is_a_recipe_that_can_be_sent(member, trained):
    response = member.page.post("/jobs/compress/", {"version": trained.pk, "change": "presets"})
    form = response.context["form"]
    assert len(form.recipes) == len(form.presets) == 8 and all(draft.is_sound for draft in form.recipes)
    assert {draft.name for draft in form.recipes} >= {"int8", "50% of channels removed, int8"}


def test_a_table_is_offered_only_what_its_models_have(team, member):
    table = make_trained(team, name="Income")
    table.model.task = "tabular_regression"
    table.model.save()
    html = page(member, f"/jobs/compress/?version={table.pk}")
    assert "The error may grow by at most" in html and "Half the channels" not in html
    response = member.page.post("/jobs/compress/", {"version": table.pk, "change": "preset:int8"})
    assert [item.name for item in response.context["form"].recipes[0].steps[0]][-1] == "correct_bias"


def test_htmx_gets_the_recipes_and_the_summary_alone(member, trained):
    headers = {"HX-Request": "true", "HX-Target": "recipes"}
    sent = {"version": trained.pk, "change": "preset:int8", "limit_points": "3"}
    html = member.page.post("/jobs/compress/", sent, headers=headers).content.decode()
    assert html.lstrip().startswith('<div id="recipes"') and "<html" not in html
    assert 'id="summary" hx-swap-oob="true"' in html and "1 recipe" in html
    headers["HX-Target"] = "summary"
    html = member.page.post("/jobs/compress/", sent | {"refill": "1", "trials": "5", "change": ""}, headers=headers)
    assert "a search, up to 5 models" in html.content.decode()


def test_what_is_wrong_is_said_at_its_step_and_nothing_typed_is_lost(member, trained):
    sent = {
        "version": trained.pk, "limit_points": "77", "recipes.0.0.method": "prune_channels", "recipes.0.0.amount": "7",
        "recipes.1.0.method": "quantise", "recipes.1.0.scheme": "fp16", "recipe": "2",
    }  # fmt: skip
    response = member.page.post("/jobs/compress/", sent)
    assert response.status_code == 422 and not Job.objects.exists()
    form = response.context["form"]
    assert "between 0 and 50" in form.errors["limit_points"][0]
    assert "between 0.01 and 0.95" in form.recipes[0].steps[0].errors["amount"][0]
    assert not form.recipes[1].steps[0].errors and form.recipes[1].steps[0]["scheme"].value() == "fp16"
    assert form.recipes[2].errors == ["A recipe needs at least one step."]
    html = response.content.decode()
    assert 'value="7"' in html and 'value="77"' in html and '<details class="card more" open>' in html


def test_a_clone_starts_from_the_same_choices(member, trained, node):
    job = compress(trained, node, member.user, settings={"recipes": [HALF], "favour": "size", "seconds": 1234})
    response = member.page.get(f"/jobs/compress/?clone={job.pk}")
    form = response.context["form"]
    assert steps_of(response) == [["prune_channels", "quantise"]]
    assert form.favour_name == "size" and form["seconds"].value() == "1234" and "1234 s" in response.content.decode()
    assert form.version == trained


def test_what_may_not_be_compressed_says_so_and_strangers_find_nothing(member, viewer, stranger, trained, job):
    assert viewer.page.post("/jobs/compress/", {"version": trained.pk}).status_code == 403
    for path in (f"?version={trained.pk}", f"?clone={job.pk}", "?version=x", "?version=", ""):
        assert stranger.page.get(f"/jobs/compress/{path}").status_code == 404
    ModelVersion.objects.update(meta={"compression": {}})
    assert member.page.get(f"/jobs/compress/?version={trained.pk}").status_code == 409


# The candidates


def test_each_appears_as_it_is_measured(member, job, tmp_path):
    assert "Nothing is measured yet" in page(member, f"/jobs/{job.pk}/")
    tell(job, tmp_path, ORIGINAL)
    first = poll(member, job)
    assert first.status_code == 200 and order_of(first.content.decode()) == [0]
    seen = first.context["stamp"]
    assert f"?seen={seen}" in first.content.decode() and poll(member, job, seen=seen).status_code == 204
    tell(job, tmp_path, SMALL, TINY, FAILED)
    second = poll(member, job, seen=seen)
    assert order_of(second.content.decode()) == [0, 1, 2, 3] and "1 of 3 within the limit" in second.content.decode()
    end(job, tmp_path, SMALL)
    last = poll(member, job, seen=second.context["stamp"])
    assert last.status_code == 286 and "hx-trigger" not in last.content.decode()
    assert order_of(last.content.decode()) == [1, 0, 2, 3], "the chosen one stands first"


def test_a_row_says_what_it_costs_and_gains_and_why(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, TINY, FAILED)
    html = poll(member, job).content.decode()
    row = html.split('data-number="2"')[1].split("</tr>")[0]
    for words in ("94.0 %", "−3.5 points", "92.0 – 95.0 %", "60.0 kB", "11 × smaller", "600.0 kB", "0.3 ms",
                  "2.7 × faster", "0.6 ms", "3,333 /s", "Loses too much", "It loses 3.5 points; 1 is allowed.",
                  "Fine-tuned for 8 epochs.", "measured on one", "1 note"):  # fmt: skip
        assert words in row
    row = html.split('data-number="3"')[1].split("</tr>")[0]
    assert "Could not be made" in row and "A layer has no weights to share." in row and "Keep as version" not in row
    row = html.split('data-number="0"')[1].split("</tr>")[0]
    assert "Digits v1" in row and "Keep as version" not in row


def test_the_plots_have_the_same_figures(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, TINY, FAILED)
    end(job, tmp_path, SMALL)
    html = poll(member, job).content.decode()
    data = json.loads(unescape(re.search(r'id="candidate-points" data-points="([^"]*)"', html)[1]))
    assert [(point["number"], point["verdict"], point["isChosen"]) for point in data["points"]] == [
        (0, "original", False), (1, "within", True), (2, "over", False),
    ]  # fmt: skip
    assert data["points"][1]["score"] == pytest.approx(97.2) and data["points"][1]["bytes"] == 180_000
    assert data["points"][2]["interval"] == pytest.approx([92.0, 95.0])
    assert data["limit"] == pytest.approx(96.5) and data["fronts"] == {"bytes": [2, 1, 0], "latency_p50_ms": [2, 1, 0]}


def test_only_those_within_the_limit_are_listed_where_that_is_asked_for(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, TINY, FAILED)
    assert order_of(page(member, f"/jobs/{job.pk}/?show=within")) == [0, 1]
    html = poll(member, job, show="within").content.decode()
    assert order_of(html) == [0, 1] and "&amp;show=within" in html, "it stays so while it is live"


def test_an_original_that_stays_the_best_is_said_so(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, TINY)
    end(job, tmp_path, None)
    html = page(member, f"/jobs/{job.pk}/")
    assert "The original is the best within the limit." in html and "Nothing was added to your models." in html
    assert "Nothing within the limit is smaller or faster." in html
    assert "The original is the best" in page(member, "/jobs/")


def test_a_click_keeps_one_and_another_leads_to_deploying_it(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, TINY)
    response = member.page.post(f"/jobs/{job.pk}/candidates/2/keep/")
    version = job.candidates.get(number=2).version
    assert response.url == f"/jobs/{job.pk}/#candidates" and version.number == 2
    html = page(member, f"/jobs/{job.pk}/")
    assert "Kept as Digits v2." in html and f"/models/{version.model_id}/versions/2/" in html
    response = member.page.post(f"/jobs/{job.pk}/candidates/1/keep/", {"then": "deploy"})
    assert response.url == f"/deployments/new/?version={job.candidates.get(number=1).version.pk}"
    again = member.page.post(f"/jobs/{job.pk}/candidates/2/keep/")
    assert again.status_code == 302 and ModelVersion.objects.count() == 3


def test_a_click_keeps_one_and_tries_it_beside_the_original_that_serves(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL)
    assert "try it on 10 % of the traffic" not in page(member, f"/jobs/{job.pk}/")
    job.base_version.artifacts.create(name="meta.json", sha256="0" * 64, size_bytes=1)
    serving = deploy_version(team=member.team, user=member.user, version=job.base_version)
    assert "try it on 10 % of the traffic" in page(member, f"/jobs/{job.pk}/")
    response = member.page.post(f"/jobs/{job.pk}/candidates/1/keep/", {"then": "try"})
    assert response.url == f"/deployments/{serving.pk}/"
    canary = serving.canaries.get()
    assert (canary.version, canary.weight) == (job.candidates.get(number=1).version, 10)


def test_its_files_are_taken_home(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, FAILED)
    response = member.page.get(f"/jobs/{job.pk}/candidates/1/files/model.onnx")
    assert b"".join(response.streaming_content) == b"graph int8" and "attachment" in response["Content-Disposition"]
    response = member.page.get(f"/jobs/{job.pk}/candidates/1/bundle.zip")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert {"meta.json", "model.onnx", "predict.py", "README.md"} <= set(archive.namelist())
    assert archive.read("README.md").startswith(b"# Digits: int8\n")
    for path in ("1/files/other", "3/bundle.zip", "9/bundle.zip", "0/bundle.zip"):
        assert member.page.get(f"/jobs/{job.pk}/candidates/{path}").status_code == 404


def test_viewers_look_and_strangers_find_nothing(viewer, stranger, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL)
    assert "Keep as version" not in poll(viewer, job).content.decode()
    assert viewer.page.post(f"/jobs/{job.pk}/candidates/1/keep/").status_code == 403
    assert viewer.page.get(f"/jobs/{job.pk}/candidates/1/bundle.zip").status_code == 200
    assert stranger.page.post(f"/jobs/{job.pk}/candidates/1/keep/").status_code == 404
    for path in ("", "1/bundle.zip", "1/files/model.onnx"):
        assert stranger.page.get(f"/jobs/{job.pk}/candidates/{path}").status_code == 404
    assert not Candidate.objects.exclude(version=None).exists()


def test_names_and_reasons_are_written_as_text(member, job, tmp_path):
    evil = "<script>alert(1)</script>"
    tell(job, tmp_path, ORIGINAL, SMALL | {"name": evil, "reason": evil, "notes": [evil]})
    html = poll(member, job).content.decode()
    assert evil not in html and html.count("&lt;script&gt;") >= 3


def test_a_kept_version_shows_its_recipe_and_both_measurements(member, job, tmp_path):
    tell(job, tmp_path, ORIGINAL, TINY)
    made = keep_candidate(job=job, number=2, user=member.user)
    html = page(member, f"/models/{made.model_id}/versions/{made.number}/")
    for words in (
        TINY["name"],
        "Before and after",
        "640.0 kB",
        "60.0 kB",
        "11 × smaller",
        "−3.5 pp",
        f"/jobs/{job.pk}/",
    ):
        assert words in html
    assert "ONNX" in html and f"/jobs/compress/?version={made.pk}" not in html
    assert "Being compressed" in page(member, f"/models/{made.model_id}/versions/1/")


# What nothing else beats


def candidates(*points: tuple[int, float, float]) -> list[Candidate]:
    """(number, accuracy, bytes)"""
    return [Candidate(number=n, figures=figures(score, size, 1.0), verdict="within") for n, score, size in points]


def test_the_front_leaves_out_whoever_is_beaten_in_both():
    rows = candidates((0, 0.97, 600), (1, 0.96, 200), (2, 0.95, 300), (3, 0.90, 50), (4, 0.96, 200))
    assert front(rows, "accuracy", "bytes") == [3, 1, 0]


def test_of_an_error_less_is_better():
    rows = candidates((0, 0, 600), (1, 0, 200), (2, 0, 100))
    for row, error in zip(rows, (3.0, 3.2, 2.9), strict=True):
        row.figures["metrics"] = {"rmse": error}
    assert front(rows, "rmse", "bytes") == [2]
    compared = compare_candidates(rows, {}, {"limit_points": 5.0})
    assert [(row.change, row.change_tone) for row in compared.rows] == [
        ("", ""),
        ("−3.3 %", "better"),
        ("+6.7 %", "worse"),
    ]
    assert compared.plots["limit"] == pytest.approx(3.15) and not compared.plots["isHigherBetter"]


def test_a_verdict_is_told_only_when_there_is_one():
    rows = candidates((0, 0.97, 600), (1, 0.96, 200))
    assert compare_candidates(rows, {}, {}).is_improved is None
    assert compare_candidates(rows, result_of(SMALL), {}).is_improved is True
    assert compare_candidates([], {}, {}) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=12))
def test_whoever_is_not_on_the_front_is_matched_or_beaten_in_both(points):
    rows = candidates(*((n, score / 20, size) for n, (score, size) in enumerate(points)))
    on_front = set(front(rows, "accuracy", "bytes"))

    def matches(left: int, right: int) -> bool:
        return points[left][0] >= points[right][0] and points[left][1] <= points[right][1]

    for n in range(len(points)):
        others = {other for other in on_front - {n} if matches(other, n)}
        assert bool(others) == (n not in on_front)
