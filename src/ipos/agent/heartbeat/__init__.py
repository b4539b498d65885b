# SPDX-License-Identifier: Apache-2.0
"""What the servers of a farm tell each other, and what each knows of the others."""
