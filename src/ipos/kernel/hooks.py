# SPDX-License-Identifier: Apache-2.0
"""Puts programs on their hooks, and keeps the links that hold them there.

A link is pinned under a name that contains its hook and interface, so that a later process finds
it. We use tcx and not classic tc, because `tc qdisc del` cannot flush a link, and a link vanishes
with its owner.
"""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import AttachError, PinError, SlotTaken, explain
from ipos.kernel.libbpf.objects import xdp_program_id


class Hook(StrEnum):
    """Where a program runs. Its program is called `ipos_` and the hook's name."""

    SOCKOPS = "sockops"
    SOCKOPS6 = "sockops6"
    LOOKUP = "lookup"
    INGRESS = "ingress"
    QUIC = "quic"
    INGRESS6 = "ingress6"
    EGRESS = "egress"
    EGRESS6 = "egress6"
    OWN = "own"
    BOX_OUT = "box_out"
    BOX_IN = "box_in"
    XDP = "xdp"

    @property
    def program(self) -> str:
        return f"ipos_{self.value}"


_ATTACH_TYPE: Final = {
    Hook.SOCKOPS: syscall.ATTACH_CGROUP_SOCK_OPS,
    Hook.SOCKOPS6: syscall.ATTACH_CGROUP_SOCK_OPS,
    Hook.LOOKUP: syscall.ATTACH_SK_LOOKUP,
    Hook.INGRESS: syscall.ATTACH_TCX_INGRESS,
    Hook.QUIC: syscall.ATTACH_TCX_INGRESS,
    Hook.INGRESS6: syscall.ATTACH_TCX_INGRESS,
    Hook.EGRESS: syscall.ATTACH_TCX_EGRESS,
    Hook.EGRESS6: syscall.ATTACH_TCX_EGRESS,
    Hook.OWN: syscall.ATTACH_TCX_EGRESS,
    Hook.BOX_OUT: syscall.ATTACH_TCX_INGRESS,
    Hook.BOX_IN: syscall.ATTACH_TCX_INGRESS,
    Hook.XDP: syscall.ATTACH_XDP,
}
_ORDER: Final = list(Hook)
BOX_HOOKS: Final = (Hook.BOX_OUT, Hook.BOX_IN)
"""Of containers: `ipos.kernel.box_hooks` puts programs there, and no plan names them."""
_NAMESPACE: Final = Path("/proc/thread-self/ns/net")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program to be on one hook: of an interface, of a cgroup (sockops), or of this thread's
    network namespace (lookup).

    label: what the link is called by where the interface is one of another network namespace.
    """

    hook: Hook
    ifindex: int = 0
    cgroup: Path | None = None
    label: int = 0

    @property
    def name(self) -> str:
        """Its link's name among the pins."""
        number = self.label or self.ifindex
        return f"{self.hook}-{number}" if number else str(self.hook)


@dataclass(frozen=True, slots=True)
class Link:
    """A pinned link. `target` is an ifindex or the id of a cgroup or network namespace; 0 once its
    target has gone.
    """

    name: str
    hook: Hook
    target: int
    program_id: int


def converge(pin_dir: Path, plan: Sequence[Attachment]) -> tuple[Link, ...]:
    """Links for the plan, no others. Those of the plan that hold already are kept."""
    links = pin_dir / "links"
    made: list[Path] = []
    try:
        for wanted in sorted(plan, key=lambda a: _ORDER.index(a.hook)):
            if ensure(pin_dir, wanted):
                made.append(links / wanted.name)
    except BaseException:
        for path in reversed(made):
            remove_link(path)
        raise
    names = {wanted.name for wanted in plan}
    for path in sorted(links.iterdir()):
        if path.name not in names and _hook_of(path) not in BOX_HOOKS:
            remove_link(path)
    return tuple(read_link(path) for path in sorted(links.iterdir()))


def ensure(pin_dir: Path, wanted: Attachment) -> bool:
    """Have one attachment; whether it was made, and did not hold already."""
    path = pin_dir / "links" / wanted.name
    if path.exists():
        if read_link(path).target == _target(wanted):
            return False
        remove_link(path)
    _make_link(pin_dir, wanted)
    return True


