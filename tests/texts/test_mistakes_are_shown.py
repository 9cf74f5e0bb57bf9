"""The result page shows the texts that a model got wrong, as text."""

from django.template.loader import render_to_string

from apps.jobs.results import read

RESULT = {
    "metrics": {"test": {"accuracy": 0.5}},
    "confusion": {"split": "test", "labels": ["ham", "spam"], "matrix": [[1, 1], [0, 0]]},
    "mistakes": [{"text": "win <b>now</b>", "true": "ham", "predicted": "spam", "probability": 0.93}],
}


def test_a_mistake_is_shown_with_its_text_what_was_said_and_what_was_true():
    results = read(RESULT, outputs={})
    (mistake,) = results.mistakes
    assert (mistake.text, mistake.said, mistake.truth, mistake.by) == ("win <b>now</b>", "spam", "ham", "93 %")
    page = render_to_string("jobs/results.html", {"results": results, "job": None})
    assert "win &lt;b&gt;now&lt;/b&gt;" in page and "Worst mistakes" in page
    assert page.index("93 %") < page.index(">True<") < page.rindex("ham")
