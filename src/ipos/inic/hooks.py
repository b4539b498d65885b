# SPDX-License-Identifier: Apache-2.0
"""Programs on their hooks: which goes where, and the links that keep them there.

A link is pinned under a name that says its hook and interface, so that a later process finds it.
tcx and not classic tc: a link cannot be flushed by `tc qdisc del`, and it vanishes with its owner.
"""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from ipos.inic.libbpf import syscall
from ipos.inic.libbpf.errors import AttachError, PinError, SlotTaken, explain
from ipos.inic.libbpf.maps import Map
from ipos.inic.libbpf.objects import xdp_program_id


class Hook(StrEnum):
    """Where a program runs. Its program is called `ipos_` and the hook's name."""

    SOCKOPS = "sockops"
    INGRESS = "ingress"
    EGRESS = "egress"
    XDP = "xdp"

    @property
    def program(self) -> str:
        return f"ipos_{self.value}"


_ATTACH_TYPE: Final = {
    Hook.SOCKOPS: syscall.ATTACH_CGROUP_SOCK_OPS,
    Hook.INGRESS: syscall.ATTACH_TCX_INGRESS,
    Hook.EGRESS: syscall.ATTACH_TCX_EGRESS,
    Hook.XDP: syscall.ATTACH_XDP,
}
_ORDER: Final = list(Hook)

_OF_MAPS: Final = {"ipos_insert": ("inserting", syscall.ATTACH_SK_MSG_VERDICT)}
"""Programs that run on the sockets in a map. Linux has links to such maps since 6.10 only, and 6.9
must do. So the map itself holds the program: given again, it takes the old one's place for sockets
that come from then on, and it goes with the map and its last socket."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program to be on one hook: of an interface, or of a cgroup (sockops)."""

    hook: Hook
    ifindex: int = 0
    cgroup: Path | None = None

    @property
    def name(self) -> str:
        """Its link's name among the pins."""
        return f"{self.hook}-{self.ifindex}" if self.ifindex else str(self.hook)


@dataclass(frozen=True, slots=True)
class Link:
    """A pinned link. `target` is an ifindex or a cgroup's id; 0 once its target has gone."""

    name: str
    hook: Hook
    target: int
    program_id: int


def default_plan(front: int | str, back: int | str, cgroup: Path | str | None) -> list[Attachment]:
    """What a server needs: xdp and ingress on both interfaces, egress on front, sockops.

    Interfaces by index or name, in the network namespace of this thread; they may be the same.
    Answers to clients leave by front, so nothing of back's egress is looked at.
    """
    front, back = interface_index(front), interface_index(back)
    plan = [] if cgroup is None else [Attachment(Hook.SOCKOPS, cgroup=Path(cgroup))]
    for ifindex in dict.fromkeys((front, back)):
        plan += [Attachment(Hook.INGRESS, ifindex), Attachment(Hook.XDP, ifindex)]
    return [*plan, Attachment(Hook.EGRESS, front)]


def interface_index(interface: int | str) -> int:
    if isinstance(interface, int):
        return interface
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise AttachError(f"there is no interface {interface} here", errno.ENODEV) from None


def converge(pin_dir: Path, plan: Sequence[Attachment]) -> tuple[Link, ...]:
    """Links for the plan, no others. Those of the plan that hold already are kept."""
    links = pin_dir / "links"
    made: list[Path] = []
    try:
        for wanted in sorted(plan, key=lambda a: _ORDER.index(a.hook)):
            path = links / wanted.name
            if path.exists():
                if read_link(path).target == _target(wanted):
                    continue
                remove_link(path)
            _make_link(pin_dir, wanted)
            made.append(path)
    except BaseException:
        for path in reversed(made):
            remove_link(path)
        raise
    names = {wanted.name for wanted in plan}
    for path in sorted(links.iterdir()):
        if path.name not in names:
            remove_link(path)
    return tuple(read_link(path) for path in sorted(links.iterdir()))


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


def give_to_maps(pin_dir: Path) -> None:
    """Let the pinned programs that run on a map's sockets be the map's; repeatable."""
    for name, (held_by, attach_type) in _OF_MAPS.items():
        if not (pin_dir / "progs" / name).exists():
            continue
        program = open_pin(pin_dir / "progs" / name, f"program {name}")
        try:
            with Map.open(pin_dir / "maps" / held_by) as sockets:
                syscall.program_attach(program, sockets.fd, attach_type)
        except OSError as error:
            number = error.errno or 0
            raise AttachError(
                f"cannot give {name} to the map {held_by}: {explain(number)}", number
            ) from error
        finally:
            os.close(program)


def read_link(path: Path) -> Link:
    fd = open_pin(path, f"link {path.name}")
    try:
        info = syscall.link_info(fd)
    finally:
        os.close(fd)
    return Link(path.name, Hook(path.name.partition("-")[0]), info.target, info.program_id)


def remove_link(path: Path) -> None:
    """Off its hook now, and unpinned. A link whose interface has gone is unpinned alone."""
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
    """What `Link.target` is for an attachment that holds. A cgroup's id is its inode number."""
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
        if wanted.cgroup is None:
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
    if number == errno.EINVAL and wanted.hook in (Hook.INGRESS, Hook.EGRESS):
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
