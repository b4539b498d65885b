# SPDX-License-Identifier: Apache-2.0
"""The data plane's C as a library of this process: for tests, the fuzzer and simulation."""
