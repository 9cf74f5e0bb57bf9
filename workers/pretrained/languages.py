"""What a checkpoint must be told of languages: the codes that its tokenizer has tokens for, or words before a text.

Pure Python: the site asks it too, before anything starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from workers.contract import SPEECH_RECOGNITION, TRANSLATION
from workers.pretrained.families import (
    GENERATION_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    CheckpointRefused,
)

WHISPER = "whisper"
# The tokens that name a language, by family; the group is the code as people write it.
TOKENS = {
    "marian": re.compile(r">>([\w-]{2,20})<<"),
    "m2m_100": re.compile(r"__([a-z]{2,3})__|([a-z]{3}_[A-Z][a-z]{3})"),
    "mbart": re.compile(r"([a-z]{2}_[A-Z]{2})"),
    WHISPER: re.compile(r"<\|([a-z]{2,3})\|>"),
}
NEEDED = ("m2m_100", "mbart")  # which say nothing without a language
SOURCE, TARGET, PREFIX = "source_language", "target_language", "source_prefix"
WITH_PREFIX = ("t5", "mt5")
SPOKEN, SPEECH_TASK, TRANSCRIBE = "spoken_language", "speech_task", "transcribe"
FIELDS = (SOURCE, TARGET, PREFIX, SPOKEN, SPEECH_TASK)
SPECIAL_LISTS = ("additional_special_tokens", "extra_special_tokens")
TEXT_FILES = (TOKENIZER_FILE, VOCABULARY_FILE, TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, GENERATION_FILE)
SHOWN = 12  # codes in a sentence


def read_texts(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Those of a checkpoint's `files` that the functions here ask for, as JSON; what is no object is as if it were not
    there."""
    found = {}
    for name in TEXT_FILES:
        try:
            content = json.loads(files[name]) if name in files else None
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            found[name] = content
    return found


def tokens_of(family: str, texts: Mapping[str, Any]) -> dict[str, str]:
    """The token of each language by its code, in the checkpoint's order."""
    pattern = TOKENS.get(family)
    if pattern is None:
        return {}
    found = {token: pattern.fullmatch(token) for token in _special_tokens(family, texts)}
    return {next(filter(None, match.groups())): token for token, match in found.items() if match}


def _special_tokens(family: str, texts: Mapping[str, Any]) -> list[str]:
    if family == WHISPER and texts.get(GENERATION_FILE, {}).get("is_multilingual") is False:
        return []  # one of English alone, whose tokenizer may name languages nevertheless
    if family == "marian":
        return list(texts.get(VOCABULARY_FILE, {}))
    if TOKENIZER_FILE in texts:
        added = texts[TOKENIZER_FILE].get("added_tokens") or []
        return [str(item.get("content", "")) for item in added if isinstance(item, dict)]
    for file in (SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE):
        for name in SPECIAL_LISTS:
            listed = texts.get(file, {}).get(name)
            if isinstance(listed, list) and listed:
                return [str(item.get("content", "") if isinstance(item, dict) else item) for item in listed]
    return []


def told_of(family: str, texts: Mapping[str, Any]) -> dict[str, list[str]]:
    """The settings by which a checkpoint of this family is told of languages, and the codes that each may be."""
    if family in WITH_PREFIX:
        return {PREFIX: []}
    codes = sorted(tokens_of(family, texts))
    if family == WHISPER:
        return {SPOKEN: codes, SPEECH_TASK: []} if codes else {}
    return {field: codes for field in (SOURCE, TARGET) if codes and _is_told(family, field)}


def check_told(task: str, family: str, texts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Whether a checkpoint of this family can be told what `settings` say of languages, and is told enough. Raises
    CheckpointRefused, with the setting as `field`."""
    if task == TRANSLATION:
        check_languages(family, texts, settings)
    elif task == SPEECH_RECOGNITION:
        check_spoken(family, texts, settings)


def check_spoken(family: str, texts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """The same for recognisers. Raises CheckpointRefused (no_tokenizer, language_needed, unknown_language,
    no_languages)."""
    if family == WHISPER and TOKENIZER_FILE not in texts:
        message = f"There is no {TOKENIZER_FILE} in it. Save it again with transformers' WhisperProcessor."
        raise CheckpointRefused("no_tokenizer", message)
    known = tokens_of(family, texts)
    _check_language(SPOKEN, settings[SPOKEN], known, is_needed=bool(known), is_told=bool(known))
    if settings[SPEECH_TASK] != TRANSCRIBE and not known:
        message = f"This checkpoint writes what is said and translates nothing; set {SPEECH_TASK} to {TRANSCRIBE}."
        raise CheckpointRefused("no_languages", message, SPEECH_TASK)


def check_languages(family: str, texts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Whether a translator of this family can be told what `settings` say of its languages. Raises CheckpointRefused
    (language_needed, unknown_language, no_languages, no_prefix), with the setting as `field`."""
    known = tokens_of(family, texts)
    for field in (SOURCE, TARGET):
        _check_language(field, settings[field], known, is_needed=family in NEEDED, is_told=_is_told(family, field))
    if settings[PREFIX] and family not in WITH_PREFIX:
        message = "This checkpoint is told nothing in words before a text; leave source_prefix empty. T5 and mT5 are."
        raise CheckpointRefused("no_prefix", message, PREFIX)


def _is_told(family: str, field: str) -> bool:
    """Marian is told the language to write alone."""
    return family in TOKENS and (family != "marian" or field == TARGET)


def _check_language(field: str, code: str, known: Mapping[str, str], *, is_needed: bool, is_told: bool) -> None:
    if code and not (is_told and known):
        message = f"This checkpoint has no token for a {field.replace('_', ' ')}; leave {field} empty."
        raise CheckpointRefused("no_languages", message, field)
    if code and code not in known:
        message = f"This checkpoint knows no language {code[:20]!r}. It knows {listed(known)}."
        raise CheckpointRefused("unknown_language", message, field)
    if is_needed and not code:
        if not known:
            message = "Its tokenizer names no languages. Save it again with transformers' save_pretrained."
            raise CheckpointRefused("no_tokenizer", message)
        message = f"This checkpoint must be told the {field.replace('_', ' ')}: set {field} to one of {listed(known)}."
        raise CheckpointRefused("language_needed", message, field)


def listed(codes: Mapping[str, str]) -> str:
    """Some of them, and how many there are."""
    names = sorted(codes)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
