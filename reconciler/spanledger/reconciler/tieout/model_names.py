"""One name per model, so that the ledger's and the bill's lines meet: an explicit table and anchored rules, no luck.

Bills and answers name the same model differently: dated snapshots and their alias, cloud prefixes, inference profiles.
Names are compared as they stand first; only what is left over is compared by its family name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.semconv.prices.overrides import Overrides

_CLOUD_PREFIX: Final = re.compile(
    r"^(?:publishers/[a-z0-9-]+/models/|models/|(?:us|eu|apac|jp|au|us-gov|global)\.)?"
    r"(?:(?:anthropic|amazon|meta|mistral|cohere|openai|deepseek|qwen|google|x-ai|ai21)[./])?"
)
_CLOUD_SUFFIX: Final = re.compile(r"(?:-v\d+)?:\d+$|@(?:\d{8}|default|latest)$")
_SNAPSHOT: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class ModelNames:
    """Canonical and family names.

    Args:
        aliases: the provider's or the user's words for a model, lower case, to the model's name; a bill's line item,
            meter, SKU or usage type may stand here, too.
    """

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._aliases = {name.lower(): model.lower() for name, model in (aliases or {}).items()}
        self._canonical: dict[str, str] = {}
        self._family: dict[str, str] = {}

    @classmethod
    def of(cls, overrides: Overrides | None, org_id: str) -> ModelNames:
        """The names that an overrides file explains (deployments, profiles, aliases), for one organisation.

        Patterns are left out, and so is a name that means different models at different times, providers or projects.
        """
        meanings: dict[str, set[str]] = defaultdict(set)
        for alias in overrides.aliases if overrides is not None else ():
            if alias.scope.is_one_name and alias.scope.org in ("", org_id):
                meanings[alias.scope.model.lower()].add(alias.model)
        return cls({name: next(iter(models)) for name, models in meanings.items() if len(models) == 1})

    def canonical(self, name: str) -> str:
        """The name by which lines are compared first: lower case, aliases resolved, no cloud prefix or version."""
        known = self._canonical.get(name)
        if known is None:
            known = self._canonical[name] = self._plain(name)
        return known

    def written(self, model: str) -> frozenset[str]:
        """The names, in lower case, that were found to mean a model's canonical or family name; itself included."""
        return frozenset(
            name.strip().lower()
            for known in (self._canonical, self._family)
            for name, meant in known.items()
            if meant == model
        ) | {model}

    def _plain(self, name: str) -> str:
        plain = name.strip().lower()
        plain = self._aliases.get(plain, plain)
        stripped = _CLOUD_SUFFIX.sub("", _CLOUD_PREFIX.sub("", plain, count=1))
        return self._aliases.get(stripped, stripped)

    def family(self, name: str) -> str:
        """The canonical name without its snapshot date (``gpt-4o-2024-08-06`` → ``gpt-4o``)."""
        known = self._family.get(name)
        if known is None:
            plain = _SNAPSHOT.sub("", self.canonical(name))
            known = self._family[name] = self._aliases.get(plain, plain)
        return known
