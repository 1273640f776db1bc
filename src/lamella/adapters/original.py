"""Write metadata that a library parsed as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


def json_text(metadata: Any) -> str:
    """Return metadata as JSON: numpy arrays become lists; bytes and objects of other classes become text.

    >>> json_text({"step": 0.5, "laser": {488}, b"raw": b"abc"})
    '{"step": 0.5, "laser": [488], "raw": "abc"}'
    """
    return json.dumps(_plain(metadata), ensure_ascii=False, allow_nan=True, default=str)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(_plain(key)): _plain(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
