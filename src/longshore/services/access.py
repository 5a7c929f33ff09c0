# SPDX-License-Identifier: Apache-2.0
"""Who may come in: tokens, login links, sessions, projects."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from longshore.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from longshore.domain.ids import ProjectId, RunId, TokenId, new_id
from longshore.domain.names import checked
from longshore.domain.project import Actor, Project, Role, Scope, Token, TokenKind
from longshore.domain.run_token import opens, run_of
from longshore.ports.clock import Clock
from longshore.ports.store import Page, Store, Work
from longshore.services.express import Express
from longshore.services.remembered import Remembered

PREFIX = "lsh_"
LOGIN_LINK_LIVES = timedelta(minutes=30)
SESSION_LIVES = timedelta(days=7)
USED_AT_GRAIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class AccessService:
    """Tokens are 256 random bits; only their sha256 is kept."""

    store: Store
    clock: Clock
    remembered: Remembered
    express: Express | None = None
    _used: dict[TokenId, datetime] = field(default_factory=dict, repr=False)

    async def authenticate(self, value: str, *, kind: TokenKind = TokenKind.BEARER) -> Actor:
        """Whose token this is; raises Unauthenticated for an unknown, expired or other kind of token. A run
        calls with a bearer token of its own."""
        run = run_of(value) if kind is TokenKind.BEARER else None
        if run is not None:
            return await self._run(run, value)
        now = self.clock.now()
        digest = _hash(value)
        token = await self.remembered.answer(("token", digest), lambda work: work.tokens.by_hash(digest))
        if token is None or token.kind is not kind:
            raise Unauthenticated("this token is not known here; make one with: longshore token create")
        if token.expires_at is not None and token.expires_at <= now:
            raise Unauthenticated(f"the token {token.name} expired at {token.expires_at:%Y-%m-%d %H:%M} UTC")
        used_at = self._used.get(token.id, token.used_at)
        if used_at is None or now - used_at > USED_AT_GRAIN:
            self._used[token.id] = now
            await self.store.write(lambda work: work.tokens.used(token.id, now))
        return Actor(name=token.name, role=token.role, project_id=token.project_id)

    async def _run(self, id: RunId, value: str) -> Actor:
        over = Unauthenticated("this is no token of a run that is under way; a run's token ends with it")
        if self.express is not None:
            await self.express.settled(id)
        try:
            run = await self.store.read(lambda work: work.runs.get(None, id))
        except NotFound:
            raise over from None
        if not opens(value, run):
            raise over
        name = f"run of {run.task_name}"
        return Actor(name=name, role=Role.RUNNER, project_id=run.project_id, is_run=True)

    async def project(self, slug: str, actor: Actor) -> Project:
        """A project that the caller reaches; NotFound for any other, whether it exists or not."""
        missing = NotFound(f"there is no project {slug[:64]!r} that this token reaches")
        try:
            project = await self.remembered.answer(
                ("project", slug), lambda work: work.projects.by_slug(slug)
            )
        except NotFound:
            raise missing from None
        if actor.project_id not in (None, project.id):
            raise missing
        return project

    async def projects(self, actor: Actor, page: Page) -> Sequence[Project]:
        """The projects that the caller reaches."""
        own = actor.project_id
        if own is None:
            return await self.store.read(lambda work: work.projects.page(page))
        return [await self.store.read(lambda work: work.projects.get(own))]

    async def create_project(self, slug: str, actor: Actor) -> Project:
        """A new, empty project; takes an admin whose token reaches every project."""
        actor.need(Scope.ADMIN)
        if actor.project_id is not None:
            raise NotFound(
                "this token reaches one project only; creating projects takes one that reaches all"
            )
        return await self.ensure_new_project(slug)

    async def ensure_new_project(self, slug: str) -> Project:
        """Create a project; raises Conflict when the slug is taken."""
        now = self.clock.now()
        project = Project(
            id=ProjectId(new_id(now)), slug=checked("project", slug, field="slug"), created_at=now
        )
        await self.store.write(lambda work: work.projects.add(project))
        return project

    async def ensure_project(self, slug: str) -> Project:
        """The project of that slug, made now if there is none."""
        try:
            return await self.store.read(lambda work: work.projects.by_slug(slug))
        except NotFound:
            return await self.ensure_new_project(slug)

    async def create_token(
        self,
        name: str,
        role: Role,
        project: Project | None,
        *,
        by: Actor | None,
        expires_in: timedelta | None = None,
    ) -> tuple[Token, str]:
        """A new token and its value, which is never to be had again.

        `by` is None for someone with the data directory in hand. Others must be admins, and a token of one
        project makes tokens of that project only.
        """
        if by is not None:
            by.need(Scope.ADMIN)
            if by.project_id is not None and (project is None or project.id != by.project_id):
                raise NotFound("this token makes tokens of its own project only")
        if expires_in is not None and expires_in <= timedelta(0):
            raise Invalid("a token's life takes at least one day", field="expires_in_days")
        return await self._issue(
            checked("token", name),
            role,
            project.id if project else None,
            kind=TokenKind.BEARER,
            lives=expires_in,
        )

    async def tokens(self, project: Project | None, page: Page) -> Sequence[Token]:
        """Bearer tokens of a project, or those that reach all."""
        return await self.store.read(lambda work: work.tokens.page(project.id if project else None, page))

    async def revoke(self, project: Project | None, token: TokenId) -> None:
        """End a token at once; NotFound when it is not one of this project's."""

        def change(work: Work) -> None:
            pages = work.tokens.page(project.id if project else None, Page(limit=10_000))
            if token not in {known.id for known in pages}:
                raise NotFound(f"there is no token {token} here")
            work.tokens.remove(token)

        await self.store.write(change)

    async def login_link(self, actor: Actor) -> tuple[str, datetime]:
        """A code that opens one browser session with the caller's own reach, once."""
        _not_a_run(actor)
        token, value = await self._issue(
            actor.name, actor.role, actor.project_id, kind=TokenKind.LOGIN, lives=LOGIN_LINK_LIVES
        )
        return value, token.expires_at or token.created_at + LOGIN_LINK_LIVES

    async def login(self, value: str) -> tuple[str, datetime]:
        """A session for a login link's code or a bearer token; the code is used up by it."""
        token = await self.store.read(lambda work: work.tokens.by_hash(_hash(value)))
        kind = token.kind if token and token.kind is TokenKind.LOGIN else TokenKind.BEARER
        actor = await self.authenticate(value, kind=kind)
        _not_a_run(actor)
        if token and kind is TokenKind.LOGIN:
            await self.store.write(lambda work: work.tokens.remove(token.id))
        session, session_value = await self._issue(
            actor.name, actor.role, actor.project_id, kind=TokenKind.SESSION, lives=SESSION_LIVES
        )
        return session_value, session.expires_at or session.created_at + SESSION_LIVES

    async def logout(self, value: str) -> None:
        """End a session; ending an unknown one is harmless."""

        def change(work: Work) -> None:
            token = work.tokens.by_hash(_hash(value))
            if token is not None and token.kind is TokenKind.SESSION:
                work.tokens.remove(token.id)

        await self.store.write(change)

    async def _issue(
        self, name: str, role: Role, project: ProjectId | None, *, kind: TokenKind, lives: timedelta | None
    ) -> tuple[Token, str]:
        value = PREFIX + secrets.token_urlsafe(32)
        now = self.clock.now()
        token = Token(
            id=TokenId(new_id(now)),
            name=name,
            role=role,
            project_id=project,
            hash=_hash(value),
            kind=kind,
            created_at=now,
            expires_at=now + lives if lives else None,
        )
        await self.store.write(lambda work: work.tokens.add(token))
        return token, value


def _not_a_run(actor: Actor) -> None:
    """What a run may do ends with it, so it makes nothing that would outlive it."""
    if actor.is_run:
        raise Forbidden("the token of a run opens no session")


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
