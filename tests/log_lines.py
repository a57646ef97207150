"""Log events for tests, which name only the fields that matter to them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import inspect

from chaos.lab import recorder
from lib.process.log_events import LogEvent, OrderSent, definitions, read_line
from lib.stack.log_follower import SupervisorEvent


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


def is_as_defined(raw: bytes) -> bool:
    """Whether a line is an event as it is defined, with its level and its fields; or no event."""
    read = read_line(raw)
    if read is None:  # of a traceback, or cut off
        return True
    if read.event is None:
        return False
    levels = {one.event: one.levels for one in definitions()}[type(read.event)]
    more = json.loads(raw).keys() - msgspec.to_builtins(read.event).keys()
    is_explained = isinstance(read.event, OrderSent)  # by the signal, in words of its own
    return read.level in levels and (is_explained or more == {"timestamp", "level", "role"})


def recorded(
    at_ns: int, source: str, name: str, fields: dict[str, Any] | None = None
) -> recorder.Event:
    """Return what the lab has recorded: of supervisord and the lab, what became of a role."""
    fields = fields or {}
    if source in (recorder.SUPERVISORD, "lab"):
        what = SupervisorEvent(name, fields["role"], str(fields.get("pid", 0)))
        return recorder.Event(at_ns, source, what)
    return recorder.Event(at_ns, source, made(name, by=source, **fields))


def _plain(event: type[LogEvent]) -> dict[str, Any]:
    fields = [field for field in msgspec.structs.fields(event) if field.required]
    values = {field.name: _value(inspect.type_info(field.type)) for field in fields}
    return {name: "orders" if (name, v) == ("stream", "") else v for name, v in values.items()}


_EMPTY: dict[type[inspect.Type], Any] = {
    inspect.UnionType: None,
    inspect.IntType: 0,
    inspect.FloatType: 0.0,
    inspect.DictType: {},
    inspect.ListType: [],
}


def _value(kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.Metadata):
        return _value(kind.type)
    if isinstance(kind, inspect.LiteralType):
        return "BUY" if "BUY" in kind.values else kind.values[0]
    return _EMPTY.get(type(kind), "")
