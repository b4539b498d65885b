# SPDX-License-Identifier: Apache-2.0
"""The names that Nomad 1.10 knows in a job, as far as the job of packaging/ has such blocks.

They are those of the structs in Nomad's package api, and of the docker driver's schema. Nomad
itself refuses a file with a name that it does not know.
"""

from collections.abc import Iterator
from typing import Any

_KNOWN = {
    "job": """region namespace id name type priority all_at_once datacenters node_pool constraint
        affinity group update multiregion spread periodic parameterized reschedule migrate meta
        ui""",
    "constraint": "attribute operator value",
    "update": """stagger max_parallel health_check min_healthy_time healthy_deadline
        progress_deadline canary auto_revert auto_promote""",
    "group": """count constraint affinity task spread volume restart disconnect reschedule
        ephemeral_disk update migrate network meta service shutdown_delay scaling consul""",
    "network": "mode port dns hostname cni",
    "restart": "interval attempts delay mode render_templates",
    "task": """driver user lifecycle config constraint affinity env service resources restart meta
        kill_timeout logs artifact vault consul template dispatch_payload volume_mount leader
        shutdown_delay kill_signal kind scaling identity action csi_plugin schedule""",
    "config": """image args auth auth_soft_fail cap_add cap_drop cgroupns command cpu_hard_limit
        cpuset_cpus devices entrypoint extra_hosts force_pull group_add healthchecks hostname init
        ipc_mode labels logging memory_hard_limit mount network_aliases network_mode oom_score_adj
        pid_mode pids_limit ports privileged readonly_rootfs runtime security_opt shm_size sysctl
        tty ulimit userns_mode uts_mode volumes work_dir""",
    "resources": "cpu cores memory memory_max device numa secrets",
}
_LABELLED = ("job", "group", "task")
"""Blocks that have a name of their own."""


def not_known(kind: str, body: dict[str, Any]) -> list[str]:
    """Where a job has a name that Nomad does not know, from a block of that kind on."""
    return list(_strangers(kind, kind, body))


def _strangers(where: str, kind: str, body: dict[str, Any]) -> Iterator[str]:
    bodies = body.values() if kind in _LABELLED else (body,)
    for each in bodies:
        for key, value in each.items():
            if key.startswith("__"):  # of the reader of the language
                continue
            if key not in _KNOWN[kind].split():
                yield f"{where}.{key}"
            elif key in _KNOWN:
                for one in value:
                    yield from _strangers(f"{where}.{key}", key, one)
