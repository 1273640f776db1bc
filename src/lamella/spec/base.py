"""The base of all metadata models: unknown keys, checks, and conversion to JSON.

A model is lenient: it represents everything that real files contain, and keeps keys it does not know.
``lamella.spec.rules`` checks documents; ``lamella.spec.versions`` defines where a model is stored in a document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lamella.errors import MetadataError, clause

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass

    from lamella.types import JSON, JSONObject
else:
    ModelMetaclass = type(BaseModel)

_MAX_PROBLEMS = 3

_SCALARS = frozenset({str, int, float, bool, type(None)})


class _CheckedConstruction(ModelMetaclass):
    """Make ``Model(...)`` raise MetadataError.

    Wrapping the call of the class, not ``__init__``, leaves nested validation on pydantic's fast path.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - a metaclass
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise MetadataError(f"{cls.__name__} cannot be made: {clause(describe(error))}.") from error


class MetaModel(BaseModel, metaclass=_CheckedConstruction):
    """Base of the metadata models: mutable, and unknown keys are kept.

    Raises
    ------
    MetadataError
        When a model is made from values that it cannot represent.

    Examples
    --------
    >>> from lamella.models import ImageMeta
    >>> image = ImageMeta(path="0", note="kept")
    >>> image.to_json()
    {'path': '0', 'note': 'kept'}
    >>> ImageMeta(path=None)
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: ImageMeta cannot be made: path: expected a valid string, found None.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        coerce_numbers_to_str=True,  # some plates have names such as 1 instead of "1"
        protected_namespaces=(),
        defer_build=True,  # schemas are built on first use: importing stays cheap
    )

    _keys: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Attribute names and document keys of the fields, in order."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Store the document key of every field once, for ``to_json``."""
        cls._keys = tuple((name, field.alias or name) for name, field in cls.model_fields.items())

    @classmethod
    def from_json(cls, document: JSON, location: str = "") -> Self:
        """Read the model from its part of a document.

        Values under unknown keys are shared with ``document``, not copied.

        Parameters
        ----------
        document : JSON
            The JSON object to read. Only document keys count: ``rowIndex``, not ``row_index``.
        location : str, optional
            Location of the part in its document, for messages.

        Raises
        ------
        MetadataError
            The part cannot be represented; the message names each location.

        Examples
        --------
        >>> from lamella.models import WellIndexMeta
        >>> WellIndexMeta.from_json({"path": "A/1", "rowIndex": 0, "columnIndex": 2}).column_index
        2
        >>> WellIndexMeta.from_json({"path": "A/1", "rowIndex": 0}, "plate.wells[0]")
        Traceback (most recent call last):
        ...
        lamella.errors.MetadataError: plate.wells[0].columnIndex: is missing.
        """
        try:
            return cls.model_validate(document, by_alias=True, by_name=False)
        except ValidationError as error:
            raise MetadataError(f"{describe(error, location)}.") from error

    def to_json(self) -> JSONObject:
        """Return the JSON object that is stored: document keys, without fields that are None.

        Unknown keys are kept as they are, also with the value None. The result shares nothing with the model.

        Raises
        ------
        MetadataError
            A value under an unknown key is not JSON.

        Examples
        --------
        >>> from lamella.models import TransformationMeta
        >>> TransformationMeta(type="scale", scale=(1, 0.5)).to_json()
        {'type': 'scale', 'scale': [1.0, 0.5]}
        """
        document: JSONObject = json_copy(self)
        return document

    def copied(self) -> Self:
        """Return a deep copy without validation; edits start from it.

        Examples
        --------
        >>> from lamella.models import PlateAxisMeta
        >>> row = PlateAxisMeta(name="A")
        >>> row.copied() == row, row.copied() is row
        (True, False)
        """
        copy: Self = _copy(self)
        return copy

    def checked(self) -> Self:
        """Return a deep copy that is validated again, so that assigned values get their normal form.

        Raises
        ------
        MetadataError
            A value assigned to the model, or to one inside it, does not fit.

        Examples
        --------
        >>> from lamella.models import TransformationMeta
        >>> transform = TransformationMeta(type="scale", scale=[1, 1])
        >>> transform.scale = (2, 3)
        >>> transform.checked().scale
        [2.0, 3.0]
        """
        return self.from_json(self.to_json(), type(self).__name__)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if item.__class__ in _SCALARS else _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if item.__class__ in _SCALARS else _copy(item) for item in value]
    if not isinstance(value, MetaModel):
        return value
    # __init__ and model_copy would take longer than the rest of an edit.
    fields, extra = value.__dict__, value.__pydantic_extra__
    copy = value.__class__.__new__(value.__class__)
    set_slot = object.__setattr__
    copied = {name: item if item.__class__ in _SCALARS else _copy(item) for name, item in fields.items()}
    set_slot(copy, "__dict__", copied)
    set_slot(copy, "__pydantic_fields_set__", set(value.__pydantic_fields_set__))
    set_slot(copy, "__pydantic_extra__", _copy(extra) if extra else {})
    set_slot(copy, "__pydantic_private__", None)
    return copy


