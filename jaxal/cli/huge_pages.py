"""Memory in large pages, for what computes long."""

import os
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Begins this process anew with memory in large pages; call it before anything is done.

    A training step allocates some hundred megabytes and gives them back, which takes longer in pages of four kilobytes (`docs/benchmarks.md`).
    Where Linux gives larger ones only to programs that ask (`madvise`), glibc asks from version 2.35 on if its environment says so when a
    process begins; hence the new beginning, in which the process keeps its number. Elsewhere nothing happens, nor where GLIBC_TUNABLES names `glibc.malloc.hugetlb`, with 0 for instance.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if TUNABLE in tunables or not sys.executable or not _helps():
        return
    environment = {**os.environ, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{TUNABLE}=1")))}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _helps() -> bool:
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        newer = library == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
        return newer and "[madvise]" in SWITCH.read_text()
    except (OSError, ValueError, AttributeError):  # another system, another library, or one that does not tell
        return False
