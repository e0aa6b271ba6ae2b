"""The data of ``genai-prices`` without its code, which needs pydantic and an HTTP client: a tenth of the memory.

`bundled.providers` runs the installed package's data module with the constructors of `types`, which keep of it what
decides a price. `models` reads that: which model a name means, which prices hold at an instant.
"""