_NAME_FIELDS = ("path", "label", "id", "name", "type")
"""Fields that name a model in a list, the first that it has."""


def assign(model: MetaModel, content: MetaModel) -> None:
    """Replace the content of a model by that of another model of its class.

    Models inside it stay the same objects, so that a caller's reference to a row of a plate sees the new content; in
    lists they are matched by name, else by index. Lists, dicts and transformations are replaced, never changed, so that
    a caller may iterate over the old list.

    >>> from lamella.models import PlateMeta, PlateAxisMeta
    >>> plate = PlateMeta(rows=[PlateAxisMeta(name="B")], columns=[], wells=[])
    >>> row = plate.rows[0]
    >>> assign(plate, PlateMeta(rows=[PlateAxisMeta(name="A"), PlateAxisMeta(name="B")], columns=[], wells=[]))
    >>> plate.rows[1] is row, len(plate.rows)
    (True, 2)
    """
    for name, value in content.__dict__.items():
        is_replaced = name == "coordinate_transformations"
        model.__dict__[name] = value if is_replaced else _update(model.__dict__.get(name), value)
    object.__setattr__(model, "__pydantic_extra__", content.__pydantic_extra__)
    object.__setattr__(model, "__pydantic_fields_set__", content.__pydantic_fields_set__)


def _update(old: Any, new: Any) -> Any:
    """Return the new value; a model, or a list of models, consists of the old objects with the new content."""
    if isinstance(old, MetaModel) and old.__class__ is new.__class__:
        assign(old, new)
        return old
    if isinstance(old, list) and isinstance(new, list):
        return _update_list(old, new)
    return new


def _update_list(old: list[Any], new: list[Any]) -> list[Any]:
    """Return a new list of the old models of equal names, with the new content; renamed ones are matched by index."""
    if not all(isinstance(item, MetaModel) for item in (*old, *new)):
        return [*new]
    old_names, names = ([_name(item) for item in items] for items in (old, new))
    if len(set(names)) < len(names) or len(set(old_names)) < len(old_names):
        old_names, names = ([str(index) for index in range(len(items))] for items in (old, new))
    by_name = dict(zip(old_names, old, strict=True))
    if len(old) == len(new) and (missing := by_name.keys() - names):  # renamed
        pairs = zip(names, old_names, old, strict=True)
        by_name |= {
            name: item for name, old_name, item in pairs if old_name in missing and name not in by_name
        }
    return [_update(by_name.get(name), item) for name, item in zip(names, new, strict=True)]


def _name(model: MetaModel) -> str:
    return next((repr(model.__dict__[name]) for name in _NAME_FIELDS if name in model.__dict__), "")


def describe(error: ValidationError, location: str = "") -> str:
    """Describe in one line what is wrong with a document and where.

    >>> from pydantic import ValidationError
    >>> from lamella.models import LabelsMeta
    >>> try:
    ...     LabelsMeta.model_validate({"labels": ["nuclei", None]})
    ... except ValidationError as error:
    ...     print(describe(error, "ome"))
    ome.labels[1]: expected a valid string, found None
    """
    problems = error.errors(include_url=False, include_context=False)
    texts = [_describe_problem(problem, location) for problem in problems[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        texts.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(texts)


def _describe_problem(problem: Any, location: str) -> str:
    for step in problem["loc"]:
        if isinstance(step, int):
            location += f"[{step}]"
        elif not step.startswith("<"):  # <space>, <int>, ...: the tag of a union's type, not a key
            location += f".{step}" if location else step
    message = problem["msg"]
    if problem["type"] == "value_error":
        message = message.removeprefix("Value error, ")
        return f"{location}: {clause(message)}" if location else message
    location = location or "The document"
    if problem["type"] == "missing":
        return f"{location}: is missing"
    if problem["type"] == "model_type":
        message = "Input should be an object"
    input_repr = repr(problem["input"])
    input_repr = input_repr if len(input_repr) <= 60 else input_repr[:57] + "..."
    return f"{location}: {message.replace('Input should be', 'expected')}, found {input_repr}"


def json_copy(value: Any) -> JSON:
    """Copy a value of a model, or a whole document, to JSON that shares nothing with it."""
    kind = value.__class__
    if kind in _SCALARS:
        return value
    # Containers before models: isinstance of a model runs Python code of pydantic.
    if isinstance(value, dict):
        return {
            key if key.__class__ is str else str(key): item if item.__class__ in _SCALARS else json_copy(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [item if item.__class__ in _SCALARS else json_copy(item) for item in value]
    if isinstance(value, MetaModel):
        fields = value.__dict__
        document = {
            key: item if item.__class__ in _SCALARS else json_copy(item)
            for name, key in value._keys
            if (item := fields[name]) is not None
        }
        for key, item in (value.__pydantic_extra__ or {}).items():
            document[key] = json_copy(item)
        return document
    if hasattr(value, "tolist"):  # numpy scalars and arrays that a user assigned
        return json_copy(value.tolist())
    if isinstance(value, str | float | int):
        return value
    raise MetadataError(
        f"Metadata can only be JSON, not {value!r} of type {kind.__name__}: store numbers, texts, lists and dicts."
    )
