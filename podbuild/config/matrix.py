"""An image table with a `matrix` stands for one image of each combination of its values.

Tables are put in place of it before anything else is read, so that every key may name a value:
`{matrix.NAME}`, in names, paths, arguments and tags alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product

from podbuild.config.keys import Invalid, toml_type

_NAMED = re.compile(r"\{matrix\.(?P<axis>[^{}]*)\}")
_MOST = 1000  # images of one table


def expanded(document: Mapping[str, object]) -> dict[str, object]:
    """Give a document whose image tables are one for each image; raises Invalid."""
    images = document.get("images")
    if not isinstance(images, dict) or not any(map(_has_matrix, images.values())):
        return dict(document)
    found: dict[str, object] = {}
    for written, table in images.items():
        for name, each in _images(written, table):
            if name in found:
                hint = "its name has to hold a value of every axis, such as web-{matrix.php}"
                path = ("images", written, "matrix")
                raise Invalid(f"several images would be called {name!r}", hint=hint, path=path)
            found[name] = each
    return {**document, "images": found}


def written_name(document: Mapping[str, object], name: str) -> str:
    """Give the name of the table that an image stands in."""
    images = document.get("images")
    if not isinstance(images, dict) or name in images:
        return name
    for written, table in images.items():
        if _has_matrix(table) and any(made == name for made, _ in _images(written, table)):
            return str(written)
    return name


def _has_matrix(table: object) -> bool:
    return isinstance(table, dict) and "matrix" in table


def _images(written: str, table: object) -> Iterator[tuple[str, object]]:
    if not isinstance(table, dict) or "matrix" not in table:
        yield written, table
        return
    axes = _axes(written, table["matrix"])
    rest = {name: value for name, value in table.items() if name != "matrix"}
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        yield str(_put(written, chosen, written)), _put(rest, chosen, written)


def _axes(written: str, value: object) -> dict[str, list[str]]:
    path = ("images", written, "matrix")
    hint = 'such as matrix = { php = ["8.3", "8.4"], os = ["debian", "alpine"] }'
    if not isinstance(value, dict):
        raise Invalid("expected a table of arrays", hint=hint, path=path)
    count = 1
    for axis, values in value.items():
        if not isinstance(values, list) or not values:
            raise Invalid("expected an array with values", hint=hint, path=(*path, axis))
        for place, each in enumerate(values):
            if not isinstance(each, str):
                wrong = f"expected a string, not {toml_type(each)}"
                raise Invalid(wrong, hint="write it in quotes", path=(*path, axis, place))
        if len({*values}) < len(values):
            raise Invalid("a value is there twice", path=(*path, axis))
        count *= len(values)
    if count > _MOST:
        raise Invalid(f"that would be {count} images, more than {_MOST}", path=path)
    return value


def _put(value: object, chosen: Mapping[str, str], written: str) -> object:
    match value:
        case str():
            return _NAMED.sub(lambda found: _value(found["axis"], chosen, written), value)
        case list():
            return [_put(each, chosen, written) for each in value]
        case dict():
            return {
                _put(name, chosen, written): _put(each, chosen, written)
                for name, each in value.items()
            }
        case _:
            return value


def _value(axis: str, chosen: Mapping[str, str], written: str) -> str:
    if axis not in chosen:
        raise Invalid(
            f"{{matrix.{axis}}}: there is no such axis",
            hint=f"the matrix has: {', '.join(chosen)}",
            path=("images", written, "matrix"),
        )
    return chosen[axis]
