"""Resolve the credentials and settings of URLs from ``storage_options``, the environment and profile files.

Explicit options come before the environment, the environment before AWS profiles (boto3, if installed, resolves those
whose keys need a request). Requests are anonymous only with ``anon=True``, and use the metadata service of a cloud
machine only with ``instance_role=True``. No repr and no message contains a secret.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping, Set
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from lamella.errors import (
    AccessError,
    InvalidArgumentError,
    StorageError,
    UnknownOptionError,
    clause,
    counted,
    importing,
)
from lamella.store.objects.addresses import KINDS, clean_url, is_chained
from lamella.store.objects.block_cache import DEFAULT_BYTES
from lamella.store.objects.url_checks import check_url

_TEXT, _SWITCH, _NUMBER, _MAPPING = "text", "true or false", "a number", "a mapping"


class _Option(NamedTuple):
    """An option of a service: its type, the variables of the environment for it, and whether it grants access."""

    type: str
    variables: tuple[str, ...] = ()
    is_key: bool = False


_COMMON = {
    "anon": _Option(_SWITCH),
    "headers": _Option(_MAPPING),
    "timeout": _Option(_NUMBER),
    "retries": _Option(_NUMBER),
    "cache": _Option(_TEXT),
    "cache_size": _Option(_NUMBER),
}
_ROLE = {"instance_role": _Option(_SWITCH, is_key=True)}
_OPTIONS: dict[str, dict[str, _Option]] = {
    "s3": {
        **_COMMON,
        **_ROLE,
        "endpoint_url": _Option(_TEXT, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")),
        "key": _Option(_TEXT, ("AWS_ACCESS_KEY_ID",), is_key=True),
        "secret": _Option(_TEXT, ("AWS_SECRET_ACCESS_KEY",), is_key=True),
        "token": _Option(_TEXT, ("AWS_SESSION_TOKEN",), is_key=True),
        "profile": _Option(_TEXT, ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"), is_key=True),
        "region": _Option(_TEXT, ("AWS_REGION", "AWS_DEFAULT_REGION")),
        "requester_pays": _Option(_SWITCH),
        "client_kwargs": _Option(_MAPPING),
    },
    "gs": {
        **_COMMON,
        **_ROLE,
        "endpoint_url": _Option(_TEXT, ("STORAGE_EMULATOR_HOST",)),
        "token": _Option("text or a mapping", is_key=True),
        "project": _Option(_TEXT),
        "requester_pays": _Option(_SWITCH),
    },
    "az": {
        **_COMMON,
        **_ROLE,
        "endpoint_url": _Option(_TEXT, ("AZURE_STORAGE_ENDPOINT",)),
        "account_name": _Option(_TEXT, ("AZURE_STORAGE_ACCOUNT_NAME",)),
        "account_key": _Option(_TEXT, ("AZURE_STORAGE_ACCOUNT_KEY",), is_key=True),
        "sas_token": _Option(_TEXT, ("AZURE_STORAGE_SAS_TOKEN",), is_key=True),
        "connection_string": _Option(_TEXT, ("AZURE_STORAGE_CONNECTION_STRING",), is_key=True),
        "token": _Option(_TEXT, is_key=True),
        "tenant_id": _Option(_TEXT, ("AZURE_TENANT_ID",)),
        "client_id": _Option(_TEXT, ("AZURE_CLIENT_ID",)),
        "client_secret": _Option(_TEXT, ("AZURE_CLIENT_SECRET",), is_key=True),
    },
    "http": {**_COMMON, "token": _Option(_TEXT, is_key=True)},
}
"""The options by service (`addresses.KINDS`) and name, in the spelling of fsspec."""

_SIGNED_FOR_ONE_FILE = ("x-amz-signature", "x-goog-signature", "awsaccesskeyid", "googleaccessid")


class StaticCredentials(NamedTuple):
    """Constant keys, as obstore's credential provider; they override the environment."""

    values: tuple[tuple[str, str], ...]

    def __call__(self) -> dict[str, Any]:
        """Return the keys, which never expire."""
        return {**dict(self.values), "expires_at": None}

    def __repr__(self) -> str:
        return "StaticCredentials(...)"


