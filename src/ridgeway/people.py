"""The door to who is acting: a CI system's user, the cluster's, or the operating system's.

The first source that knows counts, and its strength is kept with the name: what ``ridgeway.rules.approval`` lets a
person do depends on both.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from ridgeway.artifacts import Person
from ridgeway.settings import ci_build

CI_USERS = {
    "azure": ("BUILD_REQUESTEDFOREMAIL", "BUILD_REQUESTEDFOR"),
    "github": ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
    "gitlab": ("GITLAB_USER_LOGIN",),
    "jenkins": ("BUILD_USER_ID",),
}
"""CI system → variables with the user for whom the run was started; the first that is set counts. On GitHub the
triggering actor is who ran it again, where the actor stays who ran it first."""


def acting(environ: Mapping[str, str] | None = None, *, from_target: Person | None = None) -> Person:
    """The person on whose behalf this process runs, from the first source that knows one.

    1. In a CI run, the user for whom the CI system says that it runs. A variable is a fact of the run, not a proof: any
       script of the same job could have set it. Its strength is ``ci-environment``, and it links to the run.
    2. What the target says: a cluster knows whose credentials it was shown (strength ``cluster``).
    3. The operating system: the account of this process's user id, never ``$USER`` (strength ``local``).

    Args:
        environ: The environment; that of this process by default.
        from_target: What ``Target.person()`` said, where the last stage is one that can say.

    Example:
        >>> acting({"GITHUB_RUN_ID": "7", "GITHUB_ACTOR": "ada"}).name
        'ada'
    """
    environ = os.environ if environ is None else environ
    return _of_ci(environ) or from_target or _of_system(environ)


def _of_ci(environ: Mapping[str, str]) -> Person | None:
    build = ci_build(environ)
    found = (environ.get(variable, "").strip() for variable in CI_USERS.get(build.get("system", ""), ()))
    name = next((name for name in found if name), "")
    return Person(name, "ci", "ci-environment", build["url"]) if name else None


def _of_system(environ: Mapping[str, str]) -> Person:
    """The account of the process; where that is root by way of sudo, root, with a note of who went that way.

    Not the one who went that way: root may write into SUDO_UID whatever it likes.
    """
    own = os.getuid()
    caller = environ.get("SUDO_UID", "")
    note = f"sudo by {_account(int(caller))}" if own == 0 and caller.isdecimal() and len(caller) < 11 else ""
    return Person(_account(own), "system", "local", note)


def _account(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except (KeyError, OverflowError):  # a container may run as a number that no account has
        return f"uid-{user_id}"
