"""Law: credentials come from where they were asked for, in one order; anonymous only when asked; shown nowhere."""

from __future__ import annotations

import pickle
import zipfile
from base64 import b64encode

import numpy as np
import pytest

import lamella
from lamella.errors import AccessError, InvalidArgumentError, LamellaError, StorageError, UnknownOptionError
from lamella.store.objects.credentials import resolve
from lamella.store.storage import open_storage

SECRET = "s3cr3t-value"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "environment",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": "old",
}


def key_of(resolved):
    return dict(resolved.credential_provider.values).get("access_key_id")


@pytest.fixture
def profiles(tmp_path):
    """An environment without keys and with profile files."""
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = usual\naws_secret_access_key = {SECRET}\n"
        f"[lab]\naws_access_key_id = lab\naws_secret_access_key = {SECRET}\naws_session_token = t%1\n"
    )
    (tmp_path / "config").write_text(
        "[default]\nregion = eu-north-1\n[profile lab]\nregion = eu-west-1\nendpoint_url = http://lab:9000\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = nowhere\n"
    )
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }


def test_keys_of_s3_come_from_options_then_a_profile_then_the_environment_then_the_usual_profile(profiles):
    url = "s3://bucket/a.zarr"
    own = resolve(url, {"key": "mine", "secret": SECRET}, ENVIRONMENT)
    assert own.credential_provider() == {
        "access_key_id": "mine",
        "secret_access_key": SECRET,
        "expires_at": None,  # and not the session token of other keys
    }
    assert key_of(resolve(url, {"profile": "lab"}, {**ENVIRONMENT, **profiles})) == "lab"
    assert key_of(resolve(url, {}, {**ENVIRONMENT, **profiles})) == "environment"
    assert key_of(resolve(url, {}, {**profiles, "AWS_PROFILE": "lab"})) == "lab"
    usual = resolve(url, None, profiles)
    assert (key_of(usual), usual.config["region"]) == ("usual", "eu-north-1")
    lab = resolve(url, {"profile": "lab"}, profiles)
    assert (lab.config["region"], lab.config["endpoint"]) == ("eu-west-1", "http://lab:9000")
    assert lab.client_options["allow_http"]
    assert dict(lab.credential_provider.values)["token"] == "t%1"
    region = resolve(url, {"client_kwargs": {"region_name": "ap-1"}, "anon": True}, profiles).config["region"]
    assert region == "ap-1"


