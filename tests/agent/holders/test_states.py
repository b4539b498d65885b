# SPDX-License-Identifier: Apache-2.0
"""Every transition of an address."""

from collections.abc import Iterable

from ipos.agent.holders.actions import Action, Kind
from ipos.agent.holders.choice import Server, choose
from ipos.agent.holders.states import BACK_OFF_NS, LEARN_NS, PROBE_NS, SLEPT_NS, State
from tests.agent.holders.checked import Checked

MS = 1_000_000
BEAT_NS = 100 * MS
T0 = 10**12
A1, A2 = 0xCB007101, 0xCB007102


def server(number: int, *lists: int, **fields: object) -> Server:
    return Server(number, f"s{number}", lists or (A1 + number - 1,), **fields)  # type: ignore[arg-type]


DEAD = server(1, why="s1 is down", takes=False, down=True)
SILENT = server(1, holds=(A1,), takes=False, doubtful=True)
ME = server(2)


class One:
    """The addresses of s2, looked at every tenth of a second."""

    def __init__(self, held: Iterable[int] = (A2,)) -> None:
        self.addresses = Checked(2, T0, list(held))
        self.now_ns = T0
        self.told: list[Action] = []

    def look(
        self,
        *servers: Server,
        times: int = 1,
        answered: Iterable[int] = (),
        settled: bool = True,
        cut_off: bool = False,
    ) -> State:
        for _ in range(times):
            self.now_ns += BEAT_NS
            self.told += self.addresses.look(
                servers, set(answered), self.now_ns, settled=settled, cut_off=cut_off
            )
            answered = ()
        return self.addresses.state(A1)

    def count(self, kind: Kind, address: int = A1) -> int:
        return sum(one.kind is kind and one.address == address for one in self.told)


def test_it_takes_the_address_of_a_dead_server() -> None:
    one = One()
    assert one.look(server(1, holds=(A1,)), ME) is State.AWAY
    assert one.look(DEAD, ME) is State.PROBES
    assert one.addresses.claims == [A1]
    assert one.look(DEAD, ME) is State.PROBES
    assert one.count(Kind.ASK) == 2, "a frame may be lost"
    assert one.look(DEAD, ME) is State.HOLDS
    assert (one.count(Kind.TAKEN), one.count(Kind.ANNOUNCE)) == (1, 1)
    assert one.addresses.holds == [A2, A1]
    assert one.addresses.claims == []
    one.look(DEAD, ME, times=25)
    assert one.count(Kind.ANNOUNCE) == 5
    assert one.count(Kind.ASK) == 4, "and it looks whether the server answers after all"


def test_it_asks_while_a_server_is_silent_and_takes_at_once() -> None:
    one = One()
    assert one.look(SILENT, ME, times=4) is State.PROBES
    assert one.addresses.claims == [], "nobody is told: it may live"
    assert one.look(DEAD, ME) is State.HOLDS
    again = One()
    assert again.look(SILENT, ME, times=3) is State.PROBES
    assert again.look(server(1, holds=(A1,)), ME) is State.AWAY


