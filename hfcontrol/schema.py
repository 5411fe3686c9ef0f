"""How settings are declared: type, default, bounds, help and where a setting applies.

Each package declares its settings once, as a model in its `settings.py`. The flat
`Settings` of a run, the options of the command line, all checks and docs/options.md
come from these models.

pydantic does the checking, because it finds all faults at once. Importing it takes
about 0.2 s, so `import hfcontrol` and `hfcontrol --help` do without.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.fields import FieldInfo

from hfcontrol.errors import UsageError


def check_number(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check a number and return it unchanged.

    Texts and booleans are refused, which pydantic would convert.
    """
    if isinstance(value, (str, bytes, bool)):
        raise ValueError("not a number")

    # NumPy scalars are numbers too.
    handler(value.item() if hasattr(value, "item") else value)

    # Not the handler's result: pydantic makes 0.0 of 0, and a checkpoint would differ.
    return value


def check_whole(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check a whole number and return it, as an integer if it was 60.0."""
    checked = check_number(value, handler)
    number = checked.item() if hasattr(checked, "item") else checked
    return int(number) if isinstance(number, float) else checked


# Numbers that keep the type in which they were given.
Whole: TypeAlias = Annotated[int, WrapValidator(check_whole)]
Number: TypeAlias = Annotated[float, WrapValidator(check_number)]


def split_words(value: Any) -> Any:
    """Return a single text such as "shoulder,elbow" as a tuple of its words."""
    if not isinstance(value, str):
        return value
    return tuple(word.strip() for word in value.split(",")) if value else ()


def join_assignments(value: Any) -> Any:
    """Return {"load": 1} as ("load=1",) and {"load": (0, 1)} as ("load=0..1",).

    A single text is split at its commas.
    """
    if not isinstance(value, Mapping):
        return split_words(value)
    return tuple(f"{name}={_format_range(entry)}" for name, entry in value.items())


# Texts; a single one with commas is split, and assignments may be a dictionary.
Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Assignments: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(join_assignments)]

# What may be given for them.
GivenWords: TypeAlias = str | tuple[str, ...]
GivenAssignments: TypeAlias = (
    str | tuple[str, ...] | Mapping[str, float | str | tuple[float, float]]
)

# How a setting is written on the command line.
Syntax: TypeAlias = Literal["value", "words", "numbers", "layers", "repeated"]


class OnlyWith(NamedTuple):
    """A setting has an effect only while the setting `other` has one of `values`.

    `why` follows "`name` value with `other` value: ". Values in `harmless` are allowed
    everywhere, as the default is.
    """

    other: str
    values: tuple[str | None, ...]
    why: str
    harmless: tuple[str, ...] = ()


class Option(NamedTuple):
    """The declaration of one setting, as the command line and the docs need it.

    `type` is int, float, bool or str; `allowed` says in words which values there are.
    """

    name: str
    type: type
    default: Any
    help: str
    metavar: str | None
    syntax: Syntax
    allowed: str
    only_with: tuple[OnlyWith, ...]
    plants_only: bool


def setting(
    default: Any,
    help: str,
    metavar: str | None = None,
    *,
    only_with: tuple[OnlyWith, ...] = (),
    syntax: Syntax = "value",
    allowed: str | None = None,
    plants_only: bool = False,
    **bounds: Any,
) -> Any:
    """Return the pydantic field of a setting.

    `bounds` are those of pydantic: ge, gt, le and allow_inf_nan. `allowed` replaces the
    words that are made from type and bounds. `plants_only` marks settings without
    effect in an environment that cannot be differentiated.
    """
    declared = {
        "metavar": metavar,
        "syntax": syntax,
        "allowed": allowed,
        "only_with": only_with,
        "plants_only": plants_only,
    }

    # pydantic keeps what it does not know itself in json_schema_extra.
    return Field(
        default,
        description=help,
        json_schema_extra=cast(Any, declared),
        **bounds,
    )


class SettingsModel(BaseModel):
    """Base of all models of settings: immutable, and refused with all faults at once.

    Raises UsageError, never pydantic's ValidationError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = describe_faults(type(self), values, error)
            raise UsageError("; ".join(faults)) from None

        faults = list(self.find_misfits())
        if faults:
            raise UsageError("; ".join(faults))

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse a change, in words of our own."""
        raise AttributeError(f"settings are immutable; use changed({name}={value!r})")

    def find_misfits(self) -> Iterator[str]:
        """Yield a sentence for each setting that has no effect with the others."""
        for option, rule in self.broken_rules():
            value = format_value(getattr(self, option.name))
            other = getattr(self, rule.other)
            with_other = "" if other is None else f" with `{rule.other}` {other}"
            yield f"`{option.name}` {value}{with_other}: {rule.why}"

    def broken_rules(self) -> Iterator[tuple[Option, OnlyWith]]:
        """Yield each setting that has no effect with the others, and by which rule."""
        for option in options(type(self)):
            if self.is_default(option.name):
                continue
            for rule in option.only_with:
                # A model on its own lacks the settings of other packages.
                if rule.other not in type(self).model_fields:
                    continue
                has_effect = getattr(self, rule.other) in rule.values
                if not has_effect and getattr(self, option.name) not in rule.harmless:
                    yield option, rule

    def is_default(self, name: str) -> bool:
        """Return whether a setting has its default value."""
        return bool(getattr(self, name) == type(self).model_fields[name].default)


def describe_faults(
    model: type[SettingsModel], values: dict[str, Any], error: ValidationError
) -> list[str]:
    """Return a sentence for each setting that pydantic refused."""
    # A value that fits no type of a union has an error for each of them.
    names = dict.fromkeys(str(fault["loc"][0]) for fault in error.errors())

    faults = []
    for name in names:
        if name in model.model_fields:
            allowed = option_of(model, name).allowed
            value = values[name]
            # A text that looks like a number is shown as the text that it is.
            is_text = isinstance(value, str) and option_of(model, name).type is not str
            shown = repr(value) if is_text else format_value(value)
            faults.append(f"`{name}` {shown}: must be {allowed}")
        else:
            faults.append(describe_unknown(model, name))
    return faults


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return an argument as an int, as settings take it: 5, 5.0 or NumPy's.

    Raises UsageError for anything else, and below `least`.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or value != value // 1 or not least <= value < math.inf:
        raise UsageError(
            f"`{name}` {value!r}: must be a whole number of at least {least}"
        )
    return int(value)


def describe_unknown(model: type[SettingsModel], name: str) -> str:
    """Return the sentence about a name that is no setting of a model."""
    # A word of some names means these: noise is no misspelt `normalise`.
    parts = [field for field in model.model_fields if name in field.split("_")]
    near = parts or get_close_matches(name, model.model_fields, n=1)
    if near:
        meant = " or ".join(f"'{field}'" for field in near)
        return f"unknown setting '{name}'; did you mean {meant}?"
    return f"unknown setting '{name}'; `hfcontrol train --help` lists all settings"


def format_value(value: Any) -> str:
    """Return a value as one would write it on the command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(_format_entry, value))
    return str(value)


