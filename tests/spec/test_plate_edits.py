"""Edits of plates and wells: whatever is done in whatever order, the plate stays valid."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lamella.errors import InvalidArgumentError, InvalidNameError, NodeExistsError, NodeNotFoundError
from lamella.models import AcquisitionMeta, PlateMeta, WellGroupMeta
from lamella.spec import plate_edits

ROWS, COLUMNS = ["A", "B", "C", "AA", "x"], ["1", "2", "3", "10", "b"]


def wells(*paths: str) -> list[tuple[str, str, None, None]]:
    return [(*path.split("/"), None, None) for path in paths]  # type: ignore[misc]


def plate_of(*paths: str) -> PlateMeta:
    return plate_edits.add_wells(plate_edits.new_plate("screen"), wells(*paths))


def check_valid(plate: PlateMeta) -> None:
    rows, columns = [row.name for row in plate.rows], [column.name for column in plate.columns]
    paths = [well.path for well in plate.wells]
    assert len(set(rows)) == len(rows)  # PL-03
    assert len(set(columns)) == len(columns)
    assert len(set(paths)) == len(paths)  # PL-13
    for well in plate.wells:  # PL-06, PL-07
        assert f"{rows[well.row_index]}/{columns[well.column_index]}" == well.path
        assert min(well.row_index, well.column_index) >= 0
    for name in rows + columns:
        plate_edits.check_name(name)


class PlateLife(RuleBasedStateMachine):
    """Wells come, move and go; a plain set of paths is the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.plate = plate_edits.new_plate()
        self.paths: list[str] = []

    @rule(
        row=st.sampled_from(ROWS),
        column=st.sampled_from(COLUMNS),
        row_index=st.none() | st.integers(0, 6),
        column_index=st.none() | st.integers(0, 6),
    )
    def add(self, row: str, column: str, row_index: int | None, column_index: int | None) -> None:
        path = f"{row}/{column}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                plate = plate_edits.add_wells(self.plate, [(row, column, row_index, column_index)])
            except NodeExistsError:
                assert path in self.paths
            except InvalidArgumentError:
                assert path not in self.paths
            else:
                assert path not in self.paths
                self.plate, self.paths = plate, [*self.paths, path]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.paths:
            path = data.draw(st.sampled_from(self.paths))
            self.plate = plate_edits.remove_well(self.plate, path)
            self.paths = [known for known in self.paths if known != path]
            self._nothing_left_of(path)

    @rule(data=st.data(), row=st.sampled_from(ROWS), column=st.sampled_from(COLUMNS))
    def rename(self, data: st.DataObject, row: str, column: str) -> None:
        new = f"{row}/{column}"
        if self.paths and new not in self.paths:
            old = data.draw(st.sampled_from(self.paths))
            self.plate = plate_edits.rename_well(self.plate, old, new)
            self.paths = [new if known == old else known for known in self.paths]
            self._nothing_left_of(old)

    def _nothing_left_of(self, path: str) -> None:
        row, _, column = path.partition("/")
        assert (row in [entry.name for entry in self.plate.rows]) == any(
            p.startswith(row + "/") for p in self.paths
        )
        used = any(p.endswith("/" + column) for p in self.paths)
        assert (column in [entry.name for entry in self.plate.columns]) == used

    @invariant()
    def stays_valid(self) -> None:
        check_valid(self.plate)
        assert [well.path for well in self.plate.wells] == self.paths


TestPlateLife = PlateLife.TestCase


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["A", "1", "AA10", "0", "fov1"])
def test_alphanumeric_names_pass(name: str) -> None:
    assert plate_edits.check_name(name) == name


