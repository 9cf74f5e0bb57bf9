"""What was uploaded: image folders or tables, and which files of it hold data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workers.contract import KIND_AUDIO, KIND_IMAGES, KIND_TABLE, SPLITS, DataFile, ProgramFailure
from workers.preprocessing.archives import Archive, clean_path, is_hidden
from workers.preprocessing.limits import Limits
from workers.preprocessing.sheets import SHEET_ENDINGS, as_csv
from workers.preprocessing.splitting import split_of_folder, split_of_stem

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
AUDIO_ENDINGS = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff"}
JSON_ENDINGS = {".jsonl", ".ndjson"}
TABLE_ENDINGS = {".csv", ".tsv", ".tab"} | JSON_ENDINGS | SHEET_ENDINGS
WHAT_TO_UPLOAD = (
    "Upload a ZIP with one folder of images (PNG, JPEG, WEBP, BMP, GIF or TIFF) or of recordings (WAV, FLAC, MP3 or "
    "OGG) per class, or tables or texts as CSV, TSV, Excel (XLSX) or JSON Lines."
)


def ending_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


@dataclass(frozen=True)
class Member:
    """One file, in an archive or loose: `name` is unique and for people; the folders of `path` may mean a class."""

    name: str
    path: str
    size: int
    split: str | None
    archive: Archive | None
    file: Path | None = None

    def read(self, cap: int) -> bytes:
        """At most `cap` + 1 bytes."""
        if self.archive is not None:
            return self.archive.read(self.path)
        with open(self.file, "rb") as file:
            return file.read(cap + 1)


@dataclass(frozen=True)
class Bundle:
    """The members whose folders are read together: those of one archive, or all loose files."""

    members: tuple[Member, ...]
    split: str | None


class Sources:
    """The uploads, opened and recognised. `kind` is image_folder, audio or table; `ignored` counts hidden files.

    Raises ProgramFailure with the codes unknown_kind, unknown_split, same_name_twice, empty_file, no_files,
    too_many_files, and those of `Archive`.
    """

    def __init__(self, files: Sequence[DataFile], limits: Limits) -> None:
        self.limits = limits
        self.ignored = 0
        self._stack = ExitStack()
        try:
            self._open(self._visible(files))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def members(self) -> list[Member]:
        return [member for bundle in self.bundles for member in bundle.members]

    def _visible(self, files: Sequence[DataFile]) -> list[DataFile]:
        named = [DataFile(clean_path(file.name, "An uploaded file"), file.path, file.split) for file in files]
        visible = sorted((file for file in named if not is_hidden(file.name)), key=lambda file: file.name)
        self.ignored = len(named) - len(visible)
        check_files(visible)
        return visible

    def _open(self, files: list[DataFile]) -> None:
        zips = [file for file in files if ending_of(file.name) == ".zip"]
        loose = [file for file in files if ending_of(file.name) != ".zip"]
        splits = splits_of_names([file.name for file in zips])
        self.bundles = [self._open_archive(file, split) for file, split in zip(zips, splits, strict=True)]
        if loose:
            members = tuple(
                Member(file.name, file.name, Path(file.path).stat().st_size, file.split, None, Path(file.path))
                for file in loose
            )
            self.bundles.append(Bundle(members, None))
        self._check_count()
        self.kind = kind_of(self.members)

    def _open_archive(self, file: DataFile, split: str | None) -> Bundle:
        archive = self._stack.enter_context(Archive(file.path, file.name, self.limits))
        self.ignored += archive.ignored
        members = tuple(
            Member(f"{file.name}/{path}", path, info.file_size, file.split, archive)
            for path, info in archive.entries.items()
        )
        return Bundle(members, split)

    def _check_count(self) -> None:
        if (count := len(self.members)) > self.limits.max_files:
            raise ProgramFailure(
                "too_many_files",
                f"The upload has {count:,} files; {self.limits.max_files:,} are allowed.",
                hint="Leave some out, or split the data into several data sets.",
            )


def check_files(files: Sequence[DataFile]) -> None:
    """Raises ProgramFailure for no file, a name used twice, an unknown split or an empty file."""
    if not files:
        raise ProgramFailure("no_files", "There is no file with data in this upload.", hint=WHAT_TO_UPLOAD)
    name, count = Counter(file.name for file in files).most_common(1)[0]
    if count > 1:
        raise ProgramFailure(
            "same_name_twice",
            f"{count} uploaded files are called {name!r}.",
            hint="Give every file a name of its own, or leave one of them out.",
        )
    for file in files:
        if file.split not in (None, *SPLITS):
            raise ProgramFailure(
                "unknown_split",
                f"{file.name} is meant for the split {file.split!r}; known are {', '.join(SPLITS)}.",
                blame="settings",
                field="split",
            )
        if Path(file.path).stat().st_size == 0 and ending_of(file.name) not in IMAGE_ENDINGS | AUDIO_ENDINGS:
            raise ProgramFailure("empty_file", f"{file.name} is empty (0 bytes).", hint="Upload the file again.")


def splits_of_names(names: Sequence[str]) -> list[str | None]:
    """The split of each file by its name ("x_train.zip"), when there are several and one of them is for training."""
    found = [split_of_name(name) for name in names]
    is_whole = len(names) > 1 and ("train" in found or None in found)
    return found if is_whole else [None] * len(names)


def split_of_name(name: str) -> str | None:
    path = PurePosixPath(name)
    return split_of_stem(path.stem) or split_of_folder(path.parent.name)


def kind_of(members: Sequence[Member]) -> str:
    """Raises ProgramFailure ``unknown_kind`` that says what was found instead."""
    images = [member for member in members if ending_of(member.path) in IMAGE_ENDINGS]
    tables = [member for member in members if ending_of(member.path) in TABLE_ENDINGS]
    recordings = [member for member in members if ending_of(member.path) in AUDIO_ENDINGS]
    if len(recordings) > len(images):
        return KIND_AUDIO
    has_loose_table = any(member.archive is None and not is_description(member) for member in tables)
    others = [member for member in members if ending_of(member.path) not in IMAGE_ENDINGS | TABLE_ENDINGS]
    if len(members) == 1 and images and "/" not in images[0].path:
        raise unknown_kind(f"{images[0].name} is a single image, which is not a data set.")
    if images and has_loose_table:
        raise unknown_kind(f"The upload mixes images ({images[0].name}) and tables ({tables[0].name}).")
    if images:
        return KIND_IMAGES
    if tables and not others:
        return KIND_TABLE
    stranger = others[0] if others else members[0]
    raise unknown_kind(f"{stranger.name} is neither an image, a recording nor a table.")


def is_description(member: Member) -> bool:
    """Whether a table is called as one that says what is on images."""
    return PurePosixPath(member.path).stem.lower() in ("metadata", "labels")


def unknown_kind(message: str) -> ProgramFailure:
    return ProgramFailure("unknown_kind", message, hint=WHAT_TO_UPLOAD)


def unpack(members: Sequence[Member], folder: Path, limits: Limits) -> Iterator[tuple[Member, Path]]:
    """Each member with a path where it can be opened; archived ones are written under names of our own in `folder`."""
    for number, member in enumerate(members):
        if member.archive is None:
            yield member, member.file
            continue
        path = folder / f"{number}.data"
        with open(path, "wb") as out:
            out.writelines(member.archive.chunks(member.path, limits.max_unpacked_bytes))
        yield member, path


def unpack_tables(members: Sequence[Member], folder: Path, limits: Limits) -> Iterator[tuple[Member, Path, list[str]]]:
    """As `unpack`; of a workbook the path is that of its first sheet as CSV, and its other sheets are named."""
    for number, (member, path) in enumerate(unpack(members, folder, limits)):
        yield member, *plain_table(path, member.name, folder / f"{number}.csv", limits)


def plain_table(path: Path, name: str, sheet: Path, limits: Limits) -> tuple[Path, list[str]]:
    """Where the table can be read as text, `sheet` for the first sheet of a workbook, and the names of its others."""
    return (sheet, as_csv(path, name, sheet, limits)) if ending_of(name) in SHEET_ENDINGS else (path, [])
