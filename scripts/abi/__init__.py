# SPDX-License-Identifier: Apache-2.0
"""Python's side of the ABI, written from the headers in `bpf/abi`. `make abi` runs it.

What it writes is committed, and `make lint` fails when it is not what the headers say.

    reader    the headers' text -> constants, enums, structs, counters, with their remarks
    writer    these -> src/ipos/abi/header_data.py and src/ipos/abi/rows.py
"""
