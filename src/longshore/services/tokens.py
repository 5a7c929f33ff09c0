# SPDX-License-Identifier: Apache-2.0
"""How tokens are made: 256 random bits, of which only the sha256 is kept."""

import hashlib
import secrets
from datetime import datetime, timedelta

from longshore.domain.ids import ProjectId, RunId, TokenId, new_id
from longshore.domain.project import Role, Token, TokenKind
from longshore.domain.run import Run
from longshore.domain.secret import Plaintext

PREFIX = "lsh_"
RUN_SLACK = timedelta(hours=1)
"""A run's token is taken from it when it ends; this is for the case that nobody hears of the end."""


def hashed(value: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def made(
    name: str,
    role: Role,
    project: ProjectId | None,
    *,
    kind: TokenKind,
    at: datetime,
    lives: timedelta | None,
    id: TokenId | None = None,
) -> tuple[Token, str]:
    """A token and its value."""
    value = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=id or TokenId(new_id(at)),
        name=name,
        role=role,
        project_id=project,
        hash=hashed(value),
        kind=kind,
        created_at=at,
        expires_at=at + lives if lives else None,
    )
    return token, value


def of_run(run: Run, at: datetime) -> tuple[Token, Plaintext]:
    """The token of an attempt at a run: a runner's in its project."""
    lives = 2 * timedelta(seconds=run.limits.timeout_s) + RUN_SLACK
    name = f"run of {run.task_name}"
    token, value = made(
        name, Role.RUNNER, run.project_id, kind=TokenKind.RUN, at=at, lives=lives, id=run_token_id(run.id)
    )
    return token, Plaintext(value)


def run_token_id(run: RunId) -> TokenId:
    """A run has one token at a time, found by the run."""
    return TokenId(f"run-{run}")
