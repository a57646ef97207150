"""Log events for tests, which name only the fields that matter to them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from chaos.lab import recorder
from lib.process.log_events import LogEvent, definitions


def made(name: str, *, by: str = "", **fields: Any) -> LogEvent:
    """Return the event of this name, of the role `by` if roles differ; else zeros and no text."""
    for one in definitions():
        known = {field.name for field in msgspec.structs.fields(one.event)}
        if one.name == name and (not by or by in one.roles) and fields.keys() <= known:
            try:
                return msgspec.convert({**_plain(one.event), **fields, "event": name}, one.event)
            except msgspec.ValidationError:
                continue
    raise AssertionError(f"no event {name} of {by or 'any role'} has {fields}")


def recorded(
    at_ns: int, source: str, name: str, fields: dict[str, Any] | None = None
) -> recorder.Event:
    """Return what the lab has recorded: of supervisord and the lab, what became of a role."""
    fields = fields or {}
    if source in (recorder.SUPERVISORD, "lab"):
        change = recorder.RoleChange(recorder.Change(name), fields["role"])
        return recorder.Event(at_ns, source, change)
    return recorder.Event(at_ns, source, made(name, by=source, **fields))


def _plain(event: type[LogEvent]) -> dict[str, Any]:
    fields = [field for field in msgspec.structs.fields(event) if field.required]
    values = {field.name: _value(inspect.type_info(field.type)) for field in fields}
    return {name: "orders" if (name, v) == ("stream", "") else v for name, v in values.items()}


def _value(kind: inspect.Type) -> Any:
    match kind:
        case inspect.Metadata():
            return _value(kind.type)
        case inspect.LiteralType():
            return "BUY" if "BUY" in kind.values else kind.values[0]
        case inspect.UnionType():
            return None
        case inspect.IntType():
            return 0
        case inspect.FloatType():
            return 0.0
        case inspect.DictType():
            return {}
        case inspect.ListType():
            return []
    return ""
