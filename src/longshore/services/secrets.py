# SPDX-License-Identifier: Apache-2.0
"""A project's secrets: sealed at rest, revealed to editors, or to nobody when hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

from longshore.domain.errors import Conflict, Forbidden, Invalid
from longshore.domain.names import checked
from longshore.domain.project import Actor, Project
from longshore.domain.secret import Plaintext, Secret
from longshore.ports.clock import Clock
from longshore.ports.store import Page, Store, Work
from longshore.ports.vault import Vault

MAX_SECRET_BYTES = 64 * 1024
SHORTEST_MASKED = 4


@dataclass(frozen=True, slots=True)
class SecretService:
    """Put, reveal, list, delete."""

    store: Store
    vault: Vault
    clock: Clock

    async def put(
        self, project: Project, name: str, value: Plaintext, *, hidden: bool, actor: Actor
    ) -> tuple[Secret, tuple[str, ...]]:
        """Keep a value verbatim; hidden is one-way: a hidden secret never becomes visible again."""
        checked("secret", name)
        size = len(value.reveal().encode("utf-8", "surrogatepass"))
        if not 0 < size <= MAX_SECRET_BYTES:
            raise Invalid(f"a secret's value takes 1 to {MAX_SECRET_BYTES} bytes", field="value")
        secret = Secret(
            project_id=project.id,
            name=name,
            sealed=self.vault.seal(value, context=context_of(project.id, name)),
            hidden=hidden,
            updated_at=self.clock.now(),
            updated_by=actor.name,
        )

        def change(work: Work) -> None:
            if not hidden and any(known.hidden for known in work.secrets.named(project.id, [name])):
                raise Conflict(f"the secret {name} is hidden; put it with hidden again, or delete it first")
            work.secrets.put(secret)

        await self.store.write(change)
        short = len(value.reveal()) < SHORTEST_MASKED
        warning = f"values shorter than {SHORTEST_MASKED} characters cannot be masked in logs"
        return secret, (warning,) if short else ()

    async def reveal(self, project: Project, name: str) -> Plaintext:
        """The value; raises Forbidden for a hidden one."""
        secret = await self.store.read(lambda work: work.secrets.get(project.id, name))
        if secret.hidden:
            raise Forbidden(f"the secret {name} is hidden: it can be used and replaced but not shown")
        return self.vault.open(secret.sealed, context=context_of(project.id, name))

    async def check_key(self) -> None:
        """Raise Unavailable when the master key is not the one that the stored secrets were sealed with."""
        one = await self.store.read(lambda work: work.secrets.any_one())
        if one is not None:
            self.vault.open(one.sealed, context=context_of(one.project_id, one.name))

    async def list(self, project: Project, page: Page) -> Sequence[Secret]:
        """Names and dates, no values."""
        return await self.store.read(lambda work: work.secrets.page(project.id, page))

    async def delete(self, project: Project, name: str) -> None:
        """Forget a secret; raises NotFound."""
        await self.store.write(lambda work: work.secrets.remove(project.id, name))


def context_of(project: str, name: str) -> str:
    """What a secret's sealed value is bound to."""
    return f"{project}/{name}"
