"""Inspect an upload and freeze it: ``python -m workers.preprocessing spec.json`` with a `workers.contract.PrepareSpec`.

An upload is untrusted. It becomes ``output/`` whole, or not at all:

- ``data.zip`` (image folder): the sound images, stored with their original bytes under ``<class>/<number>.<ending>``,
  or under ``images/`` where a table says what they show;
- ``index.jsonl`` (image folder): one object per image, ``{"member", "label", "split", "width", "height", "sha256",
  "source"}``: its name in data.zip, sizes in pixels, and as source ``archive.zip/path`` or the name it was uploaded by;
- ``thumbs/*.png`` (image folder): at most 8 per class of at most 40 classes, RGB, at most 96 pixels wide and high;
- ``data.zip`` (audio): the sound recordings, with their original bytes under ``recordings/<number>.<ending>``, and
  ``metadata.csv``, which makes it an upload again; ``index.jsonl``, one object per recording, ``{"member", "label",
  "transcript", "split", "speaker", "seconds", "rate", "sound", "source"}``: label "" and transcript null where there is
  none, speaker null where it is not known, samples a second, and a hash of the samples; ``thumbs/*.png`` and
  ``thumbs/*.wav``, spectrograms and excerpts of at most 3 per class, or of 12 recordings with transcripts;
- ``data.csv`` (table): the sound rows, UTF-8, comma, one header, values trimmed, missing values empty;
- ``index.json`` (table): ``{"rows", "columns", "target", "task", "text_column", "pair", "interactions", "series",
  "split", "split_source"}``, ``split`` has train, val or test per row, ``text_column`` is null where the table is not
  about texts, ``pair`` where it is not one of translations or of questions and answers, else ``{"source", "target"}``,
  its columns, ``interactions`` where it is not about who took what, else its columns by role (user, item, rating, time,
  name), and ``series`` where it is not about values over time, else {"time", "target", "series", "known"};
  ``places`` are ``[{"name", "lines"}]``, where each row stood, and ``missing_words`` says whether "NA" is missing;
- ``findings.json``: for each finding everything that can be done about it;
- ``report.json``, for people:

==================  ====================================================================================================
``kind``            ``image_folder``, ``audio`` or ``table``
``task``            guess: ``image_classification``, or ``multi_label_images`` where a table says that one may show
                    several things (an index then has them side by side, apart by |), ``tabular_classification``,
                    ``tabular_regression``, ``audio_classification``, ``speech_recognition`` where recordings have
                    transcripts, or
                    ``text_classification`` where a column of free text stands beside at most two others, or
                    ``answer_retrieval`` where two columns are called question and answer, or
                    ``translation`` where two columns are called after languages, or are all there is, or
                    ``recommendation`` where columns are called as users and items are, and both come again, or
                    ``forecasting`` where a column holds times in equal steps, for each series if there are several
``tasks``           recordings: all tasks that they can be used for, ``task`` in front
``target``          column to predict: the wanted one, else target, label, class, y or outcome, else the last that is
                    not called as texts are; null for images
``text``            texts: ``{"column", "median_characters", "longest_characters", "scripts": [[name, share]]}``, the
                    scripts by their share of all letters; null for other tables
``pair``            translations: ``{"source", "target", "length_ratio"}``, each side as under ``text``; questions and
                    answers: ``{"source", "target", "answers"}``, the number of different ones; else null
``speech``          recordings with transcripts: ``{"words", "different_words", "different", "letters",
                    "median_characters", "scripts"}``, different being transcripts; null for others
``interactions``    who took what: the columns by role, ``"users"``, ``"items"``, ``"pairs"``, ``"density"`` (share of
                    all pairs that is known), ``"median_of_a_user"``, ``"median_of_an_item"`` (rows) and
                    ``"popular_share"`` (of the rows, had by the most popular hundredth of the items); null for others
``series``          values over time: the columns by role, ``"count"`` of series, ``"frequency"``, ``"season"`` (steps),
                    ``"usual_horizon"``, ``"from"``, ``"until"``, ``"median_length"``, ``"gaps"`` (steps without a row)
                    and ``"shown"``, the ends of some series as {"name", "times", "values"}; null for others
``items``           sound images or rows: what data.zip or data.csv holds
``bad``             the first 1,000 of what cannot be used: ``{"path", "line", "reason", "code"}``, line null for images
``bad_total``       how many there are
``ignored``         hidden files and ``__MACOSX``, which count as nothing
``classes``         ``[{"name", "count", "train", "val", "test"}]`` in natural order; empty for a regression
``splits``          ``{"train": n, "val": n, "test": n}``
``split_source``    ``user`` where the upload has splits (a missing one is carved out of train), else ``stratified``,
                    or ``time`` where the last part of time is the test
``columns``         table: ``[{"name", "type", "missing", "unique", "unique_is_exact", "min", "max", "mean", "top"}]``;
                    type is numeric, categorical, boolean, text, identifier or date; min, max and mean are null unless
                    numeric; top is up to ten ``[value, count]``
``preview``         table: the first ten rows as lists of strings
``thumbnails``      ``[{"label", "file": "thumbs/0000.png"}]``
``sides``           images: smallest, median and largest side in pixels, as squares of the same area
``audio``           recordings: ``{"seconds", "median_seconds", "shortest_seconds", "longest_seconds", "rates",
                    "speakers"}``, seconds of all together, rates as ``[[samples a second, count]]``
``content_hash``    hex sha256; equal for equal content and split, in whatever order it was uploaded
``findings``        what was found in data that can be used, the serious first (findings.py); docs/data-doctor.md lists
                    all codes
``steps``           what was done to make the version, in order: ``[{"id", "step", "message", "touched", "noun",
                    "example": {"before", "after"}, "is_optional", "is_on"}]`` (recipe.py, cleaning.py)
``data_bytes``      size of data.zip or data.csv
==================  ====================================================================================================

Codes of bad items: not_an_image, no_class_folder, empty_file, broken_image, image_too_large, file_too_large,
decoder_crashed (images); not_audio, no_label, no_class_folder, empty_file, broken_audio, audio_too_long,
file_too_large, decoder_crashed, and missing_file, missing_label, missing_transcript, described_twice of their table
(recordings and images);
ragged_row, bad_quoting, bad_json, unknown_key, nested_value, value_too_long, missing_target (rows).

Whatever makes the whole upload unusable is a ``failure`` event with a code, a sentence and a hint, and exit code
EXIT_FAILED: unsafe_path, symlink, encrypted_archive, corrupt_archive, zip_bomb, nested_archive, too_many_files,
unsupported_compression, same_name_twice, empty_archive (archives); no_files, empty_file, unknown_kind, unknown_split,
no_train_split, bad_split_fractions, disk_full (uploads); no_images, no_class_folders, one_class, class_too_small,
too_many_crashes, missing_columns, no_labels (images); no_recordings, no_class_folders, missing_columns, one_class,
class_too_small, too_many_crashes (recordings); wrong_encoding, nul_bytes, line_too_long, no_header, bad_header,
missing_header, duplicate_header, header_too_long, too_many_columns, one_column, no_json_lines, headers_differ,
old_workbook, damaged_workbook, workbook_too_large, field_too_long, unclosed_quote, too_many_rows, no_rows,
no_sound_rows, unknown_target, target_all_missing, target_unsuitable, one_class, class_too_small, too_few_rows (tables).
"""
