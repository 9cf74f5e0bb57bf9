"""What the site answers, with attributes."""

from typing import Any


class Record(dict):
    """A JSON object of the site: `job["status"]` and `job.status` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{name!r} is not in {sorted(self)}") from None

    @classmethod
    def wrap(cls, value: Any) -> Any:
        """Turn every object inside `value` into a Record."""
        if isinstance(value, dict):
            return cls({key: cls.wrap(item) for key, item in value.items()})
        if isinstance(value, list):
            return [cls.wrap(item) for item in value]
        return value
