# SPDX-License-Identifier: Apache-2.0
"""What the agent makes in the kernel's network, and ARP: addresses, routes, interfaces."""
