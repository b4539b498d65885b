# SPDX-License-Identifier: Apache-2.0
"""Which server answers: policies over the candidates of a pool. Pure functions.

policies    candidates, server rows and a random number -> a server and the reason
"""
