"""Gives this process a root directory of its own, then becomes the container's command.

A program on its own (`python -I -S launch.py SPEC`), on the standard library alone: a start costs milliseconds. SPEC is a JSON
file that is removed once read: `argv`, `env`, `cwd`, `hostname`, `root` (an empty directory), `readOnlyRoot`, `mounts`
(`[{source, target, readOnly}]`, absolute), `visible` (paths that must be seen wherever they lie), `hidden` (a path that must
not), `parent` (the pid that starts us) and `report` (an open file descriptor). Through `report` comes the name of the new mount
namespace as a line of its own, then nothing when the command runs; otherwise what went wrong.

What the process sees: the host's files, read-only; its volumes; `/tmp`, `/run`, `/var/tmp` and `/mnt` of its own, empty; a small
`/dev`. `/` and these can be written to unless `readOnlyRoot` says otherwise. Network and process numbers are the host's.
Needs Linux 5.12; a user namespace is made where we are not root.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import stat
import sys
from typing import Any, NoReturn

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x20000, 0x4000000, 0x10000000
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PR_SET_PDEATHSIG = 1
SYS_MOUNT_SETATTR = 442  # the same on every architecture that Python runs on, alpha aside
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

EMPTY = ("/tmp", "/run", "/var/tmp", "/mnt")
SKIPPED = ("/proc", "/sys", "/dev", "/boot", "/lost+found")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    source_word, target_word, kind_word, data_word = (
        None if word is None else os.fsencode(word) for word in (source, target, kind, data)
    )
    done = libc.mount(source_word, target_word, kind_word, ctypes.c_ulong(flags), data_word)
    checked(done, f"mount {source} on {target}")


class MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def make_read_only(target: str) -> None:
    """With everything that is mounted below it."""
    wanted = MountAttributes(set=MOUNT_ATTR_RDONLY)
    arguments = (ctypes.c_int(AT_FDCWD), os.fsencode(target), ctypes.c_uint(AT_RECURSIVE), ctypes.byref(wanted))
    result = libc.syscall(ctypes.c_long(SYS_MOUNT_SETATTR), *arguments, ctypes.c_size_t(ctypes.sizeof(wanted)))
    checked(result, f"make {target} read-only")


def bind(source: str, target: str, *, read_only: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        make_read_only(target)


def ancestors(path: str) -> list[str]:
    """Of `/a/b/c`: `/`, `/a`, `/a/b`."""
    parts = path.strip("/").split("/")
    return ["/"] + ["/" + "/".join(parts[:count]) for count in range(1, len(parts))]


def within(path: str, directories: tuple[str, ...] | list[str]) -> bool:
    return any(path == directory or path.startswith(directory + "/") for directory in directories)


def resolve(path: str) -> str:
    """Follow the host's symbolic links (`/var/run` is `/run`), but none inside a directory that starts empty."""
    done = "/"
    parts = [part for part in path.split("/") if part]
    for position, part in enumerate(parts):
        if within(done, EMPTY):
            return os.path.join(done, *parts[position:])
        done = os.path.realpath(os.path.join(done, part))
    return done


