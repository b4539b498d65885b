# SPDX-License-Identifier: Apache-2.0
"""A throwaway data plane: tiny programs, a network namespace with a veth pair, a pin directory."""

import itertools
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, netns

from ipos.kernel import data_plane
from ipos.kernel.libbpf import syscall
from ipos.kernel.pins import BPFFS, ensure_bpffs

_numbers = itertools.count()

_HEADER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64);
         __type(key, __u32); __type(value, __u64); } flows SEC(".maps");
"""
_XDP = """
const volatile __u32 ipos_abi = %(abi)d;
const volatile __u32 stamp = %(stamp)d;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 4);
         __type(key, __u32); __type(value, __u32); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 8);
         __type(value, __u32); } hold_free SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8);
         __type(key, __u32); __type(value, __u64); } hold_pool SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 16);
         __uint(map_flags, BPF_F_NO_PREALLOC);
         __type(key, __u64); __type(value, __u8); } deny SEC(".maps");
SEC("xdp") int ipos_xdp(struct xdp_md *ctx)
{
    __u32 key = 1, *count = bpf_map_lookup_elem(&counts, &key);
    __u64 length = ctx->data_end - ctx->data;
    bpf_map_update_elem(&flows, &key, &length, BPF_ANY);
    bpf_ringbuf_output(&events, &length, sizeof(length), 0);
    if (count)
        *count += stamp;
    return %(verdict)s;
}
"""
_TC = """
SEC("tc") int ipos_%(hook)s(struct __sk_buff *skb)
{
    __u32 key = 2;
    __u64 mark = skb->len;
    bpf_map_update_elem(&flows, &key, &mark, BPF_ANY);
    return -1;
}
"""
_SOCKOPS = """
SEC("sockops") int ipos_sockops(struct bpf_sock_ops *ops)
{
    __u32 key = 3;
    __u64 op = ops->op;
    bpf_map_update_elem(&flows, &key, &op, BPF_ANY);
    return 1;
}
"""
UNBOUNDED = """
SEC("xdp") int ipos_bad(struct xdp_md *ctx)
{
    return *(volatile __u8 *)((void *)(long)ctx->data + 3);
}
"""


def compile_objects(
    directory: Path, *, include: Path = Path(), header: str = _HEADER, **sources: str
) -> Path:
    """Compile C sources to NAME.bpf.o in a directory, and answer the directory.

    Each begins with `header`; `include` is searched for what it includes.
    """
    directory.mkdir(exist_ok=True)
    for name, source in sources.items():
        subprocess.run(
            ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-x", "c", "-c", "-",
             f"-I/usr/include/{platform.machine()}-linux-gnu", f"-I{include}",
             "-o", str(directory / f"{name}.bpf.o")],
            input=header + source, text=True, check=True,
        )  # fmt: skip
    return directory


def plane_objects(
    directory: Path, *, abi: int = 7, stamp: int = 1, verdict: str = "XDP_PASS"
) -> Path:
    """The objects of a data plane that counts and passes everything."""
    return compile_objects(
        directory,
        xdp=_XDP % {"abi": abi, "stamp": stamp, "verdict": verdict},
        ingress=_TC % {"hook": "ingress"},
        egress=_TC % {"hook": "egress"},
        sockops=_SOCKOPS,
    )


@contextmanager
def pin_place() -> Iterator[Path]:
    """A pin directory of its own, removed with all that is in it."""
    place = BPFFS / f"tk-{os.getpid()}-{next(_numbers)}"
    ensure_bpffs(place)
    try:
        yield place
    finally:
        data_plane.detach(place)
        shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Wire:
    """Two ends of a veth pair in a namespace that this thread is in."""

    front: int
    back: int


@contextmanager
def inside_namespace() -> Iterator[Wire]:
    name = f"tk{os.getpid()}-{next(_numbers)}"
    netns.create(name)
    try:
        netns.pushns(name)
        try:
            # Without IPv6 the kernel sends nothing by itself: every frame is a test's own.
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            yield _wire()
        finally:
            netns.popns()
    finally:
        netns.remove(name)


def _wire() -> Wire:
    with IPRoute() as link:
        link.link("add", ifname="front", kind="veth", peer="back")
        front, back = (link.link_lookup(ifname=end)[0] for end in ("front", "back"))
        for index in (front, back):
            link.link("set", index=index, state="up")
    return Wire(front, back)


def run_xdp(pin_dir: Path, frame: bytes = bytes(64)) -> syscall.TestRun:
    fd = data_plane.program_fd(pin_dir, "ipos_xdp")
    try:
        return syscall.prog_test_run(fd, frame)
    finally:
        os.close(fd)
