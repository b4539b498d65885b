# SPDX-License-Identifier: Apache-2.0
"""Small programs of the project itself; none of them ships in the package."""