@pytest.mark.parametrize("name", ["", "..", "A/1", "A 1", "a_b", "é", "\u0661", "A\n", "A\0", "-", ".zattrs"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="is not a name"):
        plate_edits.check_name(name)


def test_a_number_is_no_name() -> None:
    with pytest.raises(InvalidNameError, match="1 is not a name: use a string"):
        plate_edits.check_name(1)  # type: ignore[arg-type]


def test_names_that_differ_by_case_collide() -> None:
    assert plate_edits.case_collisions(["A", "a", "b", "A", "C", "c"]) == [("A", "a"), ("C", "c")]
    assert plate_edits.case_collisions(["A", "B", "A"]) == []


# -- wells --------------------------------------------------------------------------------------------------


def test_rows_and_columns_come_in_the_order_of_creation() -> None:
    plate = plate_of("C/2", "A/2", "C/1")
    assert [row.name for row in plate.rows] == ["C", "A"]
    assert [column.name for column in plate.columns] == ["2", "1"]


@given(paths=st.lists(st.sampled_from([f"{r}/{c}" for r in ROWS for c in COLUMNS]), unique=True))
def test_wells_at_once_or_one_by_one_are_the_same(paths: list[str]) -> None:
    plate = plate_edits.new_plate("screen")
    for well in wells(*paths):
        plate = plate_edits.add_wells(plate, [well])
    assert plate == plate_of(*paths)


def test_existing_wells_are_refused_and_named() -> None:
    with pytest.raises(NodeExistsError, match=r"already: A/1, B/2\.$") as caught:
        plate_edits.add_wells(plate_of("A/1"), wells("A/1", "B/2", "B/2"))
    assert isinstance(caught.value, ValueError)


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(InvalidNameError, match=r"'\.\.' is not a name"):
        plate_edits.add_wells(plate_of(), [("..", "1", None, None)])


def test_a_gap_is_filled_with_standard_names() -> None:
    plate = plate_edits.add_wells(plate_of(), [("D", "12", 3, 11), ("A", "1", 0, 0), ("AC", "x", 28, 12)])
    assert [row.name for row in plate.rows] == [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC"]
    assert [column.name for column in plate.columns] == [*map(str, range(1, 13)), "x"]
    check_valid(plate)


@pytest.mark.parametrize(
    ("known", "well"),
    [
        (["B/1"], ("D", "1", 3, 0)),  # the gap would need a second B
        ([], ("A", "1", 2, 0)),  # and here a second A
        ([], ("ZZZ", "1", 10**9, 0)),  # no plate is as large
        ([], ("A", "1", -1, 0)),
        ([], ("A", "x", 0, 1000)),
    ],
)
def test_an_index_that_leaves_an_unnamable_gap_is_refused(known: list[str], well: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"(row|col)_index( of the well|=)"):
        plate_edits.add_wells(plate_of(*known), [well])


@pytest.mark.parametrize(
    ("well", "index"),
    [(("A", "2", 5, 1), (0, 1)), (("B", "1", 1, 3), (1, 0)), (("C", "3", 0, 2), (2, 2))],
)
def test_a_contradicting_index_is_noted_and_the_consistent_one_is_written(
    well: Any, index: tuple[int, int]
) -> None:
    notes: list[str] = []
    plate = plate_edits.add_wells(plate_of("A/1", "B/2"), [well], notes)
    pattern = r"_index=. of the well .* contradicts the plate, where .* is number (.): \1 is written"
    assert re.search(pattern, notes[0])
    assert (plate.wells[-1].row_index, plate.wells[-1].column_index) == index
    check_valid(plate)


def test_rows_that_held_no_well_stay() -> None:
    plate = plate_edits.add_wells(plate_of(), [("C", "1", 2, 0), ("D", "1", None, None)])
    left = plate_edits.remove_well(plate, "C/1")
    assert [row.name for row in left.rows] == ["A", "B", "D"]
    assert left.wells[0].row_index == 2


def test_a_renamed_well_keeps_its_place_and_its_keys() -> None:
    plate = plate_of("A/1", "B/2", "C/3")
    plate.wells[1].note = "positive control"
    renamed = plate_edits.rename_well(plate, "B/2", "D/1")
    assert renamed.wells[1].to_json() == {
        "path": "D/1",
        "rowIndex": 2,
        "columnIndex": 0,
        "note": "positive control",
    }
    assert [row.name for row in renamed.rows] == ["A", "C", "D"]


def test_unknown_keys_of_every_entry_survive() -> None:
    plate = plate_of("A/1", "B/2")
    for entry in (plate, plate.rows[1], plate.columns[1], plate.wells[1], plate.acquisitions[0]):  # type: ignore[index]
        entry.own = {"a": None}
    for edit in (
        plate_edits.remove_well(plate, "A/1"),
        plate_edits.rename_well(plate, "A/1", "B/1"),
        plate_edits.add_wells(plate, wells("B/3")),
        plate_edits.set_counts(plate, {"A/1": [("0", 0)], "B/2": []}),
    ):
        assert str(edit.to_json()).count("'own': {'a': None}") == 5


def test_edits_leave_their_input() -> None:
    plate = plate_of("A/1", "B/2")
    before = plate.to_json()
    plate_edits.add_wells(plate, wells("C/3"))
    plate_edits.remove_well(plate, "A/1")
    plate_edits.rename_well(plate, "A/1", "C/3")
    plate_edits.set_counts(plate, {"A/1": [("0", 7)]})
    assert plate.to_json() == before


def test_wrong_indices_of_a_foreign_plate_are_put_right() -> None:
    document = {
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}],
        "wells": [
            {"path": "B/1", "rowIndex": 0, "columnIndex": 0},
            {"path": "A/2", "rowIndex": 9, "columnIndex": 9},
        ],
    }
    plate = plate_edits.add_wells(PlateMeta.from_json(document), wells("A/1"))
    check_valid(plate)
    assert [well.path for well in plate.wells] == ["B/1", "A/2", "A/1"]


