"""Convert resolved credentials to options of fsspec file systems, for URLs that chain several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError
from lamella.store.addresses import clean_url
from lamella.store.credentials import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.store.credentials import Resolved


def chain_options(url: str, storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fsspec options of a chained URL by protocol, with the credentials of its last URL.

    >>> chain_options("simplecache::s3://bucket/a.zarr", {"s3": {"anon": True}})["s3"]["anon"]
    True
    """
    options = dict(storage_options or {})
    last = url.rpartition("::")[2]
    protocol = last.partition("://")[0]
    if protocol in ("s3", "s3a"):
        options[protocol] = _s3_options(resolve(last, options.get(protocol)))
    return options


def _s3_options(resolved: Resolved) -> dict[str, Any]:
    config = resolved.config
    if "default_headers" in resolved.client_options:
        raise InvalidArgumentError(
            f"Cannot open {clean_url(resolved.url)} behind another URL with headers: s3fs sends none. Leave them "
            "out, or open it by itself."
        )
    options: dict[str, Any] = {"client_kwargs": {"region_name": config["region"]}}
    if "endpoint" in config:
        options["endpoint_url"] = config["endpoint"]
    if config.get("request_payer"):
        options["requester_pays"] = True
    if config.get("skip_signature"):
        options["anon"] = True
    if resolved.credential_provider is not None:
        keys = dict(resolved.credential_provider.values)
        options |= {"key": keys["access_key_id"], "secret": keys["secret_access_key"]}
        if "token" in keys:
            options["token"] = keys["token"]
    settings: dict[str, Any] = {}
    if "read_timeout" in resolved.client_options:
        seconds = resolved.client_options["read_timeout"].total_seconds()
        settings |= {"connect_timeout": seconds, "read_timeout": seconds}
    if "retries" in resolved.options:
        settings["retries"] = {"max_attempts": resolved.retry_config["max_retries"]}
    if settings:
        options["config_kwargs"] = settings
    return options
