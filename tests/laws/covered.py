"""The laws that tests elsewhere hold in full: each with the fault of other libraries that it rules out.

Pure data. The laws that have no test elsewhere are in the modules beside this one.
"""

COVERED = {
    # -- values, shapes and transforms of pyramids
    "mode levels have the shape and values of the definition": (
        "tests/ops/test_pyramid.py::test_every_level_is_the_reference_of_the_one_before"
    ),
    "odd sizes are rounded up, no row or column is lost, and edges are the mean of what is there": (
        "tests/ops/test_downsample.py::test_every_voxel_is_what_the_definition_says"
    ),
    "the rounded mean of many voxels has no bias": (
        "tests/ops/test_downsample.py::test_the_mean_of_many_voxels_has_no_bias"
    ),
    "binned levels lie half a voxel further": (
        "tests/ops/test_pyramid.py::test_scale_is_the_factor_and_binned_voxels_lie_half_a_pixel_further"
    ),
    "strided levels are not shifted": (
        "tests/ops/test_pyramid.py::test_stride_leaves_the_first_voxel_in_its_place"
    ),
    "chunks, shards and workers leave no trace in the pixels": (
        "tests/ops/test_pyramid.py::test_any_legal_axes_sizes_chunks_and_jobs_give_the_same_bits"
    ),
    "images of many blocks have no trace of them": (
        "tests/ops/test_pyramid_truth.py::test_an_image_of_many_pieces_is_the_same_as_one_of_a_few"
    ),
    "blocks that no factor divides leave no stripes": (
        "tests/ops/test_downsample.py::test_cutting_into_aligned_blocks_changes_no_bit"
    ),
    "only axes of space are reduced, and width and height are not swapped": (
        "tests/ops/test_pyramid.py::test_foreign_orders_of_axes_are_reduced_along_space_only"
    ),
    "labels are never interpolated": "tests/ops/test_downsample.py::test_label_ids_are_a_subset_of_those_below",
    "label pyramids hold no new ids": "tests/nodes/test_labels.py::test_ids_of_every_level_are_those_of_level_0",
    "methods that make new ids are refused for labels": (
        "tests/nodes/test_labels.py::test_methods_that_make_new_labels_are_refused"
    ),
    "levels that are no longer those of level 0 are found": (
        "tests/ops/test_validate_pixels.py::test_a_level_that_was_not_computed_again_is_found_with_its_place"
    ),
    "recomputing brings values and transforms of all levels up to date": (
        "tests/ops/test_pyramid.py::test_recomputing_after_level_0_changed_changes_all_levels"
    ),
    "a scale set on any level keeps the pyramid one": (
        "tests/spec/test_edits.py::test_a_pyramid_stays_one_when_a_scale_is_set"
    ),
    # -- metadata and the tree
    "renaming a well moves that well only": (
        "tests/nodes/test_plate_editing.py::test_rename_moves_exactly_that_well_to_any_target"
    ),
    "a row or column whose last well is renamed goes": (
        "tests/nodes/test_plate_editing.py::test_rename_drops_rows_and_columns_that_lose_their_last_well"
    ),
    "counts of fields follow every deletion": (
        "tests/nodes/test_plate_editing.py::test_counts_are_right_after_every_deletion"
    ),
    "deleting a row, well or position takes it off all lists": (
        "tests/nodes/test_plate_editing.py::test_delete_keeps_the_metadata_of_all_parents_true"
    ),
    "deleting a label image takes it off the list": (
        "tests/nodes/test_labels.py::test_delete_takes_the_name_off_the_list"
    ),
    "any sequence of edits keeps metadata and tree equal": (
        "tests/nodes/test_editing_laws.py::TestPlateEdits04"
    ),
    "a store made over an old one keeps none of its arrays": (
        "tests/nodes/test_open_modes.py::test_overwriting_keeps_nothing_of_the_old_store"
    ),
    "unknown keys survive edits at every depth": (
        "tests/nodes/test_position_images.py::test_unknown_keys_survive_every_edit"
    ),
    "updating attributes leaves the metadata": (
        "tests/nodes/test_zgroup.py::test_zattrs_is_a_mapping_that_writes_at_once"
    ),
    "another version has all pixels, labels, attributes and files": (
        "tests/ops/test_upgrade.py::test_a_plate_keeps_all_it_has"
    ),
    "wells that are listed but not there are found": (
        "tests/ops/test_validate.py::test_missing_wells_images_and_labels_are_findings_of_their_parents"
    ),
    "wells that were never written are not listed by reindex": (
        "tests/ops/test_repair_reindex.py::test_what_is_known_is_kept_and_what_is_gone_is_not"
    ),
    "a renamed label image has its new name": (
        "tests/nodes/test_labels.py::test_rename_moves_the_folder_the_list_and_the_name"
    ),
    "dimension names that were missing are added": (
        "tests/ops/test_upgrade.py::test_dimension_names_that_were_missing_are_added_in_place"
    ),
    # -- writes, shards and chunks
    "blocks of dask that cross chunks and shards lose nothing, also without a lock": (
        "tests/reliability/test_writes_of_others.py::test_dask_stores_blocks_that_cross_chunks_and_shards_without_a_lock"
    ),
    "... from processes too": (
        "tests/reliability/test_writes_of_others.py::test_dask_stores_blocks_that_cross_shards_from_processes_without_a_lock"
    ),
    "lazy blocks that cross shards are gathered to whole ones": (
        "tests/adapters/test_xarray_write.py::test_lazy_blocks_that_cross_shards_become_one_write_of_all_of_them"
    ),
    "writers of different parts of one shard or chunk lose nothing": (
        "tests/reliability/test_races.py::test_writers_of_different_parts_lose_nothing_at_any_interleaving"
    ),
    "no region of a large source is left out": (
        "tests/ops/test_convert.py::test_shards_larger_than_a_block_are_put_together_of_several"
    ),
    "a store is not overwritten with zeros by what still reads it": (
        "tests/reliability/test_overwriting_while_reading.py::test_an_array_is_assigned_what_is_made_of_it"
    ),
    "a store is not made over the one that its source reads": (
        "tests/reliability/test_overwriting_while_reading.py::test_a_store_is_not_written_onto_or_into_itself"
    ),
    "a shard beyond the edge is written without reading it, and a torn one is mended by the next write": (
        "tests/reliability/test_writes_of_others.py::"
        "test_a_shard_beyond_the_edge_is_written_without_reading_and_a_torn_one_is_mended"
    ),
    "chunks and shards are replaced whole, by all engines": (
        "tests/reliability/test_refusals.py::test_a_file_that_the_system_cuts_short_is_never_seen"
    ),
    "a killed writer leaves old or new files": (
        "tests/reliability/test_kills.py::test_a_killed_write_of_pixels_leaves_old_or_new_files"
    ),
    "pickled handles read all chunks of a shard": (
        "tests/reliability/test_writes_of_others.py::test_a_pickled_handle_reads_all_chunks_of_a_shard"
    ),
    "handles read shards in spawned and forkserver processes": (
        "tests/reliability/test_races.py::test_handles_work_in_other_processes"
    ),
    "the last shard of a film is read though it is not full": (
        "tests/reliability/test_writes_of_others.py::test_the_last_shard_of_a_film_is_read_though_it_is_not_full"
    ),
    "lazy arrays are cut in whole shards": (
        "tests/adapters/test_dask_array.py::test_blocks_are_whole_shards_near_64_mebibytes_along_space"
    ),
    "the graph of a lazy array does not grow with its chunks": (
        "tests/adapters/test_dask_array.py::test_the_graph_does_not_grow_with_the_pixels"
    ),
    "chunks by default are of a useful size": (
        "tests/nodes/test_position_images.py::test_default_chunks_are_the_zyx_stack"
    ),
    "chunks that are asked for are made": "tests/ops/test_convert.py::test_asked_chunks_and_shards_are_honoured",
    "levels have the chunks of the image": (
        "tests/ops/test_pyramid.py::test_levels_keep_compression_chunks_and_fill_value"
    ),
    "zeros that were written are not missing": "tests/store/test_arrays.py::test_chunks_of_fill_values_are_stored",
    "a child reads and writes after its parent has read": (
        "tests/reliability/test_races.py::test_forked_workers_read_and_write_after_the_parent_has_read"
    ),
    "a handle follows an array that grows": (
        "tests/reliability/test_races.py::test_a_reader_beside_a_writer_that_grows_the_array_sees_old_or_new"
    ),
    "a handle follows an array that another makes anew": (
        "tests/reliability/test_writes_of_others.py::test_a_handle_follows_an_array_that_another_makes_anew"
    ),
    # -- chunk keys
    "all engines write the same bytes": "tests/store/test_arrays.py::test_both_engines_write_the_same_bytes",
    "chunk keys have slashes": "tests/nodes/test_position_images.py::test_chunk_keys_have_slashes",
    "separators of Zarr v2 are those that are declared": (
        "tests/store/test_array_shape.py::test_fortran_order_and_dots_of_zarr_v2"
    ),
    "separators of Zarr v3 are those that are declared": (
        "tests/store/test_array_shape.py::test_other_chunk_keys_of_zarr_v3"
    ),
    # -- transforms
    "the scale of a position multiplies the translations of its levels": (
        "tests/nodes/test_transforms.py::test_points_go_through_the_level_first_and_the_position_then"
    ),
    "a single timepoint keeps the scale of time": (
        "tests/adapters/test_xarray_write.py::test_the_scale_of_single_coordinates_survives_a_round_trip"
    ),
    "timepoints may be written one after the other": (
        "tests/adapters/test_xarray_write.py::test_timepoints_one_after_the_other_land_side_by_side"
    ),
    "transforms of another length than the axes are named, and the pixels read": (
        "tests/nodes/test_transforms.py::test_transforms_with_the_wrong_length_of_others_are_named"
    ),
    # -- data types and fill values
    "big-endian pixels are read right": (
        "tests/store/test_array_shape.py::test_big_endian_arrays_are_read_in_the_machines_order"
    ),
    "big-endian pixels become right ones of 0.5": (
        "tests/ops/test_upgrade.py::test_chunks_that_the_other_format_cannot_say_are_encoded_anew"
    ),
    "a fill value fits the data type": (
        "tests/store/test_array_meta.py::test_what_does_not_fit_is_refused_with_all_facts"
    ),
    "a fill value that does not fit is named": (
        "tests/store/test_documents.py::test_a_broken_array_document_of_v3_is_named"
    ),
    # -- copies of metadata, and names
    "writing drops the consolidated copies that it makes stale": (
        "tests/store/test_documents.py::test_a_write_drops_consolidated_copies_that_it_makes_stale"
    ),
    "stale consolidated copies are found": (
        "tests/ops/test_validate_collections.py::test_copies_that_miss_a_change_are_stale"
    ),
    "consolidated copies that lack an array are found": (
        "tests/ops/test_validate_collections.py::test_copies_that_lack_an_array_are_stale"
    ),
    "dimension names that are missing or contradict the axes, and stale copies, are mended": (
        "tests/ops/test_repair.py::test_a_fault_is_mended_and_nothing_is_left"
    ),
    "keys that no file system holds are refused, not lost": (
        "tests/store/test_storage.py::test_what_is_no_key_is_refused_before_anything_is_touched"
    ),
    "wells are found by their exact name where case does not count": (
        "tests/reliability/test_names_that_look_alike.py::test_a_name_in_other_letters_names_nothing"
    ),
}
