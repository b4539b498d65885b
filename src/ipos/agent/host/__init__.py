# SPDX-License-Identifier: Apache-2.0
"""What this machine is: load, listeners, applications, interfaces, systemd."""
