"""How much of a stranger's data is accepted. One value per rule, so that tests can lower them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Sizes are bytes unless the name says otherwise."""

    max_files: int = 100_000
    max_entry_bytes: int = 256 * MIB
    max_unpacked_bytes: int = 64 * 1024 * MIB
    max_directory_bytes: int = 128 * MIB
    max_ratio: int = 200
    ratio_counts_above_bytes: int = 64 * MIB

    max_pixels: int = 50_000_000
    decoder_memory_bytes: int = 2048 * MIB
    decoder_cpu_seconds: int = 20
    max_decoder_crashes: int = 100
    batch_items: int = 64
    batch_bytes: int = 16 * MIB
    glances: int = 20_000  # images of which pixels are kept to compare them
    glance_pixels: int = 32
    thumbnails_per_class: int = 8
    thumbnail_classes: int = 40
    thumbnail_pixels: int = 96

    excerpts_per_class: int = 3
    excerpt_seconds: int = 6

    min_columns: int = 2
    max_columns: int = 2_000
    max_rows: int = 5_000_000
    max_header_chars: int = 200
    max_field_chars: int = 1_000_000
    max_line_chars: int = 32 * MIB
    max_workbook_part_bytes: int = 512 * MIB  # that with the texts is held in memory
    max_distinct_values: int = 2_000_000
    chunk_rows: int = 4_096
    preview_rows: int = 10
    preview_chars: int = 200

    min_class_size: int = 5
    max_bad_listed: int = 1_000


DEFAULT_LIMITS = Limits()
