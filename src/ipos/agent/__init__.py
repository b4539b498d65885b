# SPDX-License-Identifier: Apache-2.0
"""The daemon of one server: it writes the tables of the data plane. No packet passes through it.

`heartbeat` is what the servers tell each other, `host` what this machine is, `rows` what the tables
should hold, `expiry` what happens to rows whose connection has gone, `view` what commands show,
`http` the API. `startup`, `exchange`, `beat`, `reload` and `agent` put them together.
"""
