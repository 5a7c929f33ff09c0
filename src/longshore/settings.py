# SPDX-License-Identifier: Apache-2.0
"""Every setting, its environment variable (LONGSHORE_<NAME>) and its default."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data() -> Path:
    """Where data lives: /var/lib/longshore for root (sandbox users must be able to reach what is mounted
    from it), the user's own data directory otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/longshore")
    share = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(share) / "longshore"


class Settings(BaseSettings):
    """What an operator may say."""

    model_config = SettingsConfigDict(env_prefix="LONGSHORE_", extra="ignore")

    data: Path = Field(
        default_factory=default_data, description="directory of database, keys, packages, logs"
    )
    runtimes: Path | None = Field(
        default=None, description="directory of prepared runtimes, which servers may share; else in data"
    )
    listen: str = Field(
        default="127.0.0.1:8700", description="HOST:PORT to serve on; port 0 takes a free one"
    )
    sandbox: Literal["auto", "bubblewrap", "process"] = Field(
        default="auto", description="how handlers are isolated; 'process' is for trusted code only"
    )
    cpu_cores: float | None = Field(default=None, gt=0, description="cores this machine gives to runs")
    memory_mb: int | None = Field(default=None, gt=0, description="memory this machine gives to runs, MB")
    location: str = Field(default="default", description="the location whose runs this machine carries out")
    master_key: SecretStr | None = Field(
        default=None, description="key that seals secrets, 32 bytes in base64 or hex; else a file in data"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="server log")

    @property
    def runtimes_home(self) -> Path:
        """Where prepared runtimes are."""
        return self.runtimes or self.data / "runtimes"
