"""A ZIP reader for archives made by strangers: it refuses whole archives, and never writes where the archive says.

Nothing is extracted by name. Names and declared sizes are checked before the first byte is unpacked, and the bytes that
really come out are counted against the same limits.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from workers.contract import ProgramFailure
from workers.preprocessing.limits import Limits

CHUNK_BYTES = 2**20
NESTED = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".jar"}
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
UNSAFE_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
DRIVE_LETTER = re.compile(r"^[A-Za-z]:")
END_OF_DIRECTORY = b"PK\x05\x06"
END_OF_DIRECTORY_64 = b"PK\x06\x06"
# What zipfile raises for damaged input: archives with flipped bytes found all of these.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    ValueError,
    RuntimeError,
    OSError,
)


def is_hidden(path: str) -> bool:
    """True for what operating systems leave behind: dotfiles, ``__MACOSX``, ``Thumbs.db``."""
    return any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in path.split("/"))


def clean_path(raw: str, where: str) -> str:
    """`raw` without empty and ``.`` parts. Raises ProgramFailure ``unsafe_path`` for a path that leaves its folder."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    is_unsafe = raw.startswith("/") or ".." in parts or DRIVE_LETTER.match(raw) or UNSAFE_CHARACTERS.search(raw)
    if is_unsafe or len(raw) > 1024:
        raise ProgramFailure(
            "unsafe_path",
            f"{where} has an unsafe path, {raw[:200]!r}.",
            hint='Paths must be relative, use "/" and stay inside the archive. Make the archive again from its folder.',
        )
    return "/".join(parts)


def refuse(code: str, message: str, hint: str) -> None:
    raise ProgramFailure(code, message, hint=hint)


class Archive:
    """The safe entries of one ZIP file, read one by one.

    `entries` maps cleaned path to ZipInfo, in order of path; `ignored` counts hidden files. Raises ProgramFailure with
    the codes unsafe_path, symlink, encrypted_archive, corrupt_archive, zip_bomb, nested_archive, too_many_files,
    unsupported_compression, same_name_twice, empty_archive.
    """

    def __init__(self, path: str | Path, name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self.size, self.unpacked, self.ignored = Path(path).stat().st_size, 0, 0
        self._check_directory_size(Path(path))
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            raise self._damaged(str(error)) from error
        self.entries = dict(sorted(self._inspect()))
        if not self.entries:
            refuse("empty_archive", f"{name} contains no files.", "Put the files into the archive and upload it again.")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def read(self, path: str) -> bytes:
        """The bytes of one entry, at most ``max_entry_bytes`` + 1 of them."""
        cap = self.limits.max_entry_bytes + 1
        return b"".join(self.chunks(path, cap))

    def chunks(self, path: str, cap: int) -> Iterator[bytes]:
        """The bytes of one entry in pieces, `cap` of them at most; real bytes count towards the limits."""
        try:
            with self._zip.open(self.entries[path]) as file:
                while cap > 0 and (chunk := file.read(min(CHUNK_BYTES, cap))):
                    self.unpacked += len(chunk)
                    cap -= len(chunk)
                    self._check_unpacked(self.unpacked)
                    yield chunk
        except DAMAGE as error:
            raise self._damaged(f"{path}: {error}") from error

    def _inspect(self) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        infos = self._zip.infolist()
        if len(infos) > self.limits.max_files:
            refuse(
                "too_many_files",
                f"{self.name} has {len(infos):,} entries; {self.limits.max_files:,} are allowed.",
                "Leave some out, or split the data into several data sets.",
            )
        self._check_unpacked(sum(info.file_size for info in infos))
        paths = [clean_path(info.orig_filename, self.name) for info in infos]
        files = [(path, info) for path, info in zip(paths, infos, strict=True) if not info.is_dir()]
        self._check_names([path for path, _ in files])
        for path, info in files:
            self._check_entry(path, info)
            if is_hidden(path):
                self.ignored += 1
            else:
                yield path, info

    def _check_names(self, paths: list[str]) -> None:
        name, count = Counter(paths).most_common(1)[0] if paths else ("", 0)
        if count > 1:
            refuse(
                "same_name_twice",
                f"{self.name} contains {name!r} {count} times.",
                "Give every file a name of its own and make the archive again.",
            )

    def _check_entry(self, path: str, info: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            refuse("symlink", f"{self.name} contains a link, {path!r}.", "Put the file itself into the archive.")
        if info.flag_bits & 0x1:
            refuse("encrypted_archive", f"{self.name} is encrypted ({path!r}).", "Make it again without a password.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            refuse(
                "unsupported_compression",
                f"{self.name} uses compression method {info.compress_type} ({path!r}).",
                'Make it again with the usual method, "deflate".',
            )
        if Path(path).suffix.lower() in NESTED and not is_hidden(path):
            refuse(
                "nested_archive",
                f"{self.name} contains another archive, {path!r}, which was not opened.",
                "Unpack the inner archive first, or upload it by itself.",
            )

    def _check_unpacked(self, unpacked: int) -> None:
        is_dense = unpacked > self.limits.ratio_counts_above_bytes and unpacked > self.limits.max_ratio * self.size
        if unpacked > self.limits.max_unpacked_bytes or is_dense:
            refuse(
                "zip_bomb",
                f"{self.name} has {self.size:,} bytes and unpacks to at least {unpacked:,}: it looks like a zip bomb.",
                "Upload the files with less compression, or in smaller archives.",
            )

    def _check_directory_size(self, path: Path) -> None:
        """The directory is held in memory, so its declared size is read before zipfile reads the directory."""
        with open(path, "rb") as file:
            file.seek(max(0, self.size - 65_700))
            tail = file.read()
        size = 0
        end, end_64 = tail.rfind(END_OF_DIRECTORY), tail.rfind(END_OF_DIRECTORY_64)
        if end >= 0 and len(tail) >= end + 22:
            size = struct.unpack_from("<L", tail, end + 12)[0]
        if size == 0xFFFFFFFF and end_64 >= 0 and len(tail) >= end_64 + 48:
            size = struct.unpack_from("<Q", tail, end_64 + 40)[0]
        if size > min(self.size, self.limits.max_directory_bytes):
            raise self._damaged(f"its directory claims {size:,} bytes")

    def _damaged(self, detail: str) -> ProgramFailure:
        return ProgramFailure(
            "corrupt_archive",
            f"{self.name} is not a complete ZIP archive ({detail[:200]}).",
            hint="It may be truncated or damaged. Make it again and upload it once more.",
        )
