"""Open stores of icechunk, whose repositories keep every version of a store; imported on first use.

``icechunk+s3://bucket/plate@main``: behind the last ``@`` of its path, a URL names a branch, a tag or a snapshot id;
without ``@``, the branch ``main``. Branches are read at their newest snapshot and can be written; tags and snapshots
are read only. Others see changes after `VersionedStorage.commit`.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from lamella.errors import (
    ConflictError,
    InvalidArgumentError,
    ReadOnlyError,
    StorageError,
    StoreNotFoundError,
    importing,
)
from lamella.store.keys import V2, is_document, is_private
from lamella.store.objects.addresses import clean_url
from lamella.store.objects.credentials import refuse_options, resolve
from lamella.store.objects.object_client import check_process
from lamella.store.objects.service import Service
from lamella.store.objects.service_errors import explained, request_error
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.paths import location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer

_STORED = re.compile(r"(?:.+/)?(?:zarr\.json|c(?:/\d+)*)", re.ASCII)


class SessionService(Service):
    """A store of icechunk, for use inside the event loop; `records` has the files that a session cannot store."""

    def __init__(self, store: Store, address: str, records: dict[str, bytes]) -> None:
        super().__init__(store, address)
        self.records = records

    def can_store(self, key: str) -> bool:
        """Whether the session can store a key, or `records` can."""
        return _is_record(key) or _STORED.fullmatch(key) is not None

    # ---- reading --------------------------------------------------------------------------------

    async def get(
        self, key: str, byte_range: ByteRequest | None = None, prototype: Any = None
    ) -> Buffer | None:
        if _is_record(key):
            return self._record(key, byte_range)
        return await super().get(key, byte_range, prototype) if self.can_store(key) else None

    def _record(self, key: str, byte_range: ByteRequest | None) -> Buffer | None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        data = self.records.get(key)
        if data is None:
            return None
        if isinstance(byte_range, RangeByteRequest):
            data = data[byte_range.start : byte_range.end]
        elif isinstance(byte_range, SuffixByteRequest):
            data = data[-byte_range.suffix :]
        return default_buffer_prototype().buffer.from_bytes(data)

    async def size(self, key: str) -> int | None:
        if _is_record(key):
            return len(self.records[key]) if key in self.records else None
        return await super().size(key) if self.can_store(key) else None

    async def _reported_size(self, key: str) -> int | None:
        # icechunk 2.3 reports 0 bytes for missing chunks, and an error for a group named "c", whose key is that of the
        # chunk of an array without axes.
        try:
            size = await super()._reported_size(key)
        except Exception as error:
            if "not an array" in str(error):
                raise FileNotFoundError(key) from error
            raise
        if size == 0 and not await self.store.exists(key):
            raise FileNotFoundError(key)
        return size

    async def list_dir(self, prefix: str) -> set[str]:
        folder = f"{prefix}/" if prefix else ""
        names = {key.removeprefix(folder).partition("/")[0] for key in self.records if key.startswith(folder)}
        return names | await super().list_dir(prefix)

    async def sizes_below(self, prefix: str) -> dict[str, int]:
        folder = f"{prefix}/" if prefix else ""
        records = {key: len(data) for key, data in self.records.items() if key.startswith(folder)}
        if await self.get(f"{folder}zarr.json") is None:
            return records  # icechunk lists below groups and arrays only
        return {**await super().sizes_below(prefix), **records}

    # ---- writing --------------------------------------------------------------------------------

    async def set_many(self, values: dict[str, bytes]) -> None:
        """Write several keys at once: groups before arrays, and arrays before their chunks."""
        documents = sorted(filter(is_document, values), key=lambda name: name.count("/"))
        for key in documents:
            await self.set(key, values[key])
        await super().set_many({key: data for key, data in values.items() if key not in documents})

    async def set(self, key: str, data: bytes) -> None:
        if _is_record(key):
            self.records[key] = data
        elif self.can_store(key):
            await super().set(key, data)
        else:
            raise StorageError(
                f"Cannot write {key!r} in {self.address}: icechunk stores Zarr v3 only, and this is a file of Zarr v2, "
                "as OME-NGFF 0.4 has them. Create the store with version='0.5' or '0.6'."
                if key.rpartition("/")[2] in V2.document_names
                else f"Cannot write {key!r} in {self.address}: icechunk stores documents and chunks of Zarr, and no "
                "other files."
            )

    async def delete_keys(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys: chunks before their arrays, and arrays before groups."""
        for key in sorted(keys, key=lambda name: (is_document(name), -name.count("/"))):
            if self.records.pop(key, None) is not None or not self.can_store(key):
                continue
            with explained("delete", key, self.address):
                await self.store.delete(key)

    async def delete_below(self, prefix: str) -> None:
        folder = f"{prefix}/" if prefix else ""
        for key in [key for key in self.records if key.startswith(folder)]:
            del self.records[key]
        if await self.get(f"{folder}zarr.json") is not None:
            await super().delete_below(prefix)


