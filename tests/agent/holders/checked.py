# SPDX-License-Identifier: Apache-2.0
"""Addresses that look also when they may rest, so that every test of them sees whether they may."""

import copy
from collections.abc import Collection, Sequence

from ipos.agent.holders.actions import Action
from ipos.agent.holders.choice import Server
from ipos.agent.holders.states import Addresses


class Checked(Addresses):
    """Looks also when it may rest, and finds that nothing changes."""

    before: tuple[object, ...] = ()

    def look(
        self,
        servers: Sequence[Server],
        answered: Collection[int],
        now_ns: int,
        *,
        settled: bool,
        cut_off: bool = False,
    ) -> list[Action]:
        told = tuple(servers), settled, cut_off
        rests = now_ns < self.rest_ns and told == self.before and not answered
        rests = rests and not self.slept(now_ns) and not cut_off
        known = copy.deepcopy(self._known) if rests else {}
        done = super().look(servers, answered, now_ns, settled=settled, cut_off=cut_off)
        self.before = told
        if rests:
            assert done == []
            assert self._known == known
            self.rested.append(now_ns)
        return done

    rested: list[int] = []  # noqa: RUF012  of all of them