class Root:
    """The new root, under construction in a file system of its own at `base`."""

    def __init__(self, base: str, mounts: list[dict[str, Any]], visible: list[str], hidden: str) -> None:
        self.base = base
        self.hidden = resolve(hidden)
        shown = [resolve(path) for path in visible]
        self.mounts: list[dict[str, Any]] = [
            {"source": path, "target": path, "readOnly": True} for path in shown if within(path, EMPTY)
        ]
        self.mounts += [{**entry, "target": resolve(entry["target"])} for entry in mounts]
        self.mounts.sort(key=lambda entry: str(entry["target"]).count("/"))
        # A mount point that the host does not have needs its parents to be ours, with the host's entries bound one by one.
        self.ours = {parent for path in EMPTY for parent in ancestors(path)}
        placed: list[str] = []
        for entry in self.mounts:
            target = entry["target"]
            if not within(target, placed) and not within(target, EMPTY) and not within(target, ("/dev",)):
                same = os.path.isdir(target) == os.path.isdir(entry["source"])
                if not (os.path.exists(target) and same):
                    self.ours.update(ancestors(target))
            placed.append(target)

    def inside(self, path: str) -> str:
        return self.base + path

    def build(self) -> None:
        self._copy_shape("/")
        bind("/proc", self.inside("/proc"), read_only=False)
        bind("/sys", self.inside("/sys"), read_only=True)
        self._devices()
        targets = [entry["target"] for entry in self.mounts]
        for entry in self.mounts:
            bind(entry["source"], self.inside(entry["target"]), read_only=bool(entry.get("readOnly")))
        if not within(self.hidden, targets) and os.path.isdir(self.inside(self.hidden)):
            mount("tmpfs", self.inside(self.hidden), "tmpfs", MS_RDONLY, "size=4k")

    def _copy_shape(self, directory: str) -> None:
        os.makedirs(self.inside(directory), exist_ok=True)
        targets = {entry["target"] for entry in self.mounts}
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            target = self.inside(path)
            if path in SKIPPED:
                continue
            if path in EMPTY:
                os.makedirs(target, exist_ok=True)
                os.chmod(target, 0o1777)
            elif path in self.ours and os.path.isdir(path) and not os.path.islink(path):
                self._copy_shape(path)
            elif os.path.islink(path):
                if path not in targets:
                    os.symlink(os.readlink(path), target)
            elif stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFDIR, stat.S_IFREG):
                with contextlib.suppress(FileNotFoundError):  # it went away meanwhile
                    bind(path, target, read_only=True)

    def _devices(self) -> None:
        directory = self.inside("/dev")
        os.makedirs(directory, exist_ok=True)
        for name in DEVICES:
            if os.path.exists(f"/dev/{name}"):
                bind(f"/dev/{name}", f"{directory}/{name}", read_only=False)
        if os.path.isdir("/dev/pts"):
            bind("/dev/pts", f"{directory}/pts", read_only=False)
            os.symlink("pts/ptmx", f"{directory}/ptmx")
        for name, number in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            os.symlink(f"/proc/self/fd{number}", f"{directory}/{name}")
        os.mkdir(f"{directory}/shm")
        mount("tmpfs", f"{directory}/shm", "tmpfs", 0, "mode=1777,size=64m")


def leave_host(hostname: str) -> None:
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWUTS | (CLONE_NEWUSER if uid else 0)
    checked(libc.unshare(flags), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    own_name = hostname.encode()[:63]
    checked(libc.sethostname(own_name, len(own_name)), "sethostname")


def move_into(base: str, *, read_only: bool) -> None:
    os.chdir(base)
    number = SYS_PIVOT_ROOT[os.uname().machine]
    checked(libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    checked(libc.umount2(b".", MNT_DETACH), "leave the old root")
    os.chdir("/")
    if read_only:
        mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def become(spec: dict[str, Any]) -> NoReturn:
    leave_host(spec["hostname"])
    # After the user namespace: entering one clears it. The agent's death, kill -9 included, is the end of its containers.
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != spec["parent"]:
        raise OSError("the agent ended")
    mount("tmpfs", spec["root"], "tmpfs", 0, "mode=755")
    Root(spec["root"], spec["mounts"], spec["visible"], spec["hidden"]).build()
    move_into(spec["root"], read_only=spec["readOnlyRoot"])
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and what is ignored stays so over exec
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    if not os.path.isdir(spec["cwd"]) and not spec["readOnlyRoot"]:
        os.makedirs(spec["cwd"], exist_ok=True)
    os.chdir(spec["cwd"])
    os.write(spec["report"], os.readlink("/proc/self/ns/mnt").encode() + b"\n")
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except FileNotFoundError:
        raise OSError(f'exec: "{spec["argv"][0]}": executable file not found in $PATH') from None


def main() -> NoReturn:
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    os.unlink(sys.argv[1])
    os.set_inheritable(spec["report"], False)  # closes by itself when the command has taken over
    try:
        become(spec)
    except Exception as error:  # noqa: BLE001 - whatever it is, the agent must hear of it
        os.write(spec["report"], str(error).encode())
    os._exit(128)


if __name__ == "__main__":
    main()