def _is_record(key: str) -> bool:
    return _STORED.fullmatch(key) is None and any(map(is_private, key.split("/")))


_PREFIX = "icechunk+"
_DEFAULT_BRANCH = "main"
_SNAPSHOT = re.compile(r"[0-9A-Z]{20}")


def split_address(url: str) -> tuple[str, str]:
    """Return the URL of a repository, and the name of the branch, tag or snapshot."""
    scheme, slashes, after_scheme = url[len(_PREFIX) :].partition("://")
    host, slash, path = after_scheme.partition("/")
    path, _, name = path.rpartition("@") if "@" in path else (path, "", _DEFAULT_BRANCH)
    return f"{scheme}{slashes}{host}{slash}{path.rstrip('/')}", name


class _OpenSession:
    """A store of a session and its `SessionService.records`, shared by all storages of the session.

    icechunk returns another session object each time.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.records: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        """A description that no two open sessions share."""
        session = self.store.session
        return f"icechunk session {session.branch or session.snapshot_id} ({id(self)})"


_open_sessions: WeakSet[_OpenSession] = WeakSet()
_opening = Lock()


def _open_session(store: Any) -> _OpenSession:
    with _opening:
        for opened in _open_sessions:
            if opened.store == store:
                return opened
        opened = _OpenSession(store)
        _open_sessions.add(opened)
        return opened


class VersionedStorage(ZarrStorage):
    """A session of icechunk as a storage.

    Where lamella opened the `repository` from a URL, it starts a new session after each commit. A session that the user
    opened ends with its commit.
    """

    chunks_need_array = True

    def __init__(
        self, store: Any, read_only: bool = False, address: str | None = None, repository: Any = None
    ) -> None:
        self._opened = _open_session(store)
        super().__init__(store, read_only, address or self._opened.name)
        self._repository = repository
        self.lock_root = f"icechunk:{id(self._opened)}"

    def _new_service(self) -> Service:
        return SessionService(self.store, self._address, self._opened.records)

    def __reduce__(self) -> tuple[object, ...]:
        if not self.store.read_only:
            raise StorageError(
                f"Cannot send {self.name} to another process: its changes are not committed and exist in this process "
                "only. Use threads, or commit and open it for reading."
            )
        return VersionedStorage, (self.store, self.read_only, self._address)

    @property
    def has_own_changes(self) -> bool:
        return self._repository is not None and self._session.has_uncommitted_changes

    @property
    def _session(self) -> Any:
        return self.store.session  # type: ignore[attr-defined]

    def commit(self, message: str, *, rebase: bool = False) -> str:
        import icechunk

        self.check_writable("")
        session = self._session
        if session.read_only:
            raise ReadOnlyError(
                f"Cannot commit {self.name}: its session has ended with a commit. Begin another session of the "
                "repository, and open its store."
            )
        if not session.has_uncommitted_changes:
            raise InvalidArgumentError(
                f"Cannot commit {self.name}: nothing was changed since the last commit."
            )
        branch = session.branch
        solver = icechunk.ConflictDetector() if rebase else None
        try:
            snapshot: str = session.commit(message, rebase_with=solver)
        except icechunk.ConflictError as error:
            raise _conflict(self.name, branch, error, rebase) from error
        except icechunk.IcechunkError as error:
            raise request_error("commit", "", self.name, error) from error
        if self._repository is not None:
            self.store = self._repository.writable_session(branch).store
            self._service.store = self._opened.store = self.store
        return snapshot


def _conflict(name: str, branch: str, error: Any, rebase: bool) -> ConflictError:
    paths = sorted({str(conflict.path) for conflict in getattr(error, "conflicts", None) or ()})
    both_paths = (
        f" Both changed {', '.join(paths[:5])}{' and others' if len(paths) > 5 else ''}." if paths else ""
    )
    advice = (
        "Open the store again, make the changes again and commit."
        if rebase
        else "Commit with rebase=True, which succeeds where the changes do not meet, or open the store again."
    )
    return ConflictError(
        f"Cannot commit {name}: another session committed to the branch {branch!r} since this one began.{both_paths} "
        f"Nothing of this session was stored. {advice}"
    )


def from_versioned_url(
    url: str, *, read_only: bool, must_exist: bool, storage_options: Mapping[str, Any] | None
) -> VersionedStorage:
    """Open a branch, a tag or a snapshot of a repository; create the repository where it may be missing.

    Raises `StoreNotFoundError` where it is missing, and `ReadOnlyError` for writing to a tag or snapshot.
    """
    icechunk = _imported(url)
    check_process(clean_url(url))
    inner, name = split_address(url)
    repository_storage = _repository_storage(icechunk, inner, storage_options)
    address = clean_url(url)
    try:
        if icechunk.Repository.exists(repository_storage):
            repository = icechunk.Repository.open(repository_storage)
        elif read_only or must_exist or name != _DEFAULT_BRANCH:
            raise StoreNotFoundError(
                f"There is no repository of icechunk at {clean_url(inner)}. Check the URL."
            )
        else:
            repository = icechunk.Repository.create(repository_storage)
        session = _session(repository, name, address, read_only)
    except icechunk.IcechunkError as error:
        raise request_error("open", "", address, error) from error
    return VersionedStorage(session.store, read_only, address, None if session.read_only else repository)


def _session(repository: Any, name: str, address: str, read_only: bool) -> Any:
    branches, tags = repository.list_branches(), repository.list_tags()
    if name in branches:
        return repository.readonly_session(name) if read_only else repository.writable_session(name)
    if name not in tags and not _is_snapshot(repository, name):
        raise StoreNotFoundError(
            f"There is no branch, tag or snapshot {name!r} in {address}. It has the branches "
            f"{', '.join(sorted(branches))} and the tags {', '.join(sorted(tags)) or '(none)'}."
        )
    if not read_only:
        raise ReadOnlyError(
            f"Cannot open {address} for writing: {name!r} is no branch, and tags and snapshots never change. "
            "Use mode='r', or a branch."
        )
    return repository.readonly_session(**({"tag": name} if name in tags else {"snapshot_id": name}))


def _is_snapshot(repository: Any, name: str) -> bool:
    import icechunk

    if _SNAPSHOT.fullmatch(name) is None:
        return False
    try:
        repository.lookup_snapshot(name)
    except (icechunk.SnapshotNotFoundError, icechunk.InvalidInputError):
        return False
    return True


def from_versioned_store(target: Any, *, read_only: bool) -> VersionedStorage:
    """Open the storage of a store or session of icechunk."""
    store = getattr(target, "store", target) if not hasattr(target, "supports_listing") else target
    if not hasattr(store, "supports_listing"):
        raise InvalidArgumentError(
            f"Cannot open {' '.join(repr(target).split())}: pass a session of the repository, or a URL such as "
            "icechunk+file:///data/plate@main."
        )
    return VersionedStorage(store, read_only or store.read_only)


def _imported(url: str) -> Any:
    with importing(
        f"Opening {clean_url(url)} needs icechunk: pip install 'lamella[icechunk]' (Python 3.12 or newer)."
    ):
        import icechunk
    return icechunk


def _repository_storage(icechunk: Any, inner: str, storage_options: Mapping[str, Any] | None) -> Any:
    if inner.lower().startswith("file:"):
        refuse_options(storage_options, inner)
        return icechunk.local_filesystem_storage(location(inner))
    resolved = resolve(inner, storage_options)
    bucket, _, prefix = resolved.url.partition("://")[2].partition("/")
    config, keys = resolved.config, dict(getattr(resolved.credential_provider, "values", ()))
    anonymous = bool(config.get("skip_signature"))
    access: dict[str, Any] = {"anonymous": True} if anonymous else {} if keys else {"from_env": True}
    if resolved.kind == "s3":
        return icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            region=config["region"],
            endpoint_url=config.get("endpoint"),
            allow_http=bool(resolved.client_options.get("allow_http")),
            force_path_style="endpoint" in config,
            access_key_id=keys.get("access_key_id"),
            secret_access_key=keys.get("secret_access_key"),
            session_token=keys.get("token"),
            requester_pays=bool(config.get("request_payer")),
            headers=resolved.client_options.get("default_headers"),
            **access,
        )
    if resolved.kind == "gs":
        service_account = {
            name: config[name]
            for name in ("service_account_key", "application_credentials")
            if name in config
        }
        access = {"bearer_token": keys["token"]} if keys.get("token") else service_account or access
        return icechunk.gcs_storage(bucket=bucket, prefix=prefix, **access)
    if resolved.kind == "az":
        names = {"access_key": "access_key", "sas_token": "sas_token", "token": "bearer_token"}
        credentials = {names[name]: value for name, value in keys.items()}
        container = bucket.partition("@")[0]
        return icechunk.azure_storage(
            account=config["account_name"], container=container, prefix=prefix, **(credentials or access)
        )
    if resolved.kind == "http":
        return icechunk.http_storage(resolved.url, headers=resolved.client_options.get("default_headers"))
    raise InvalidArgumentError(
        f"Cannot open {clean_url(inner)} as a repository of icechunk: it lies at an s3, gs, az, https or file URL."
    )
