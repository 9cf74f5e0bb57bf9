"""A small Whisper as transformers saves it, with a tokenizer of the tests' words. It has learned nothing."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.pretrained.making import CARD
from tests.speech.making import WORDS

RATE, SECONDS, BANDS = 16_000, 2, 24
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
TIMES = ("<|0.00|>", "<|0.02|>")
SIZES = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_source_positions": 50 * SECONDS,
    "max_target_positions": 24, "num_mel_bins": BANDS, "init_std": 0.1, "dropout": 0.0, "encoder_layerdrop": 0.1,
}  # fmt: skip


def make_tokenizer() -> Tokenizer:
    """Bytes, and the words of the tests' speech."""
    blank = "\u0120"
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(blank + word[0] for word in WORDS)]
    merges = [(blank, word[0]) for word in WORDS]
    names += [blank + word for word in WORDS]
    merges += [(blank + word[0], word[1]) for word in WORDS]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(name, special=False) for name in TIMES])
    return tokenizer


def save_whisper(folder: Path, *, is_multilingual: bool = True) -> Path:
    """An untrained Whisper that hears two seconds at once, as small as can be, as a checkpoint in `folder`."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    end, start = (tokenizer.token_to_id(name) for name in SPECIAL[:2])
    known = {"eos_token_id": end, "bos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=tokenizer.get_vocab_size(), **SIZES, **known))
    model.generation_config.is_multilingual = is_multilingual
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    WhisperFeatureExtractor(feature_size=BANDS, chunk_length=SECONDS).save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    assert json.loads((folder / "generation_config.json").read_text())["is_multilingual"] is is_multilingual
    return folder
