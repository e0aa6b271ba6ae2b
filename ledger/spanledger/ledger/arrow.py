"""pyarrow, which ships no type information, behind one door: everything from it is ``Any`` on purpose."""

from __future__ import annotations

import importlib
from typing import Any

pa: Any = importlib.import_module("pyarrow")
pc: Any = importlib.import_module("pyarrow.compute")
