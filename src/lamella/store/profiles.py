"""Read AWS profiles from ``~/.aws/credentials`` and ``~/.aws/config``.

boto3, where installed, resolves profiles whose keys need a request (single sign-on, a role, a process).
"""

from __future__ import annotations

import os
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import AccessError, MissingDependencyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEEDS_REQUEST = (
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)


@dataclass(frozen=True)
class Profile:
    """Keys, region and endpoint of a profile."""

    name: str
    keys: Mapping[str, str] = field(repr=False)
    region: str | None = None
    endpoint: str | None = None

    @property
    def origin(self) -> str:
        """Source of the keys, for messages."""
        return f"the keys of the AWS profile {self.name!r}"


def read_profile(name: str | None, environment: Mapping[str, str]) -> Profile | None:
    """Read a profile by name, by ``AWS_PROFILE``, or the profile "default"; None where there is no default.

    Raises `AccessError` where a named profile is missing or boto3 has no keys for it, and `MissingDependencyError`
    where its keys need boto3, which is not installed.
    """
    requested = name or environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    chosen = requested or "default"
    files = [
        os.path.expanduser(environment.get(variable) or f"~/.aws/{file}")
        for variable, file in (
            ("AWS_CONFIG_FILE", "config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        )
    ]
    values = {**_section(files[0], chosen, "profile "), **_section(files[1], chosen, "")}
    if not values:
        if requested is None:
            return None
        raise AccessError(
            f"There is no AWS profile {chosen!r} in {files[1]} or {files[0]}. Check the name, or pass key and secret."
        )
    keys = {
        short: values[f"aws_{long}"]
        for short, long in (
            ("key", "access_key_id"),
            ("secret", "secret_access_key"),
            ("token", "session_token"),
        )
        if values.get(f"aws_{long}")
    }
    if not {"key", "secret"} <= keys.keys():
        keys = _requested_keys(chosen) if any(values.get(option) for option in _NEEDS_REQUEST) else {}
    return Profile(chosen, keys, values.get("region"), values.get("endpoint_url"))


def _section(path: str, name: str, prefix: str) -> dict[str, str]:
    """Return the settings of a profile in a file; empty if missing."""
    parser = ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, Error, UnicodeDecodeError) as error:
        # A parser's error quotes lines of the file, which contain secrets.
        raise StorageError(f"Cannot read {path} for AWS profiles: {type(error).__name__}.") from None
    for section in (f"{prefix}{name}", name if name == "default" else None):
        if section is not None and parser.has_section(section):
            return dict(parser.items(section))
    return {}


def _requested_keys(name: str) -> dict[str, str]:
    try:
        import boto3  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise MissingDependencyError(
            f"The keys of the AWS profile {name!r} come from a request (single sign-on, a role or a process), which "
            "needs boto3: pip install boto3, or pass key, secret and token."
        ) from None
    try:
        credentials = boto3.Session(profile_name=name).get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except Exception as error:  # of boto3, or of a process that the profile starts
        raise AccessError(f"boto3 found no keys for the AWS profile {name!r}: {error}.") from error
    if frozen is None:
        raise AccessError(f"boto3 found no keys for the AWS profile {name!r}.")
    keys = {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    return {option: value for option, value in keys.items() if value}