def test_an_unknown_well_is_named_with_those_there_are() -> None:
    for edit in (
        lambda: plate_edits.remove_well(plate_of("A/1"), "A/2"),
        lambda: plate_edits.rename_well(plate_of("A/1"), "A/2", "A/3"),
    ):
        with pytest.raises(NodeNotFoundError, match="no well 'A/2': its wells are A/1") as caught:
            edit()
        assert isinstance(caught.value, FileNotFoundError)


def test_a_well_is_not_renamed_onto_another() -> None:
    with pytest.raises(NodeExistsError, match="a well 'A/2' already, so 'A/1' was not renamed") as caught:
        plate_edits.rename_well(plate_of("A/1", "A/2"), "A/1", "A/2")
    assert isinstance(caught.value, FileExistsError)


@pytest.mark.parametrize("new", ["A", "A/1/0", "/A/1", "A/..", "A 1/2", ""])
def test_a_well_is_not_renamed_to_something_else(new: str) -> None:
    with pytest.raises(InvalidNameError):
        plate_edits.rename_well(plate_of("A/1"), "A/1", new)


# -- images and counts --------------------------------------------------------------------------------------


@pytest.fixture
def well() -> WellGroupMeta:
    return plate_edits.add_images(WellGroupMeta(images=[]), [("0", 0), ("1", 0)])


def test_images_are_added_and_removed(well: WellGroupMeta) -> None:
    well.images[1].own = 1
    more = plate_edits.add_images(well, [("2", 1), ("3", None)])
    left = plate_edits.remove_image(more, "0")
    assert left.to_json() == {
        "images": [{"path": "1", "acquisition": 0, "own": 1}, {"path": "2", "acquisition": 1}, {"path": "3"}]
    }
    assert [image.path for image in well.images] == ["0", "1"]


def test_existing_images_are_refused_and_named(well: WellGroupMeta) -> None:
    with pytest.raises(NodeExistsError, match=r"already: 1, 2\.$"):
        plate_edits.add_images(well, [("1", 0), ("2", 0), ("2", 1)])


def test_images_with_bad_names_are_refused(well: WellGroupMeta) -> None:
    with pytest.raises(InvalidNameError, match="'fov_1' is not a name: '_' is not allowed"):
        plate_edits.add_images(well, [("fov_1", 0)])


def test_acquisitions_below_zero_are_refused(well: WellGroupMeta) -> None:
    with pytest.raises(InvalidArgumentError, match="an id from 0 on, not -1"):
        plate_edits.add_images(well, [("2", -1)])