def test_nobody_is_anonymous_by_chance_and_nobody_asks_the_machine_by_chance(profiles, tmp_path):
    nothing = {
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    with pytest.raises(
        AccessError, match=r"no credentials.*AWS_ACCESS_KEY_ID.*anon=True.*--storage instance_role="
    ):
        resolve("s3://bucket/a.zarr", None, nothing)
    for url, options in (("gs://bucket/a.zarr", {}), ("az://container/a.zarr", {"account_name": "a"})):
        with pytest.raises(AccessError, match="no credentials"):
            resolve(url, options, {"CLOUDSDK_CONFIG": str(tmp_path)})
        assert resolve(url, {**options, "anon": True}, {}).config["skip_signature"]
    anonymous = resolve("s3://bucket/a.zarr", {"anon": "true"}, ENVIRONMENT)
    assert anonymous.config["skip_signature"]
    assert anonymous.credential_provider is None
    machine = resolve("s3://bucket/a.zarr", {"instance_role": True}, nothing)
    assert machine.credential_provider is None
    assert "instance_role" in machine.origin
    with pytest.raises(AccessError, match="no AWS profile 'typo'"):
        resolve("s3://bucket/a.zarr", {"profile": "typo"}, profiles)
    with pytest.raises(LamellaError, match="boto3"):  # not installed, or it finds no keys
        resolve("s3://bucket/a.zarr", {"profile": "role"}, profiles)
    with pytest.raises(InvalidArgumentError, match="exclude each other"):
        resolve("s3://bucket/a.zarr", {"anon": True, "key": "a", "secret": "b"}, {})


def test_google_and_azure_are_spelled_for_obstore(tmp_path):
    account = tmp_path / "account.json"
    account.write_text("{}")
    for options, environment, name in (
        ({"token": str(account)}, {}, "application_credentials"),
        ({}, {"GOOGLE_APPLICATION_CREDENTIALS": str(account)}, "application_credentials"),
        ({"token": {"client_email": "a"}}, {}, "service_account_key"),
    ):
        assert name in resolve("gs://bucket/a.zarr", options, environment).config
    assert resolve("gs://bucket/a", {"token": SECRET}, {}).credential_provider()["token"] == SECRET
    emulator = resolve("gs://b/a", {"anon": True}, {"STORAGE_EMULATOR_HOST": "localhost:4443"})
    assert emulator.config["base_url"] == "http://localhost:4443"
    payer = resolve("gs://b/a", {"anon": True, "requester_pays": True, "project": "lab"}, {})
    assert payer.client_options["default_headers"] == {"x-goog-user-project": "lab"}

    url = "abfs://container@account.dfs.core.windows.net/a.zarr"
    other = {"AZURE_STORAGE_ACCOUNT_KEY": "other", "AZURE_STORAGE_ACCOUNT_NAME": "account"}
    for options, expected in (
        ({"account_key": SECRET}, {"access_key": SECRET}),
        ({"sas_token": "?sv=1&sig=2"}, {"sas_token": "sv=1&sig=2"}),
        ({"connection_string": f"AccountName=account;AccountKey={SECRET}=="}, {"access_key": f"{SECRET}=="}),
        ({}, {"access_key": "other"}),
    ):
        found = resolve(url, options, other)
        assert found.config["account_name"] == "account"
        assert found.credential_provider() == {**expected, "expires_at": None}
    signed = resolve("az://container/a.zarr?sv=1&sig=2", {"account_name": "account"}, {})
    assert (signed.url, signed.credential_provider()["sas_token"]) == ("az://container/a.zarr", "sv=1&sig=2")


def test_options_that_nobody_knows_are_refused_with_those_that_are_known(tmp_path):
    for url, options in (
        ("s3://bucket/a.zarr", {"anonymous": True}),
        ("https://host/a.zarr", {"profile": "lab"}),
        ("https://host/a.zarr", {"requester_pays": True}),
        ("s3://bucket/a.zarr", {"anon": True, "client_kwargs": {"verify": False}}),
    ):
        with pytest.raises(UnknownOptionError, match="Known"):
            open_storage(url, storage_options=options)
    for options in ({"anon": "maybe"}, {"timeout": "soon"}, {"retries": -1}, {"headers": "a"}, {"key": True}):
        with pytest.raises(InvalidArgumentError, match=next(iter(options))):
            resolve("s3://bucket/a.zarr", options, {})
    for target in (str(tmp_path), "memory://a.zarr"):
        with pytest.raises(InvalidArgumentError):
            open_storage(target, storage_options={"anon": True})
    with pytest.raises(InvalidArgumentError, match="s3fs sends none"):
        open_storage("simplecache::s3://b/a", storage_options={"s3": {"anon": True, "headers": {"a": "b"}}})
    with pytest.raises(InvalidArgumentError, match="mapping"):
        open_storage("s3://bucket/a.zarr", storage_options="anon")


@pytest.mark.parametrize(
    "bucket", ["", "my bucket", "b\tc", "b<c", "b`c", "b\u00fccket", "AKIA1:secret@bucket", "b?c", "b%20c"]
)
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_what_no_bucket_is_named_is_refused_before_a_request(scheme, bucket):
    with pytest.raises(InvalidArgumentError, match="name of a bucket") as caught:
        lamella.open_ome_zarr(f"{scheme}://{bucket}/a.zarr", storage_options={"anon": True})
    assert "secret" not in str(caught.value)


def test_a_url_that_is_signed_for_one_file_serves_one_file(service, tmp_path):
    for query in (
        "X-Amz-Signature=1",
        "X-Goog-Signature=1",
        "sv=2&sr=b&sig=1",
        "AWSAccessKeyId=1&Signature=2",
    ):
        with pytest.raises(InvalidArgumentError, match="signed for this one file") as caught:
            lamella.open_ome_zarr(f"https://host/a.zarr/zarr.json?{query}")
        assert query not in str(caught.value)
    with lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["a"], version="0.5") as made:
        made["0"] = np.ones((1, 1, 1, 8, 8), "u1")
    with zipfile.ZipFile(tmp_path / "a.ozx", "w") as archive:
        for file in sorted((tmp_path / "a.zarr").rglob("*.json")) + sorted(
            (tmp_path / "a.zarr/0/c").rglob("*")
        ):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "a.zarr"))
    service.objects["/web/a.ozx"] = (tmp_path / "a.ozx").read_bytes()
    service.wants = {"query": "X-Amz-Signature=1"}
    with lamella.open_ome_zarr(f"{service.endpoint}/web/a.ozx?X-Amz-Signature=1") as node:
        assert (node["0"][...] == 1).all()
    service.wants = {"X-Key": SECRET}
    options = {"headers": {"X-Key": SECRET}}
    with lamella.open_ome_zarr(f"{service.endpoint}/web/a.ozx", storage_options=options) as node:
        assert (node["0"][...] == 1).all()


