"""Models and their versions: figures, comparison, lineage, and files that can be taken home."""

import io
import zipfile

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.deployments.models import Deployment
from apps.jobs.compressing import submit_compression
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from tests.jobs.making import TEST_FIGURES, make_node, make_version, run, store, submit, succeed

INT8 = {"accuracy": 0.965, "macro_f1": 0.97, "log_loss": 0.095}


@pytest.fixture
def trained(member, tmp_path) -> ModelVersion:
    job = run(submit(member.team, member.user, make_version(member.team)), make_node())
    return succeed(job, tmp_path).output_version


@pytest.fixture
def compressed(trained, member, tmp_path) -> ModelVersion:
    return register_version(
        team=member.team, user=member.user, model_name="Digits", task="image_classification", parent=trained,
        meta={"compression": {"method": "int8"}}, metrics={"test": INT8}, lineage=trained.lineage | {"method": "int8"},
        files={"model.onnx": store(tmp_path, "model.onnx", b"small")},
    )  # fmt: skip


def html(person, path: str) -> str:
    response = person.page.get(path)
    assert response.status_code == 200
    return response.content.decode()


def address(version: ModelVersion, rest: str = "") -> str:
    return f"/models/{version.model_id}/versions/{version.number}/{rest}"


def test_a_team_without_models_is_taught_where_they_come_from(member):
    page = html(member, "/models/")
    assert "No models yet" in page and "/jobs/new/" in page


def test_the_list_shows_the_newest_result_of_each_model(member, compressed):
    page = html(member, "/models/")
    assert "96.5 %" in page and "Image classification" in page and f"/models/{compressed.model_id}/" in page


def test_two_versions_are_compared(member, trained, compressed):
    page = html(member, f"/models/{trained.model_id}/?left=1&right=2")
    assert "−1.0 pp" in page and "+0.014" in page and "Version 1 and version 2" in page
    rows = member.page.get(f"/models/{trained.model_id}/", {"left": 1, "right": 2}).context["differences"]
    assert {row.label: row.better for row in rows}["Size"] == "right"
    for query in ("", "?left=1", "?left=1&right=1", "?left=1&right=99", "?left=x&right=2"):
        assert "comparison" not in html(member, f"/models/{trained.model_id}/{query}")


def test_settings_that_differ_are_part_of_the_comparison(member, trained):
    other = trained.lineage | {"hyperparameters": trained.lineage["hyperparameters"] | {"epochs": 99}}
    ModelVersion.objects.create(model=trained.model, number=2, lineage=other, metrics={"test": TEST_FIGURES})
    rows = member.page.get(f"/models/{trained.model_id}/", {"left": 1, "right": 2}).context["differences"]
    assert [row.label for row in rows if not row.better and not row.change] == ["epochs"]


def test_a_version_tells_where_it_comes_from(member, trained):
    page = html(member, address(trained))
    lineage = trained.lineage
    assert f"/jobs/{lineage['job_id']}/" in page and lineage["content_hash"][:12] in page
    assert lineage["code_version"] in page and 'title="learning_rate">Learning rate<' in page and "Digits v1" in page
    assert "97.5 %" in page and "8 × 8 px, grey" in page and "one of 3 classes" in page


def test_compressing_and_deploying_are_one_click_away_and_what_exists_is_shown_instead(member, viewer, trained):
    page = html(member, address(trained))
    assert f'href="/jobs/compress/?version={trained.pk}"' in page and 'action="/deployments/new/"' in page
    assert f'name="version" value="{trained.pk}"' in page
    assert "/jobs/compress/" not in html(viewer, address(trained))
    job = submit_compression(team=member.team, user=member.user, base_version=trained)
    page = html(member, address(trained))
    assert "/jobs/compress/" not in page and f"/jobs/{job.pk}/" in page


def test_a_smaller_version_and_a_deployment_are_linked(member, trained, compressed):
    Deployment.objects.create(team=member.team, name="digits", version=trained)
    page = html(member, address(trained))
    assert address(compressed) in page and "Open demo" in page and "/jobs/compress/" in page
    page = html(member, address(compressed))
    assert "/jobs/compress/" not in page and address(trained) in page


def test_a_file_is_an_attachment_that_no_browser_interprets(member, trained):
    response = member.page.get(address(trained, "files/model.safetensors"))
    assert response.status_code == 200
    assert response["Content-Disposition"] == 'attachment; filename="model.safetensors"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert b"".join(response.streaming_content) == b"weights" * 100
    assert member.page.get(address(trained, "files/nothing")).status_code == 404


def test_all_files_come_as_one_zip(member, trained):
    response = member.page.get(address(trained, "bundle.zip"))
    assert response["Content-Disposition"] == 'attachment; filename="digits-v1.zip"'
    assert response["X-Content-Type-Options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[:4] == ["meta.json", "model.safetensors", "README.md", "predict.py"]
        assert archive.read("model.safetensors") == b"weights" * 100


def test_another_teams_models_are_not_found(stranger, trained):
    paths = [f"/models/{trained.model_id}/"]
    paths += [address(trained, rest) for rest in ("", "files/model.safetensors", "bundle.zip")]
    for path in paths:
        assert stranger.page.get(path).status_code == 404
    assert "Digits" not in html(stranger, "/models/")


def test_more_versions_do_not_mean_more_queries(member, trained):
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            html(member, path)
        return len(captured)

    paths = ("/models/", f"/models/{trained.model_id}/")
    few = [queries(path) for path in paths]
    for number in range(2, 6):
        ModelVersion.objects.create(model=trained.model, number=number, parent=trained, metrics={"test": TEST_FIGURES})
    many = [queries(path) for path in paths]
    assert all(after <= before <= 15 for before, after in zip(few, many, strict=True)), (few, many)