def test_an_unknown_image_is_named_with_those_there_are(well: WellGroupMeta) -> None:
    with pytest.raises(NodeNotFoundError, match="no image '9': its images are 0, 1"):
        plate_edits.remove_image(well, "9")


@pytest.mark.parametrize("ids", [[0, 0], [-1]])
def test_acquisition_ids_are_unique_and_not_negative(ids: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="PL-08"):
        plate_edits.new_plate(acquisitions=[AcquisitionMeta(id=number) for number in ids])


@pytest.mark.parametrize("times", [{"start_time": -1}, {"end_time": 1.5}, {"start_time": float("nan")}])
def test_times_of_an_acquisition_are_those_of_the_specification(times: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(times))} of acquisition 3 .*PL-09"):
        plate_edits.new_plate(acquisitions=[AcquisitionMeta(id=3, **times)])
    with pytest.raises(InvalidArgumentError, match="ends before it starts"):
        plate_edits.new_plate(acquisitions=[AcquisitionMeta(id=3, start_time=5, end_time=1)])
    (kept,) = plate_edits.new_plate(acquisitions=[AcquisitionMeta(id=3, end_time=10**400)]).acquisitions or []
    assert kept.end_time == 10**400


def test_fields_are_counted_for_the_plate_and_each_acquisition() -> None:
    images = {"A/1": [("0", 0), ("1", 0), ("2", 3)], "A/2": [("0", 3), ("1", 3)], "A/3": []}
    plate = plate_edits.set_counts(plate_of("A/1", "A/2", "A/3"), images)
    assert plate.field_count == 3
    assert [(entry.id, entry.maximum_field_count) for entry in plate.acquisitions or []] == [(0, 2), (3, 2)]


def test_images_without_acquisition_belong_to_the_only_one() -> None:
    plate = plate_edits.set_counts(plate_of("A/1"), {"A/1": [("0", None), ("1", None)]})
    assert [(entry.id, entry.maximum_field_count) for entry in plate.acquisitions or []] == [(0, 2)]


def test_no_count_is_written_where_there_are_no_fields() -> None:
    plate = plate_edits.set_counts(plate_of("A/1"), {"A/1": []})
    assert "field_count" not in plate.to_json()


fields = st.dictionaries(
    st.sampled_from(["A/1", "A/2", "B/1"]),
    st.lists(st.integers(0, 2), max_size=5).map(
        lambda ids: [(str(n), number) for n, number in enumerate(ids)]
    ),
)


@given(first=fields, later=fields)
def test_raising_counts_well_by_well_is_counting_once(first: Any, later: Any) -> None:
    grown = {path: max(first.get(path, []), later.get(path, []), key=len) for path in first | later}
    grown = {path: first.get(path, []) + grown[path][len(first.get(path, [])) :] for path in grown}
    empty = plate_edits.new_plate(acquisitions=[AcquisitionMeta(id=number) for number in range(3)])
    plate = plate_edits.set_counts(plate_edits.add_wells(empty, wells(*sorted(first))), first)
    changed = {path: images for path, images in grown.items() if path in later}
    plate = plate_edits.add_wells(plate, wells(*sorted(grown.keys() - first.keys())))
    if plate.field_count is None:
        changed = grown
    assert plate_edits.raise_counts(plate, changed) == plate_edits.set_counts(plate, grown)


def test_a_plate_that_was_never_counted_stays_so() -> None:
    plate = plate_edits.raise_counts(plate_of("A/1", "A/2"), {"A/1": [("0", 0)]})
    assert (plate.field_count, (plate.acquisitions or [])[0].maximum_field_count) == (None, None)


def test_an_acquisition_that_images_name_is_listed() -> None:
    foreign = PlateMeta(rows=[], columns=[], wells=[])
    plate = plate_edits.raise_counts(foreign, {"A/1": [("0", 4)]})
    assert [(entry.id, entry.maximum_field_count) for entry in plate.acquisitions or []] == [(4, 1)]
