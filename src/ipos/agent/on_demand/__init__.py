# SPDX-License-Identifier: Apache-2.0
"""Applications that are started when a request comes, and stopped when none has come for long."""