def _hook_of(path: Path) -> Hook:
    return Hook(path.name.partition("-")[0])


def replace(pin_dir: Path, programs: Path, names: Iterable[str]) -> None:
    """Put new programs under the links, one link at a time; back again if one is refused."""
    names = set(names)
    done: list[Path] = []
    try:
        for path in sorted((pin_dir / "links").iterdir()):
            link = read_link(path)
            if link.hook.program in names and link.target:
                _update_link(path, programs / link.hook.program)
                done.append(path)
    except BaseException:
        for path in reversed(done):
            _update_link(path, pin_dir / "progs" / read_link(path).hook.program)
        raise


def read_link(path: Path) -> Link:
    fd = open_pin(path, f"link {path.name}")
    try:
        info = syscall.link_info(fd)
    finally:
        os.close(fd)
    return Link(path.name, _hook_of(path), info.target, info.program_id)


def remove_link(path: Path) -> None:
    """Take it off its hook and unpin it. A link whose interface has gone is only unpinned."""
    fd = open_pin(path, f"link {path.name}")
    try:
        syscall.link_detach(fd)
    except OSError as error:
        if error.errno not in (errno.ENOLINK, errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP):
            number = error.errno or 0
            raise AttachError(f"cannot detach {path.name}: {explain(number)}", number) from error
    finally:
        os.close(fd)
    path.unlink()


def open_pin(path: Path, what: str) -> int:
    try:
        return syscall.open_pinned(path)
    except OSError as error:
        number = error.errno or 0
        raise PinError(f"cannot open {what} at {path}: {explain(number)}", number) from error


def _target(wanted: Attachment) -> int:
    """What `Link.target` is for an attachment that holds: an index, or an inode's number."""
    if wanted.hook is Hook.LOOKUP:
        return _NAMESPACE.stat().st_ino
    if wanted.cgroup is None:
        return wanted.ifindex
    try:
        return wanted.cgroup.stat().st_ino
    except OSError as error:
        raise _no_cgroup(wanted.cgroup, error) from None


def _no_cgroup(cgroup: Path, error: OSError) -> AttachError:
    number = error.errno or 0
    return AttachError(f"cannot open the cgroup {cgroup}: {explain(number)}", number)


def _make_link(pin_dir: Path, wanted: Attachment) -> None:
    program = open_pin(pin_dir / "progs" / wanted.hook.program, f"the program for {wanted.hook}")
    try:
        if wanted.hook is Hook.LOOKUP:
            fd = _link_namespace(program)
        elif wanted.cgroup is None:
            fd = _link_interface(program, wanted)
        else:
            fd = _link_cgroup(program, wanted, wanted.cgroup)
    finally:
        os.close(program)
    try:
        syscall.pin(fd, pin_dir / "links" / wanted.name)
    except OSError as error:
        number = error.errno or 0
        raise PinError(f"cannot pin link {wanted.name}: {explain(number)}", number) from error
    finally:
        os.close(fd)


def _link_cgroup(program: int, wanted: Attachment, cgroup: Path) -> int:
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _no_cgroup(cgroup, error) from None
    try:
        return syscall.link_create(program, directory, _ATTACH_TYPE[wanted.hook], 0)
    except OSError as error:
        number = error.errno or 0
        hint = ": is it a cgroup2 directory?" if number in (errno.EINVAL, errno.EBADF) else ""
        raise AttachError(
            f"cannot attach {wanted.hook} to the cgroup {cgroup}: {explain(number)}{hint}", number
        ) from error
    finally:
        os.close(directory)


def _link_namespace(program: int) -> int:
    namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return syscall.link_create(program, namespace, _ATTACH_TYPE[Hook.LOOKUP], 0)
    except OSError as error:
        number = error.errno or 0
        raise AttachError(
            f"cannot attach {Hook.LOOKUP} to this network namespace: {explain(number)}", number
        ) from error
    finally:
        os.close(namespace)