def _format_range(entry: Any) -> str:
    """Return a number as its digits, a pair of numbers as LOW..HIGH, else its text."""
    if isinstance(entry, (tuple, list)):
        return "..".join(map(_format_range, entry))
    is_number = isinstance(entry, Real)
    return repr(float(entry)).removesuffix(".0") if is_number else str(entry)


def _format_entry(value: Any) -> str:
    """Return an entry of a list; a pair of bounds is a range LOW..HIGH."""
    if isinstance(value, (tuple, list)):
        return "..".join("" if side is None else str(side) for side in value)
    return "none" if value is None else str(value)


@cache
def options(model: type[SettingsModel]) -> tuple[Option, ...]:
    """Return the declarations of all settings of a model, in order."""
    return tuple(option_of(model, name) for name in model.model_fields)


def option_of(model: type[SettingsModel], name: str) -> Option:
    """Return the declaration of one setting."""
    field = model.model_fields[name]
    declared = dict(cast(dict[str, Any], field.json_schema_extra))
    declared["allowed"] = declared["allowed"] or describe_allowed(field)
    return Option(
        name=name,
        type=value_type(field),
        default=field.default,
        help=field.description or "",
        **declared,
    )


def alternatives(annotation: Any) -> list[Any]:
    """Return the types of a union without None, or the type itself."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [part for part in get_args(annotation) if part is not NoneType]


def value_type(field: FieldInfo) -> type:
    """Return int, float or bool if these are all that a setting allows, else str."""
    parts = alternatives(field.annotation)
    if len(parts) > 1:
        return str
    part = parts[0]
    if get_origin(part) is Annotated:
        part = get_args(part)[0]
    return part if part in (int, float, bool) else str


def join_words(words: Sequence[str], link: str = "or") -> str:
    """Return at least two words as a list in a sentence: "a, b or c"."""
    *others, last = words
    return f"{', '.join(others)} {link} {last}"


def describe_allowed(field: FieldInfo) -> str:
    """Return in words which values a setting allows, from its type and bounds."""
    first = alternatives(field.annotation)[0]
    if get_origin(first) is Literal:
        return join_words(get_args(first))

    limits: dict[str, Any] = {}
    for bound in field.metadata:
        for key in ("ge", "gt", "le", "lt", "allow_inf_nan"):
            if hasattr(bound, key):
                limits[key] = getattr(bound, key)

    nouns = {int: "a whole number", float: "a number", bool: "true or false"}
    noun = nouns.get(value_type(field), "a text")
    if limits.get("allow_inf_nan") is False:
        noun = "a finite number"
    return noun + describe_bounds(limits)


def describe_bounds(limits: dict[str, Any]) -> str:
    """Return the words for pydantic's bounds, which follow "a number"."""
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']:g} to {limits['le']:g}"
    words = ""
    if "ge" in limits:
        words = f" of at least {limits['ge']:g}"
    if "gt" in limits:
        words = f" above {limits['gt']:g}"
    if "le" in limits:
        words += f" and at most {limits['le']:g}"
    if "lt" in limits:
        words += f" and below {limits['lt']:g}"
    return words
