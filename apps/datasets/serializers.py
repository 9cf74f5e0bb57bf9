"""What the REST endpoints of data take and give."""

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.names import MAX_NAME_LENGTH, propose_split
from apps.datasets.preparing import ACTIONS
from workers.contract import SPLITS

HEX = r"^[0-9a-fA-F]{64}$"


class ChecksumInput(serializers.Serializer):
    sha256 = serializers.RegexField(
        HEX, required=False, allow_blank=True, default="", help_text="SHA-256 of the whole file, hex."
    )


class UploadInput(ChecksumInput):
    name = serializers.CharField(max_length=MAX_NAME_LENGTH, help_text="The file's name; folders are kept.")
    size_bytes = serializers.IntegerField(min_value=0, max_value=2**62)


class UploadOutput(serializers.ModelSerializer):
    chunk_bytes = serializers.SerializerMethodField(help_text="How many bytes one chunk may have at most.")
    proposed_split = serializers.SerializerMethodField(help_text="train, val or test where the file's name says it.")

    class Meta:
        model = Upload
        fields = [
            "id",
            "name",
            "size_bytes",
            "received_bytes",
            "chunk_bytes",
            "status",
            "sha256",
            "proposed_split",
            "created_at",
        ]

    def get_chunk_bytes(self, upload: Upload) -> int:
        return settings.LEPTON_UPLOAD_CHUNK_BYTES

    def get_proposed_split(self, upload: Upload) -> str:
        return propose_split(upload.name)


class ChunkQuery(serializers.Serializer):
    offset = serializers.IntegerField(min_value=0, max_value=2**62, help_text="Where in the file the chunk begins.")


class SourceInput(serializers.Serializer):
    id = serializers.UUIDField(help_text="A complete upload.")
    split = serializers.ChoiceField(choices=SPLITS, required=False, allow_blank=True, allow_null=True, default="")

    def validate_split(self, split: str | None) -> str:
        return split or ""


class VersionInput(serializers.Serializer):
    uploads = SourceInput(many=True, allow_empty=False)
    target = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", help_text="The column to predict."
    )


class DatasetInput(VersionInput):
    name = serializers.CharField(max_length=200, help_text="Unique in the team; 80 letters at most.")
    description = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)


class FindingInput(serializers.Serializer):
    action = serializers.ChoiceField(
        choices=[*ACTIONS, "keep", "reopen"],
        help_text="What to do: leave_out, relabel, move or drop make the next version; keep lets the finding be.",
    )
    items = serializers.ListField(
        child=serializers.CharField(max_length=2_000),
        required=False,
        allow_null=True,
        default=None,
        help_text="Ids of the items to do it to; all that the finding names unless given.",
    )


class RedoInput(serializers.Serializer):
    without = serializers.ListField(
        child=serializers.CharField(max_length=80),
        help_text="Ids of the steps to leave out; all others are done. An empty list does every step again.",
    )


class ErrorOutput(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    hint = serializers.CharField()


class FileOutput(serializers.Serializer):
    name = serializers.CharField()
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()


class VersionOutput(serializers.ModelSerializer):
    files = serializers.SerializerMethodField(help_text="The frozen data and its index.")
    made_from = serializers.IntegerField(
        source="parent.number", default=None, help_text="The number of the version that this one was made from."
    )
    error = serializers.SerializerMethodField(help_text="Why the data was rejected; null otherwise.")

    class Meta:
        model = DatasetVersion
        fields = [
            "id",
            "number",
            "status",
            "kind",
            "task",
            "target",
            "item_count",
            "size_bytes",
            "content_hash",
            "report",
            "made_from",
            "kept",
            "files",
            "error",
            "created_at",
        ]

    @extend_schema_field(FileOutput(many=True))
    def get_files(self, version: DatasetVersion) -> list[dict]:
        return [{"name": name, **blob} for name, blob in version.frozen_files.items()]

    @extend_schema_field(ErrorOutput(allow_null=True))
    def get_error(self, version: DatasetVersion) -> dict | None:
        if not version.error_code:
            return None
        return {"code": version.error_code, "message": version.error_message, "hint": version.error_hint}


class DatasetOutput(serializers.ModelSerializer):
    latest_version = serializers.SerializerMethodField()

    class Meta:
        model = Dataset
        fields = ["id", "name", "description", "latest_version", "created_at"]

    @extend_schema_field(VersionOutput(allow_null=True))
    def get_latest_version(self, dataset: Dataset) -> dict | None:
        version = dataset.latest_version
        return VersionOutput(version).data if version else None


class DatasetDetailOutput(DatasetOutput):
    versions = VersionOutput(many=True)

    class Meta(DatasetOutput.Meta):
        fields = [*DatasetOutput.Meta.fields, "versions"]