def test_it_takes_nothing_that_a_neighbour_answers_for() -> None:
    one = One()
    one.look(DEAD, ME)
    assert one.look(DEAD, ME, answered=[A1]) is State.AWAY
    assert one.count(Kind.ANSWERED) == 1
    asked = one.count(Kind.ASK)
    assert one.look(DEAD, ME, times=BACK_OFF_NS // BEAT_NS - 1) is State.AWAY
    assert one.count(Kind.ASK) == asked
    one.look(DEAD, ME, times=13)
    assert one.count(Kind.ASK) > asked, "but asks again"


def test_it_claims_before_it_takes_from_one_who_holds() -> None:
    one = One(held=())
    stand_in = server(1, holds=(A1, A2))
    for _ in range(10):
        one.look(stand_in, ME)
        assert one.addresses.state(A2) is not State.PROBES
    assert one.addresses.state(A2) is State.CLAIMS
    assert one.addresses.claims == [A2]
    one.look(server(1, holds=(A1,)), ME, times=3)
    assert one.addresses.state(A2) is State.HOLDS


def test_it_gives_up_when_the_chosen_one_claims_and_not_before() -> None:
    one = One(held=(A1, A2))
    assert one.look(server(1), ME, times=5) is State.HOLDS, "nobody is left without"
    assert one.look(server(1, claims=(A1,)), ME) is State.AWAY
    assert one.count(Kind.GIVEN_UP) == 1
    two = One(held=(A1, A2))
    assert two.look(server(1, holds=(A1,)), ME) is State.AWAY, "both hold it"


def test_in_maintenance_it_hands_over() -> None:
    one = One()
    out = server(2, why="s2 is in maintenance", takes=False)
    one.look(server(1, holds=(A1,)), out, times=3)
    assert one.addresses.holds == [A2]
    one.look(server(1, holds=(A1,), claims=(A2,)), out)
    assert one.addresses.holds == []


def test_it_leaves_another_servers_address_to_whoever_answers_and_defends_its_own() -> None:
    one = One(held=(A1, A2))
    assert one.look(DEAD, ME, answered=[A1, A2]) is State.AWAY
    assert one.addresses.holds == [A2]
    assert one.count(Kind.ANNOUNCE, A2) == 1


def test_who_did_not_run_for_a_while_asks_first() -> None:
    one = One(held=(A2,))
    one.look(DEAD, ME)
    one.now_ns += SLEPT_NS
    one.look(DEAD, ME)
    assert one.addresses.holds == []
    asked = one.count(Kind.ASK, A2)
    one.look(DEAD, ME, times=LEARN_NS // BEAT_NS - 1)
    assert one.count(Kind.ASK, A2) == asked, "it listens what the others say"
    assert one.addresses.learns(one.now_ns)
    assert A2 not in one.addresses.claims
    one.look(DEAD, ME, times=4)
    assert A2 in one.addresses.holds
    assert not one.addresses.learns(one.now_ns)


def test_who_has_no_front_and_hears_nobody_has_no_address_and_learns_when_it_is_back() -> None:
    one = One(held=(A2,))
    other = server(3, holds=(A1 + 2,))
    one.look(server(1, holds=(A1,)), ME, other)
    assert one.addresses.holds == [A2]
    gone = server(3, why="s3 is down", takes=False, down=True)
    one.look(DEAD, ME, gone, times=100, cut_off=True)
    assert (one.addresses.holds, one.addresses.claims) == ([], []), "nor the others' addresses"
    assert one.count(Kind.ASK) == one.count(Kind.ASK, A2) == 0
    stands_in = server(1, holds=(A1, A2))
    one.look(stands_in, ME, other, times=2)
    assert one.addresses.returned == {A2: 1}, "whom it forwarded to others may serve now"
    assert one.addresses.claims == [A2]
    one.look(server(1, holds=(A1,)), ME, other, times=4)
    assert one.addresses.holds == [A2]


def test_who_was_cut_off_with_all_others_takes_its_own_again() -> None:
    one = One(held=(A2,))
    one.look(DEAD, ME, times=20, cut_off=True)
    one.look(server(1), ME, times=LEARN_NS // BEAT_NS + 4)
    assert one.addresses.holds == [A2]
    assert one.addresses.returned == {}, "nobody had it, so all that is known still holds"


def test_after_a_start_it_waits_for_words_and_for_others_addresses_until_it_is_settled() -> None:
    one = One(held=())
    one.look(DEAD, ME, times=2, settled=False)
    assert one.count(Kind.ASK, A2) == 0
    one.look(DEAD, ME, times=10, settled=False)
    assert one.addresses.holds == [A2]
    one.look(DEAD, ME, times=3)
    assert sorted(one.addresses.holds) == [A1, A2]


def test_an_address_that_nobody_lists_any_more_is_given_up() -> None:
    one = One(held=(A1, A2))
    one.look(ME)
    assert one.addresses.holds == [A2]
    assert one.count(Kind.GIVEN_UP) == 1


def test_the_next_one_takes_what_the_chosen_one_does_not_know() -> None:
    others = [server(number) for number in range(3, 6)]
    one = One()
    turn = sum(choose(A1, [DEAD, ME, other]) is other for other in others)
    assert turn, "another one is chosen"
    one.look(DEAD, ME, *others, times=10 * turn)
    assert one.addresses.state(A1) is State.AWAY
    one.look(DEAD, ME, *others, times=5)
    assert one.addresses.state(A1) is State.HOLDS


def test_a_probe_is_shorter_than_doubt() -> None:
    assert PROBE_NS < 300 * MS


def test_a_farm_in_which_nothing_happens_rests() -> None:
    one = One()
    others = [server(1, holds=(A1,)), ME, server(3, holds=(A1 + 2,))]
    one.look(*others, times=40)
    before = len(Checked.rested)
    one.look(*others, times=10)
    assert len(Checked.rested) == before + 10
    one.look(DEAD, ME, times=40)
    assert one.addresses.state(A1) is State.HOLDS
    before = len(Checked.rested)
    one.look(DEAD, ME, times=20)
    asked = 20 * BEAT_NS // (1_000 * MS)
    assert len(Checked.rested) >= before + 20 - 2 * asked, "but it asks once a second"