@dataclass(frozen=True)
class ResolvedUrl:
    """How one URL is opened."""

    kind: str
    """One of "s3", "gs", "az" and "http"; "" for other URLs, whose `options` fsspec reads itself."""
    url: str = field(repr=False)
    """The URL to open, without user name and password; the signature of a web URL stays in it."""
    origin: str = "no credentials"
    """Source of the credentials, for messages."""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    client_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    retry_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credential_provider: StaticCredentials | None = field(default=None, repr=False)
    """``config``, ``client_options``, ``retry_config`` and ``credential_provider``: settings in the spelling of
    obstore."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The caller's options, unchanged."""
    cache: str = field(default="", repr=False)
    cache_size: int = field(default=DEFAULT_BYTES, repr=False)
    """``cache`` and ``cache_size``: a folder where chunks are cached, and its limit in bytes; "" for none."""


class _Access(NamedTuple):
    """Configuration of one service, with the source of its credentials."""

    config: dict[str, Any]
    origin: str
    keys: StaticCredentials | None = None
    headers: Mapping[str, str] | None = None


def resolve(
    url: str, storage_options: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> ResolvedUrl:
    """Return how to open a URL: its credentials, endpoint, headers, timeouts and retries.

    ``storage_options`` are in the spelling of fsspec; text such as "true" or "30" is converted. ``environment`` is that
    of the process by default. Raises `UnknownOptionError`, `InvalidArgumentError` for a value of a wrong type,
    `AccessError` where there are no credentials and ``anon=True`` is not set, and `MissingDependencyError` for a
    profile that needs boto3.
    """
    passed_options = dict(_mapping(storage_options))
    scheme = url.partition("://")[0].lower()
    kind = "" if is_chained(url) else KINDS.get(scheme, "")
    check_url(url)
    if scheme == "memory":
        refuse_options(passed_options, url)
    if not kind:
        return ResolvedUrl("", url, options=passed_options)
    environment = os.environ if environment is None else environment
    options = _check_options(url, kind, passed_options)
    if kind == "http":
        url, access = _web_access(url, options)
    elif kind == "s3":
        access = _s3_access(url, options, environment)
    elif kind == "gs":
        access = _google_access(url, options, environment)
    else:
        url, access = _azure_access(url, options, environment)
    return ResolvedUrl(
        kind,
        url,
        access.origin,
        access.config,
        _client_options(url, options, access),
        _retry_config(options, environment),
        access.keys,
        passed_options,
        options.get("cache", ""),
        int(options.get("cache_size", DEFAULT_BYTES)),
    )


def accepts_options(url: str, storage_options: Mapping[str, Any]) -> bool:
    """Whether a URL can be opened with options: it is not one of this process or machine, and has such options."""
    scheme = url.lower().removeprefix("icechunk+").partition(":")[0]
    if scheme in ("memory", "file"):
        return False
    kind = "" if is_chained(url) else KINDS.get(scheme, "")
    return not kind or _mapping(storage_options).keys() <= _OPTIONS[kind].keys()


def refuse_options(storage_options: object, where: str) -> None:
    """Raise `InvalidArgumentError` where options are passed for a path, which needs none."""
    names = ", ".join(map(str, _mapping(storage_options)))
    if names:
        raise InvalidArgumentError(
            f"{where} is opened without storage_options, which are for URLs: leave out {names}."
        )


def option_names(kind: str) -> Set[str]:
    """Return the names of the options of a kind of URL."""
    return _OPTIONS[kind].keys()


def _mapping(options: object) -> Mapping[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InvalidArgumentError(
            f"The argument storage_options is a mapping such as {{'anon': True}}, not of type {type(options).__name__}."
        )
    return options


def _check_options(url: str, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by name, converted to their types; options that are None are left out."""
    known_options = _OPTIONS[kind]
    unknown = [str(name) for name in options if name not in known_options]
    if unknown:
        raise UnknownOptionError(
            f"Cannot open {clean_url(url)}: storage_options has {counted(len(unknown), 'unknown option')}, "
            f"{', '.join(unknown)}. Known for this kind of URL are {', '.join(sorted(known_options))}."
        )
    converted = {
        name: _convert_option(name, value, known_options[name].type)
        for name, value in options.items()
        if value is not None
    }
    client_kwargs = {**converted.pop("client_kwargs", {})}
    for name, option in (("region_name", "region"), ("endpoint_url", "endpoint_url")):
        if name in client_kwargs:
            converted.setdefault(option, str(client_kwargs.pop(name)))
    if client_kwargs:
        raise UnknownOptionError(
            f"Cannot open {clean_url(url)}: client_kwargs of storage_options has unknown names, "
            f"{', '.join(map(str, client_kwargs))}. Known are region_name, endpoint_url."
        )
    if converted.get("anon") and (key_options := sorted(converted.keys() & _key_options(kind))):
        raise InvalidArgumentError(
            f"Cannot open {clean_url(url)}: storage_options has anon=True and {key_options[0]}, which exclude "
            "each other."
        )
    return converted


def _key_options(kind: str) -> set[str]:
    """Return the options of a service that grant access, and so exclude ``anon``."""
    return {name for name, option in _OPTIONS[kind].items() if option.is_key}


def _environment_options(kind: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a service from the variables of the environment."""
    options: dict[str, str] = {}
    for name, option in _OPTIONS[kind].items():
        for variable in option.variables:
            if environment.get(variable):
                options.setdefault(name, environment[variable])
    return options


def _convert_option(name: str, value: Any, option_type: str) -> Any:
    """Return an option converted to its type; no message contains the value, which may be a secret."""
    if option_type == _SWITCH:
        switch = {"true": True, "false": False}.get(str(value).lower())
        if switch is not None:
            return switch
    elif option_type == _NUMBER:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if 0 <= number < float("inf") and not isinstance(value, bool):
            return number
        option_type = "a number from 0 on"
    elif isinstance(value, Mapping) and option_type != _TEXT:
        return {str(key): member for key, member in value.items()}
    elif (
        option_type != _MAPPING and isinstance(value, (str, os.PathLike, int)) and not isinstance(value, bool)
    ):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    raise InvalidArgumentError(
        f"The option {name!r} of storage_options is {option_type}, not a {type(value).__name__} like the one given."
    )


def _client_options(url: str, options: Mapping[str, Any], access: _Access) -> dict[str, Any]:
    headers = {
        **{name: str(value) for name, value in options.get("headers", {}).items()},
        **(access.headers or {}),
    }
    client_options: dict[str, Any] = {"default_headers": headers} if headers else {}
    endpoint = str(access.config.get("endpoint") or access.config.get("base_url") or url)
    if endpoint.lower().startswith("http://"):
        client_options["allow_http"] = True
    if "timeout" in options:  # of connecting, and of waiting for the next bytes
        client_options |= dict.fromkeys(
            ("connect_timeout", "read_timeout"), timedelta(seconds=options["timeout"])
        )
    return client_options


def _retry_config(options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return how often a request is repeated, where options or environment state that."""
    attempts = environment.get("AWS_MAX_ATTEMPTS", "")
    if "retries" in options:
        return {"max_retries": int(options["retries"])}
    return {"max_retries": max(0, int(attempts) - 1)} if attempts.isdecimal() else {}


# ---- S3 ---------------------------------------------------------------------------------------------


def _s3_access(url: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> _Access:
    profile = None
    has_keys = "key" in options or "secret" in options
    if has_keys and not {"key", "secret"} <= options.keys():
        raise InvalidArgumentError(
            f"Cannot open {clean_url(url)}: storage_options needs both key and secret, or neither."
        )
    environment_options = _environment_options("s3", environment)
    from_environment = {"key", "secret"} <= environment_options.keys()
    if "profile" in options or not (has_keys or from_environment or options.get("anon")):
        profile = read_profile(options.get("profile"), environment)
    region = options.get("region") or environment_options.get("region") or (profile and profile.region)
    config: dict[str, Any] = {"region": region or "us-east-1"}
    endpoint = (
        options.get("endpoint_url")
        or environment_options.get("endpoint_url")
        or (profile and profile.endpoint)
    )
    if endpoint:
        config["endpoint"] = str(endpoint).rstrip("/")
    if options.get("requester_pays"):
        config["request_payer"] = True
    if options.get("anon"):
        return _Access({**config, "skip_signature": True}, _ANONYMOUS)
    if has_keys:
        return _Access(config, "the key and secret of storage_options", _s3_keys(options))
    if "profile" not in options and from_environment:
        return _Access(config, "AWS_ACCESS_KEY_ID of the environment", _s3_keys(environment_options))
    if profile is not None and profile.keys:
        return _Access(config, profile.origin, _s3_keys(profile.keys))
    for name in _CONTAINER_VARIABLES:
        if environment.get(name):
            return _Access(config, f"{name} of the environment")
    if options.get("instance_role"):
        return _Access(config, "the role of this machine (instance_role=True)")
    raise _no_credentials(
        url,
        "key and secret of storage_options, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, and "
        "profiles in ~/.aws",
    )


_ANONYMOUS = "no credentials (anon=True)"
_CONTAINER_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def _s3_keys(keys: Mapping[str, str]) -> StaticCredentials:
    names = {"key": "access_key_id", "secret": "secret_access_key", "token": "token"}
    return StaticCredentials(tuple((long, keys[short]) for short, long in names.items() if keys.get(short)))


def _no_credentials(url: str, looked_for: str) -> AccessError:
    return AccessError(
        f"Cannot open {clean_url(url)}: there are no credentials. Looked for {looked_for}. Pass credentials, or "
        "anon=True (--storage anon=true) for public data, or instance_role=True (--storage instance_role=true) to ask "
        "the metadata service of this machine."
    )


# ---- Google, Azure ------------------------------------------------------------------------------------


_NO_TOKEN = StaticCredentials((("token", ""),))
"""Without it obstore asks the metadata service for a token before an anonymous write."""


def _google_access(url: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> _Access:
    config: dict[str, Any] = {}
    endpoint = options.get("endpoint_url") or _environment_options("gs", environment).get("endpoint_url")
    if endpoint:
        config["base_url"] = endpoint if "://" in endpoint else f"http://{endpoint}"
    headers = {}
    if options.get("requester_pays"):
        if "project" not in options:
            raise InvalidArgumentError(
                f"Cannot open {clean_url(url)}: requester_pays needs the project that pays, as project."
            )
        headers["x-goog-user-project"] = options["project"]
    token = options.get("token")
    if options.get("anon") or token == "anon":
        access = _Access({"skip_signature": True}, _ANONYMOUS, _NO_TOKEN)
    elif token is not None:
        access = _google_token(token)
    else:
        access = _google_default(url, bool(options.get("instance_role")), environment)
    return access._replace(config={**config, **access.config}, headers=headers)


def _google_token(token: Any) -> _Access:
    """Return the access of a service account, its file, or a token."""
    if isinstance(token, Mapping):
        return _Access({"service_account_key": json.dumps(token)}, "the service account of storage_options")
    file = os.path.expanduser(token)
    if os.path.isfile(file):
        return _Access({"application_credentials": file}, f"the file {file}")
    return _Access({}, "the token of storage_options", StaticCredentials((("token", token),)))


def _google_default(url: str, instance_role: bool, environment: Mapping[str, str]) -> _Access:
    """Return the access of the environment, the gcloud command line, or the machine."""
    for name, setting in (
        ("GOOGLE_APPLICATION_CREDENTIALS", "application_credentials"),
        ("GOOGLE_SERVICE_ACCOUNT", "service_account"),
        ("GOOGLE_SERVICE_ACCOUNT_PATH", "service_account"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),
    ):
        if environment.get(name):
            return _Access({setting: environment[name]}, f"{name} of the environment")
    folder = environment.get("CLOUDSDK_CONFIG") or os.path.expanduser("~/.config/gcloud")
    default = os.path.join(folder, "application_default_credentials.json")
    if os.path.isfile(default):
        return _Access({"application_credentials": default}, f"the file {default}")
    if instance_role:
        return _Access({}, "the role of this machine (instance_role=True)")
    raise _no_credentials(
        url, f"token of storage_options, GOOGLE_APPLICATION_CREDENTIALS of the environment, and {default}"
    )


def _azure_access(
    url: str, options: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str, _Access]:
    url, _, query = url.partition("?")  # a SAS token
    environment_options = _environment_options("az", environment)
    own_options = {**({"sas_token": query} if query else {}), **options}
    keys = _key_options("az") - _ROLE.keys()
    if own_options.keys() & keys or own_options.get("anon") or own_options.get("instance_role"):
        environment_options = {
            name: credential for name, credential in environment_options.items() if name not in keys
        }
    all_options = {
        **environment_options,
        **_connection_options(
            own_options.get("connection_string") or environment_options.get("connection_string")
        ),
        **own_options,
    }
    host = urlsplit(url).hostname or ""
    if "@" in url:
        all_options.setdefault("account_name", host.partition(".")[0])
    config = {"account_name": all_options["account_name"]} if "account_name" in all_options else {}
    if "account_name" not in config:
        raise InvalidArgumentError(
            f"Cannot open {clean_url(url)}: it names no storage account. Pass account_name in storage_options, or set "
            "AZURE_STORAGE_ACCOUNT_NAME."
        )
    if "endpoint_url" in all_options:
        config["endpoint"] = all_options["endpoint_url"].rstrip("/")
    origin = "storage_options" if own_options.keys() & keys else "the environment"
    if all_options.get("anon"):
        return url, _Access({**config, "skip_signature": True}, _ANONYMOUS)
    for name, key in (("account_key", "access_key"), ("sas_token", "sas_token"), ("token", "token")):
        if name in all_options:
            credential = all_options[name].lstrip("?") if name == "sas_token" else all_options[name]
            return url, _Access(config, f"the {name} of {origin}", StaticCredentials(((key, credential),)))
    secret_options = ("tenant_id", "client_id", "client_secret")
    if all(name in all_options for name in secret_options):
        return url, _Access(
            {**config, **{name: all_options[name] for name in secret_options}},
            f"the client secret of {origin}",
        )
    if environment.get("AZURE_FEDERATED_TOKEN_FILE"):
        return url, _Access(config, "AZURE_FEDERATED_TOKEN_FILE of the environment")
    if all_options.get("instance_role"):
        return url, _Access(config, "the role of this machine (instance_role=True)")
    raise _no_credentials(
        url,
        "account_key, sas_token, connection_string, token and client_secret of storage_options, and "
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN and AZURE_STORAGE_CONNECTION_STRING of the environment",
    )


def _connection_options(text: str | None) -> dict[str, str]:
    """Return the options in a connection string of Azure."""
    pairs = dict(pair.split("=", 1) for pair in (text or "").split(";") if "=" in pair)
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_token",
        "BlobEndpoint": "endpoint_url",
    }
    return {option: pairs[name] for name, option in names.items() if name in pairs}


# ---- the web ----------------------------------------------------------------------------------------


def _web_access(url: str, options: Mapping[str, Any]) -> tuple[str, _Access]:
    parsed_url = urlsplit(url)
    user, _, host = parsed_url.netloc.rpartition("@")
    url = urlunsplit((parsed_url.scheme, host, parsed_url.path.rstrip("/"), parsed_url.query, ""))
    if "token" in options:
        headers = {"Authorization": f"Bearer {options['token']}"}
        return url, _Access({}, "the token of storage_options", None, headers)
    if user and not options.get("anon"):
        encoded = b64encode(unquote(user).encode()).decode()
        headers = {"Authorization": f"Basic {encoded}"}
        return url, _Access({}, "the user and password of the URL", None, headers)
    if any(name.lower() in ("authorization", "cookie") for name in options.get("headers", {})):
        return url, _Access({}, "the headers of storage_options")
    return url, _Access({}, "the signature of the URL" if parsed_url.query else "no credentials")


def refuse_signed_file(url: str) -> None:
    """Raise where a URL is signed for one file: a store has many."""
    names = {name.lower(): values[0] for name, values in parse_qs(url.partition("?")[2], True).items()}
    if any(name in names for name in _SIGNED_FOR_ONE_FILE) or names.get("sr") == "b":
        raise InvalidArgumentError(
            f"Cannot open {clean_url(url)}: the URL is signed for this one file, and a store has many. Use a URL that "
            "is signed for a folder (a SAS token of Azure, a signed policy of a CDN), credentials in storage_options, "
            "or pack the store into one file (.ozx) and sign that."
        )


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
    requested = name or _environment_options("s3", environment).get("profile")
    profile_name = requested or "default"
    files = [
        os.path.expanduser(environment.get(variable) or f"~/.aws/{file}")
        for variable, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    ]
    settings = {**_section(files[0], profile_name, "profile "), **_section(files[1], profile_name, "")}
    if not settings:
        if requested is None:
            return None
        raise AccessError(
            f"There is no AWS profile {profile_name!r} in {files[1]} or {files[0]}. Check the name, or pass key and "
            "secret."
        )
    keys = {
        short: settings[f"aws_{long}"]
        for short, long in (
            ("key", "access_key_id"),
            ("secret", "secret_access_key"),
            ("token", "session_token"),
        )
        if settings.get(f"aws_{long}")
    }
    if not {"key", "secret"} <= keys.keys():
        keys = _requested_keys(profile_name) if any(settings.get(option) for option in _NEEDS_REQUEST) else {}
    return Profile(profile_name, keys, settings.get("region"), settings.get("endpoint_url"))


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
    with importing(
        f"The keys of the AWS profile {name!r} come from a request (single sign-on, a role or a process), which "
        "needs boto3: pip install boto3, or pass key, secret and token."
    ):
        import boto3  # type: ignore[import-untyped,import-not-found,unused-ignore]
    try:
        credentials = boto3.Session(profile_name=name).get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except Exception as error:  # of boto3, or of a process that the profile starts
        raise AccessError(
            f"Cannot read the keys of the AWS profile {name!r} with boto3: {clause(error)}."
        ) from error
    if frozen is None:
        raise AccessError(
            f"There are no keys of the AWS profile {name!r}: boto3 found none. Check the profile, or pass key and "
            "secret."
        )
    keys = {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    return {option: value for option, value in keys.items() if value}
