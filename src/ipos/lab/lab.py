# SPDX-License-Identifier: Apache-2.0
"""A lab as an object: it comes up, goes down, and runs commands in its nodes."""

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ipos.lab import (
    agents,
    applications,
    bird,
    cgroups,
    cleaning,
    configuration,
    namespaces,
    nftables,
    plan,
    second_family,
    state,
)
from ipos.lab.errors import LabError
from ipos.lab.places import BPFFS, ROOT, Place
from ipos.lab.plan import ROUTER, Node, Settings

_TOOLS = {"nsenter": "util-linux", "setsid": "util-linux", "nft": "nftables"}
"""Command -> the Debian package it comes from."""


class Lab:
    """A farm on this machine. As a context manager it is up inside the block and gone after it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.nodes = plan.nodes(self.settings)

    @classmethod
    def load(cls, name: str) -> Self:
        """The lab of that name that is up. LabError, naming those there are, if it is not."""
        manifest = state.read(name)
        if manifest is None or not manifest.complete:
            there = ", ".join(state.names()) or "none"
            raise LabError(
                f"lab {name} is not up (labs here: {there}); run: ipos lab up --name {name}"
            )
        return cls(manifest.settings)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def run_dir(self) -> Path:
        return ROOT / self.name

    @property
    def servers(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.kind == "server"]

    @property
    def clients(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.kind == "client"]

    def place(self, node: str) -> Place:
        """Where a node lives. LabError, naming the nodes there are, if there is no such one."""
        if node not in self.nodes:
            raise LabError(f"lab {self.name} has no node {node!r}; it has {', '.join(self.nodes)}")
        return Place(self.name, node)

    def places(self) -> list[Place]:
        """Where the servers live."""
        return [self.place(server.name) for server in self.servers]

    def app_place(self, server: str) -> Place:
        """Where the application of a server lives: there, or in a container of its own."""
        place = self.place(server)
        return place.boxed() if self.settings.boxed else place

    def _app_places(self) -> list[Place]:
        return [self.app_place(server.name) for server in self.servers]

    @property
    def is_ecmp(self) -> bool:
        """Whether routers are told of addresses, and all servers have `plan.ANYCAST`."""
        return self.settings.topology == "ecmp"

    def front(self, server: str) -> str:
        """A server's service address."""
        return self.nodes[server].address(plan.FRONT_LAN)

    def front6(self, server: str) -> str:
        """A server's service address of IPv6."""
        return second_family.address6(self.nodes[server], plan.FRONT_LAN)

    def exec(self, node: str, argv: Sequence[str]) -> None:
        """Become the command in a node. Does not return."""
        self.place(node).exec(argv)

    def popen(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a node. options: Popen's; an `env` adds to the node's."""
        return self.place(node).popen(argv, **options)

    def run(
        self, node: str, argv: Sequence[str], **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in a node to its end. options: subprocess.run's; an `env` adds."""
        return self.place(node).run(argv, **options)

    def up(self) -> bool:
        """Build the lab and start all of it; False if the very same lab is up already.

        What an interrupted `up` or a crash left behind is cleaned first. LabError if a lab of this
        name is up with other settings, or something does not start; then nothing is left.
        """
        _require_tools()
        # Faults of the user's file are found before anything is made.
        common = configuration.parse_common(self.settings.config)
        services = configuration.services(common)
        with state.locked(self.name):
            manifest = state.read(self.name)
            if manifest and manifest.complete and self._is_whole(manifest.settings):
                if manifest.settings == self.settings:
                    return False
                raise LabError(
                    f"lab {self.name} is up with other settings; "
                    f"run: ipos lab down --name {self.name}"
                )
            cleaning.clean(self.name, keep_directory=True)
            state.write(state.Manifest(self.settings, complete=False))
            try:
                self._build(services)
                self._start_apps(self._app_places(), services)
                if not self.settings.bare:
                    self._configure(common)
                    self._start_birds()
                    agents.start(self.places())
                    if self.is_ecmp:
                        bird.wait_for_routes(self.place(ROUTER), self.servers)
            except BaseException:
                cleaning.clean(self.name)
                raise
            state.write(state.Manifest(self.settings, complete=True))
        return True

    def down(self) -> bool:
        """End the lab, whatever state it is in; False if there was nothing of it."""
        if not cleaning.remains(self.name):
            return False
        with state.locked(self.name):
            cleaning.clean(self.name)
        return True

    def change(self, config: str) -> None:
        """Give the farm that is up other common parts, in less time than another lab takes.

        Applications and agents begin anew; data planes stay, so limits of tables cannot change.
        LabError if something does not start.
        """
        common = configuration.parse_common(config)
        services = configuration.services(common)
        with state.locked(self.name):
            state.write(state.Manifest(self.settings, complete=False))
            for place in self.places():
                cgroups.end(place.agent_cgroup)
                cgroups.end(place.app_cgroup)
            self.settings = replace(self.settings, config=config)
            self._open_ports(services)
            self._start_apps(self._app_places(), services)
            self._configure(common)
            agents.start(self.places())
            state.write(state.Manifest(self.settings, complete=True))

    def start_applications(self, server: str) -> None:
        """Start the applications of one server again, after they were ended."""
        services = configuration.services(configuration.parse_common(self.settings.config))
        self._start_apps([self.app_place(server)], services)

    def restart_box(self, server: str) -> None:
        """Kill the container of a server's application, and start another in its place."""
        from ipos.lab import boxed

        place = self.place(server)
        cgroups.kill(place.app_cgroup)
        boxed.remove(place)
        boxed.build(place)
        self.start_applications(server)

    def start_agent(self, server: str) -> None:
        """Start the agent of one server again, and wait until it is ready."""
        agents.start([self.place(server)])

    def _start_apps(
        self, places: Sequence[Place], services: Sequence[configuration.Service]
    ) -> None:
        applications.start(places, self.settings.app, services, ipv6=self.settings.ipv6)

    def _start_birds(self) -> None:
        if not self.is_ecmp:
            return
        router = self.nodes[ROUTER]
        texts = [(self.place(ROUTER), bird.router_text(router, self.servers))]
        for server in self.servers:
            place = self.place(server.name)
            routes = place.run_dir / "bird.conf"
            texts.append((place, bird.server_text(server, router, routes)))
        bird.hash_by_flow(self.place(ROUTER))
        bird.start(texts)

    def _is_whole(self, settings: Settings) -> bool:
        names = [*plan.nodes(settings), plan.SWITCH]
        if settings.boxed:
            names += [server.name + plan.BOX for server in self.servers]
        return all(
            namespaces.is_alive(namespaces.path_of(self.name, name)) for name in names
        ) and cgroups.populated(cgroups.path_of(self.name))

    def _build(self, services: Sequence[configuration.Service]) -> None:
        # Only `up` needs netlink: `exec` is spared the import.
        from ipos.lab import network

        for name in (plan.SWITCH, *self.nodes):
            place = Place(self.name, name)
            namespaces.create(place.namespace)
            place.cgroup.mkdir(parents=True)
            place.run_dir.mkdir()
        network.build(
            self.name, plan.lans(self.settings), self.nodes.values(), self.settings.switch,
            ipv6=("bare" if self.settings.bare else "farm") if self.settings.ipv6 else "",
        )  # fmt: skip
        if self.settings.boxed:
            from ipos.lab import boxed

            for place in self.places():
                boxed.build(place)
        self._open_ports(services)

    def _open_ports(self, services: Sequence[configuration.Service]) -> None:
        """In the servers' firewalls."""
        ruleset = nftables.rules(
            [
                *(service.port for service in services if service.protocol == "tcp"),
                *configuration.spawn_ports(configuration.parse_common(self.settings.config)),
            ]
            + [bird.PORT] * self.is_ecmp,
            [service.port for service in services if service.protocol == "udp"],
        )
        for place in self.places():
            nftables.load(place, ruleset)

    def _configure(self, common: dict[str, Any]) -> None:
        # The servers share the host's bpffs; mounted once here, not by all agents at once.
        from ipos.kernel.pins import ensure_bpffs

        ensure_bpffs(BPFFS)
        secret_file = self.run_dir / "farm.key"
        if not secret_file.exists():
            secret_file.touch(mode=0o600)
            secret_file.write_text(secrets.token_hex(32) + "\n")
        for server in self.servers:
            place = self.place(server.name)
            text = configuration.server_file(
                common,
                self.name,
                server,
                self.servers,
                secret_file,
                bird.socket_of(place) if self.is_ecmp else None,
                ipv6=self.settings.ipv6,
            )
            place.config_file.write_text(text)
            for name in configuration.unused(common, server):
                place.run(["ip", "link", "set", name, "down"], check=True)


def _require_tools() -> None:
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise LabError(f"the lab needs the command {tool}; run: apt install {package}")
