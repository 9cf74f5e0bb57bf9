"""Which demo each task has, and each page that a deployment may have instead."""

from django.utils.translation import gettext_lazy as _

from apps.deployments.demos import files, rows, series, texts, users
from apps.deployments.demos.kinds import Demo
from apps.deployments.demos.screening import screened
from apps.deployments.models import Deployment
from apps.deployments.pages import CHAT, OFFERS, SCREENING
from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    FORECASTING,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import AUDIO, IMAGE

OF_TASK = {
    IMAGE_CLASSIFICATION: Demo(
        form="deployments/demo_image.html",
        answer="deployments/answer_class.html",
        invitation=_("Give it an image, and it says what it shows."),
        prepare=files.prepare_image,
        predict=files.predict_image,
        media=IMAGE,
        script="js/demo.js",
    ),
    MULTI_LABEL_IMAGES: Demo(
        form="deployments/demo_image.html",
        answer="deployments/answer_labels.html",
        invitation=_("Give it an image, and it says everything that it shows."),
        prepare=files.prepare_image,
        predict=files.predict_labels,
        media=IMAGE,
        script="js/demo.js",
    ),
    AUDIO_CLASSIFICATION: Demo(
        form="deployments/demo_audio.html",
        answer="deployments/answer_class.html",
        invitation=_("Let it hear something, and it says what it is."),
        prepare=files.prepare_audio,
        predict=files.predict_audio,
        media=AUDIO,
        script="js/demo_audio.js",
    ),
    SPEECH_RECOGNITION: Demo(
        form="deployments/demo_audio.html",
        answer="deployments/answer_speech.html",
        invitation=_("Say something, and it writes it down."),
        prepare=files.prepare_audio,
        predict=files.predict_audio,
        weigh=files.weigh_speech,
        media=AUDIO,
        script="js/demo_audio.js",
    ),
    TEXT_CLASSIFICATION: Demo(
        form="deployments/demo_text.html",
        answer="deployments/answer_class.html",
        invitation=_("Write something, and it says what it is about."),
        prepare=texts.prepare,
        predict=texts.predict,
        rate=texts.RATE,
    ),
    TRANSLATION: Demo(
        form="deployments/demo_translation.html",
        answer="deployments/answer_translation.html",
        invitation=_("Write something, and it says it in the other language."),
        prepare=texts.prepare,
        predict=texts.predict,
        rate=texts.RATE,
        weigh=texts.weigh_translation,
        waiting=_("The translation appears here."),
        is_wide=True,
    ),
    ANSWER_RETRIEVAL: Demo(
        form="deployments/demo_question.html",
        answer="deployments/answer_found.html",
        invitation=_("Ask something, and it finds the answer, or says that it does not know."),
        prepare=texts.prepare,
        predict=texts.predict,
    ),
    RECOMMENDATION: Demo(
        form="deployments/demo_user.html",
        answer="deployments/answer_items.html",
        invitation=_("Say what you like, and it says what you may like as well."),
        prepare=users.prepare,
        predict=users.predict,
    ),
    FORECASTING: Demo(
        form="deployments/demo_series.html",
        answer="deployments/answer_forecast.html",
        invitation=_("Give it what was, and it says what comes."),
        prepare=series.prepare,
        predict=series.predict,
        script="js/series.js",
        has_chart=True,
        is_wide=True,
    ),
    TABULAR_CLASSIFICATION: Demo(
        form="deployments/demo_table.html",
        answer="deployments/answer_class.html",
        invitation=_("Fill in a row, and it says which class it is."),
        prepare=rows.prepare,
        predict=rows.predict,
    ),
    TABULAR_REGRESSION: Demo(
        form="deployments/demo_table.html",
        answer="deployments/answer_value.html",
        invitation=_("Fill in a row, and it estimates the value."),
        prepare=rows.prepare,
        predict=rows.predict,
    ),
}
OF_PAGE = {
    CHAT: Demo(
        form="deployments/demo_chat.html",
        answer="deployments/answer_class.html",
        invitation="",
        prepare=texts.prepare_chat,
        predict=texts.predict_chat,
        rate=texts.RATE,
        result="deployments/_chat_turn.html",
        target="#chat-log",
        swap="beforeend show:bottom",
    ),
    OFFERS: Demo(
        form="deployments/demo_user.html",
        answer="deployments/answer_items.html",
        invitation=_("Say what a customer owns, and it says what to offer next, and why."),
        prepare=users.prepare,
        predict=users.predict,
    ),
}


def demo_of(deployment: Deployment) -> Demo:
    """The page that the deployment has, or else the one of its task."""
    usual = OF_TASK[deployment.version.model.task]
    if deployment.page == SCREENING:
        return screened(usual)
    return OF_PAGE[deployment.page] if deployment.page else usual
