# SPDX-License-Identifier: Apache-2.0
"""The configuration file: its schema, and a sentence for every mistake in it."""

from ipos.config.crosscheck import read_secret, secret_path
from ipos.config.errors import ConfigError, Mistake
from ipos.config.health_check import Check
from ipos.config.listener import Listener
from ipos.config.reader import load, parse
from ipos.config.schema import Config, Farm, Pool, Route, Server, Service

__all__ = [
    "Check", "Config", "ConfigError", "Farm", "Listener", "Mistake", "Pool", "Route", "Server",
    "Service", "load", "parse", "read_secret", "secret_path",
]  # fmt: skip