def _link_interface(program: int, wanted: Attachment) -> int:
    if wanted.hook is Hook.XDP:
        # Never generic XDP: it runs a second time on what tc puts back on ingress, and leaves
        # skb->tail a link header too far after bpf_xdp_adjust_tail() (as of Linux 6.18), so that
        # TCP appends the next segment behind a gap of foreign bytes.
        flags = syscall.XDP_NATIVE
    else:
        flags = syscall.TCX_FIRST
    try:
        return syscall.link_create(program, wanted.ifindex, _ATTACH_TYPE[wanted.hook], flags)
    except OSError as error:
        raise _refused(wanted, error) from error


def _refused(wanted: Attachment, error: OSError) -> AttachError:
    """The sentence for a program that an interface did not take."""
    number = error.errno or 0
    where = _interface(wanted.ifindex)
    if wanted.hook is Hook.XDP:
        if number in (errno.EBUSY, errno.EEXIST):
            return _taken(wanted.ifindex, number)
        if number == errno.EOPNOTSUPP:
            return AttachError(
                f"the driver of {where} has no native XDP, which ipos needs: use an interface "
                "whose driver has it",
                number,
            )
    if number == errno.EINVAL and wanted.hook is not Hook.XDP:
        return AttachError(
            f"the kernel does not take {wanted.hook} on {where} ({explain(number)}): tcx needs "
            "Linux 6.6, ipos Linux 6.9 or newer",
            number,
        )
    return AttachError(f"cannot attach {wanted.hook} to {where}: {explain(number)}", number)


def xdp_occupant(ifindex: int) -> tuple[int, str]:
    """(id, name) of the XDP program on an interface; (0, "") when there is none."""
    number = xdp_program_id(ifindex)
    if not number:
        return 0, ""
    try:
        fd = syscall.program_fd_by_id(number)
    except OSError:  # it went away in between, or may not be looked at
        return number, ""
    try:
        return number, syscall.program_info(fd).name
    finally:
        os.close(fd)


def expect_free(pin_dir: Path, others: Iterable[Path], interfaces: Iterable[int]) -> None:
    """SlotTaken when an interface of this network namespace has XDP that is not this data plane's.

    `others` are the pin directories of all data planes of this host, so that the error can name the
    owner.
    """
    for ifindex in dict.fromkeys(interfaces):
        occupant, name = xdp_occupant(ifindex)
        if not occupant or occupant in _xdp_programs(pin_dir):
            continue
        for other in others:
            if occupant in _xdp_programs(other):
                raise SlotTaken(
                    f"{_interface(ifindex)} has the data plane {other.name} (farm and server) "
                    f"already, and this would be {pin_dir.name}: correct farm.name or server.name "
                    "in the configuration, or take the other one off with `ipos detach` first",
                    errno.EBUSY,
                    name,
                    occupant,
                )
        raise _taken(ifindex, errno.EBUSY)


def _xdp_programs(pin_dir: Path) -> set[int]:
    """The programs that the XDP links of a data plane hold."""
    try:
        return {read_link(path).program_id for path in (pin_dir / "links").glob(f"{Hook.XDP}-*")}
    except (OSError, PinError):  # it is being taken away
        return set()


def _taken(ifindex: int, number: int) -> SlotTaken:
    try:
        program_id, name = xdp_occupant(ifindex)
    except OSError:
        program_id, name = 0, ""
    who = f"program {name or 'without a name'} (id {program_id})" if program_id else "a program"
    where = _interface(ifindex)
    return SlotTaken(
        f"the XDP slot of {where} is taken by {who}: remove it (ip link set dev "
        f"{where.split(' ')[0]} xdp off, or end what holds its link), or give ipos another "
        "interface",
        number,
        name,
        program_id,
    )


def _interface(ifindex: int) -> str:
    try:
        return f"{socket.if_indextoname(ifindex)} (ifindex {ifindex})"
    except OSError:
        return f"ifindex {ifindex}, which is not in this network namespace"


def _update_link(path: Path, program: Path) -> None:
    link = open_pin(path, f"link {path.name}")
    try:
        new = open_pin(program, f"program {program.name}")
        try:
            syscall.link_update(link, new)
        finally:
            os.close(new)
    except OSError as error:
        number = error.errno or 0
        raise AttachError(
            f"cannot put the new program under link {path.name}: {explain(number)}", number
        ) from error
    finally:
        os.close(link)
