"""Puts wrappers on classes and takes them off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt  # pyright: ignore[reportMissingTypeStubs]

_function_wrapper: Any = wrapt.FunctionWrapper  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_register_hook: Any = wrapt.register_post_import_hook  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


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
        self._undo: list[tuple[Any, str, Any, Any]] = []

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap ``owner.name``; the owner must define it itself."""
        original: Any = owner.__dict__[name]
        wrapped = _function_wrapper(original, wrapper)
        setattr(owner, name, wrapped)
        self._undo.append((owner, name, original, wrapped))

    def restore(self) -> None:
        self.is_active = False
        for owner, name, original, wrapped in reversed(self._undo):
            if owner.__dict__.get(name) is wrapped:
                setattr(owner, name, original)
        self._undo.clear()


def definer(cls: type, name: str) -> type | None:
    """The class among a class and its bases that defines a method."""
    return next((base for base in cls.__mro__ if name in vars(base)), None)
