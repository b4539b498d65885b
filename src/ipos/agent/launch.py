# SPDX-License-Identifier: Apache-2.0
"""Runs an agent from its configuration file to its end."""

import asyncio
from pathlib import Path

from ipos import open_files
from ipos.agent.agent import Agent
from ipos.agent.host import paths
from ipos.agent.logs import configure
from ipos.config import load


def serve(config: Path | None = None) -> None:
    """Run the agent of this server until it is told to end. IposError says what is in the way."""
    configure()
    open_files.raise_limit()
    file = config or paths.config_file()
    running = Agent(load(file), file)
    running.start()
    asyncio.run(running.run())