def test_a_store_behind_a_signature_a_token_or_a_password_is_read_and_shows_none_of_them(service, tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as made:
        made.create_zeros("0", (1, 1, 1, 8, 8), "u1")
    service.put_folder(tmp_path / "a.zarr", "/web/a.zarr")
    service.wants = {"query": f"sig={SECRET}%2B"}
    url = f"{service.endpoint}/web/a.zarr"
    signed = f"{url}?sig={SECRET}%2B"
    basic = "Basic " + b64encode(f"me:{SECRET}".encode()).decode()
    for target, options, wanted in (
        (signed, None, {"query": f"sig={SECRET}%2B"}),
        (url, {"token": SECRET}, {"Authorization": f"Bearer {SECRET}"}),
        (url, {"headers": {"X-Key": SECRET}}, {"X-Key": SECRET}),
        (url.replace("//", f"//me:{SECRET}@"), None, {"Authorization": basic}),
    ):
        service.wants = wanted
        node = lamella.open_ome_zarr(target, storage_options=options)
        again = pickle.loads(pickle.dumps(node))
        assert again["0"][...].shape == (1, 1, 1, 8, 8)
        assert SECRET not in repr(node) + repr(node.documents.storage) + repr(node["0"])
        service.wants = {"query": "other"}
        with pytest.raises(AccessError) as caught:
            lamella.open_ome_zarr(target, storage_options=options)
        error = caught.value
        while error is not None:
            assert SECRET not in f"{error} {error!r}"
            error = error.__cause__ or error.__context__


def test_options_alone_reach_a_bucket_and_travel_with_the_node(service, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"endpoint_url": service.endpoint, "key": "me", "secret": SECRET, "timeout": 5, "retries": 1}
    with lamella.open_ome_zarr(
        "s3://bucket/a.zarr", "fov", "w-", ["a"], version="0.5", storage_options=options
    ) as made:
        made["0"] = np.ones((1, 1, 1, 8, 8), "u1")
    node = pickle.loads(pickle.dumps(lamella.open_ome_zarr("s3://bucket/a.zarr", storage_options=options)))
    assert (node["0"][...] == 1).all()
    assert SECRET not in repr(node) + repr(node.documents.storage) + str(service.objects)
    public = {"endpoint_url": service.endpoint, "anon": True}
    assert lamella.open_ome_zarr("s3://bucket/a.zarr", storage_options=public)["0"].shape == (1, 1, 1, 8, 8)
    with pytest.raises(AccessError, match="no credentials"):
        lamella.open_ome_zarr("s3://bucket/a.zarr", storage_options={"endpoint_url": service.endpoint})


def test_every_function_and_command_with_a_path_reaches_a_private_bucket(
    service, monkeypatch, tmp_path, capsys
):
    import xarray
    from click.testing import CliRunner

    from lamella.cli import main

    options = {"endpoint_url": service.endpoint, "key": "me", "secret": SECRET}
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    url = "s3://bucket/plate.zarr"
    with lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "u1")
        copied = lamella.Plate.from_positions(
            "s3://bucket/copy.zarr", {"B/2/0": plate["A/1/0"]}, storage_options=options
        )
        plate.map(np.negative, over="regions", output="s3://bucket/map.zarr", storage_options=options)
    assert copied["B/2/0"]["0"].shape == (1, 1, 1, 8, 8)
    assert any(key.startswith("/bucket/map.zarr/A/1/0/0/c/") for key in service.objects)
    image = xarray.open_dataset(f"{url}/A/1/0", engine="lamella", storage_options=options)
    assert image["image"].shape == (1, 1, 1, 8, 8)
    assert xarray.open_datatree(url, engine="lamella", storage_options=options)

    storage = [f"--storage={name}={value}" for name, value in options.items()]
    for command in (
        ["info", url],
        ["validate", url],
        ["repair", url],
        ["status", url],
        ["verify", url],
        ["checksum", url],
        ["preview", url, "-o", str(tmp_path / "a.png")],
        ["upgrade", url, str(tmp_path / "b.zarr"), "--to", "0.6"],
        ["rechunk", url, str(tmp_path / "c.zarr"), "--compressor", "zstd"],
        ["copy", url, str(tmp_path / "d.zarr")],
        ["subset", url, "s3://bucket/part.zarr", "--wells", "A/1"],
        ["merge", url, "s3://bucket/copy.zarr", "s3://bucket/merged.zarr"],
        ["pack", url, str(tmp_path / "e.ozx")],
        ["export", f"{url}/A/1/0", str(tmp_path / "f.ome.tif")],
        ["pyramid", url],
    ):
        result = CliRunner().invoke(main, [*command, *storage])
        assert result.exit_code == 0, (command, result.output)
        assert SECRET not in result.output
    refused = CliRunner().invoke(main, ["info", url, "--storage", "anonymous=true"])
    assert "Known for this kind of URL are anon" in refused.output
    assert CliRunner().invoke(main, ["info", url, "--storage", SECRET]).exit_code == 2
    for key in ("anon", "headers.Accept"):
        refused = CliRunner().invoke(main, ["info", url, "--storage", f"{key}=1", "--storage", f"{key}=2"])
        assert (refused.exit_code, f"'{key}' is set twice" in refused.stderr) == (2, True)


def test_another_region_and_expired_credentials_are_named(service):
    service.fail(301)
    with pytest.raises(StorageError, match=r"another region.*--storage region="):
        lamella.open_ome_zarr("s3://bucket/a.zarr")
    service.heal()
    service.fail(400, code="ExpiredToken")
    with pytest.raises(AccessError, match=r"ExpiredToken.*AWS_ACCESS_KEY_ID of the environment"):
        lamella.open_ome_zarr("s3://bucket/a.zarr")
