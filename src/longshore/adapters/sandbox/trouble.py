# SPDX-License-Identifier: Apache-2.0
"""What bubblewrap's complaints mean, and the command that mends it."""

from pathlib import Path

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MOST = Path("/proc/sys/user/max_user_namespaces")


def explained(said: str) -> str:
    """bubblewrap's own words, and what to do."""
    advice = namespaces_closed() or _advice(said)
    return f"bubblewrap does not work here ({said or 'it said nothing'}){'; ' + advice if advice else ''}"


def namespaces_closed() -> str | None:
    """The setting of this machine that keeps ordinary users from making namespaces, with its command."""
    if _value(_MOST) == "0":
        return "user namespaces are switched off; run: sysctl -w user.max_user_namespaces=15000"
    if _value(_CLONE) == "0":
        return "user namespaces are closed to users; run: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value(_APPARMOR) == "1":
        return (
            "AppArmor may keep bubblewrap from user namespaces; load its profile bwrap-userns-restrict "
            "(apt-get install apparmor-profiles; "
            "cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/; "
            "apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict) "
            "or run: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return None


def _advice(said: str) -> str | None:
    if "mount proc" in said:
        return (
            "this container hides parts of /proc; start it with "
            "--security-opt systempaths=unconfined --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined"
        )
    if "Operation not permitted" in said or "No permissions" in said:
        return (
            "namespaces are forbidden, as in a container with the default profile; start it with "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined"
        )
    if "Unknown option" in said or "unknown option" in said:
        return "this bubblewrap is too old; version 0.8 or newer is needed"
    if "No such file" in said or "Permission denied" in said:
        return "every directory on the way to what is mounted must let everybody pass (chmod o+x)"
    return None


def _value(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
