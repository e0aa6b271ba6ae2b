"""Puts wrappers on classes and takes them off again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import CellType
from typing import Any

import wrapt  # pyright: ignore[reportMissingTypeStubs]

_function_wrapper: Any = wrapt.FunctionWrapper  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_register_hook: Any = wrapt.register_post_import_hook  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

_NOTHING: Any = object()


def when_imported(hook: Callable[[Any], None], module_name: str) -> None:
    """Run a hook on a module when it is imported later; hooks cannot be removed."""
    _register_hook(hook, module_name)


Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""``wrapper(wrapped, instance, args, kwargs)``, as wrapt calls it."""


class Patches:
    """Wrapped attributes of one SDK.

    Attributes:
        is_active: False once they were taken off: a wrapper that somebody else has wrapped since stays in place, and
            must only call through.
    """

    def __init__(self) -> None:
        self.is_active = True
        self._undo: list[Callable[[], None]] = []

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap ``owner.name``; the owner must define it itself."""
        original: Any = owner.__dict__[name]
        wrapped = _function_wrapper(original, wrapper)
        setattr(owner, name, wrapped)
        self._undo.append(partial(_put_back, owner, name, original, wrapped))

    def wrap_inherited(self, owner: type, name: str, wrapper: Wrapper) -> bool:
        """Wrap a method for a class and what is derived from it, also where it has it from a base.

        Returns:
            False if it has no such method.
        """
        holder = definer(owner, name)
        if holder is None:
            return False
        self.put(owner, name, _function_wrapper(vars(holder)[name], wrapper))
        return True

    def wrap_cell(self, cell: CellType, wrapper: Wrapper) -> None:
        """Wrap the function that a decorator keeps: whoever has the decorated one already calls through it as well."""
        original: Any = cell.cell_contents
        wrapped = _function_wrapper(original, wrapper)
        cell.cell_contents = wrapped
        self._undo.append(partial(_put_back_in_cell, cell, original, wrapped))

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Put something in the place of ``owner.name``, or where there was nothing."""
        original: Any = owner.__dict__.get(name, _NOTHING)
        setattr(owner, name, value)
        self._undo.append(partial(_put_back, owner, name, original, value))

    def restore(self) -> None:
        self.is_active = False
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()


def _put_back(owner: Any, name: str, original: Any, wrapped: Any) -> None:
    if owner.__dict__.get(name) is not wrapped:
        return
    if original is _NOTHING:
        delattr(owner, name)
    else:
        setattr(owner, name, original)


def _put_back_in_cell(cell: CellType, original: Any, wrapped: Any) -> None:
    if cell.cell_contents is wrapped:
        cell.cell_contents = original


def definer(cls: type, name: str) -> type | None:
    """The class among a class and its bases that defines a method."""
    return next((base for base in cls.__mro__ if name in vars(base)), None)
