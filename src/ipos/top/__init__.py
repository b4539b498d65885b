# SPDX-License-Identifier: Apache-2.0
"""The screen of `ipos top`.

looks        what is shown, from two looks at the agent; pure
live_screen  the terminal: tables, keys, orders (textual, which nothing else imports)
"""
