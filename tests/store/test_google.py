"""Law: Google's stores are created, edited, renamed, deleted and checked as those of S3.

The server of the suite speaks Google's XML interface. Azure and another server for Google are in ``tests/emulators``.
"""

from __future__ import annotations

from tests.clouds import create_edit_rename_check_and_delete


def test_a_plate_is_created_edited_renamed_checked_and_deleted(service):
    options = {"anon": True, "endpoint_url": service.endpoint, "retries": 0}
    create_edit_rename_check_and_delete("gs://bucket/plate.zarr", options)
