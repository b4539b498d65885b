# SPDX-License-Identifier: Apache-2.0
"""Servers that are heard and cannot serve: who is out, for whom, and for how long."""

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.member import Age, Member, hears_mark
from ipos.agent.heartbeat.member_faults import (
    CALM_NS,
    DEAF_DOWN_NS,
    FRONT_DOWN_NS,
    GONE_NS,
    OPENING_NS,
    Fault,
    Faults,
)
from ipos.agent.heartbeat.message import State
from ipos.agent.rows import desired, pools
from ipos.agent.snapshot.snapshot import advertised
from tests.agent.made_up_farm import KEY, MS, NOW_NS, WALL_MS, back, config, front, members, state

MAINT, DOWN = ServerState.MAINT, ServerState.DOWN
LATER_NS = NOW_NS + OPENING_NS


def hearing(*numbers: int) -> bytes:
    return b"".join(sorted(hears_mark(int(back(number))) for number in numbers))


class Farm:
    """s1 of a farm, and what the others say."""

    def __init__(self, servers: int = 3, *, shared: bool = False, **of_s2: object) -> None:
        self.members = members()
        self.members.expect([back(number) for number in range(1, servers + 1)])
        self.servers = servers
        self.faults = Faults(self.members, NOW_NS, shared=shared)
        self.sequence = 0
        self.says: dict[int, dict[str, object]] = {2: of_s2}
        self.beat(NOW_NS)

    def beat(
        self,
        now_ns: int,
        links: Fault = Fault.NONE,
        silent: tuple[int, ...] = (),
        pause: bool = False,
        front_ns: int = 0,
        held: tuple[int, ...] = (),
    ) -> None:
        """All speak and are judged; they did so a tenth of a second ago, too, but for a pause."""
        self.sequence += 1
        for number in range(2, self.servers + 1):
            member = self.members.by_ip[back(number)]
            if not pause and number not in silent and member.state is not None:
                member.heard_ns = max(member.heard_ns, now_ns - 100 * MS)
        for number in range(1, self.servers + 1):
            hears = hearing(*(n for n in range(1, self.servers + 1) if n != number))
            said: dict[str, object] = {"hears": hears, **self.says.get(number, {})}
            if number == 1:
                fault = int(self.faults.mine)
                self.members.hear_myself(state(1, **{"fault": fault, **said}), now_ns)
            elif number not in silent:
                told: State = state(number, sequence=self.sequence, **said)
                raw = message.encode(told, KEY)
                self.members.receive(raw, int(back(number)), now_ns, WALL_MS)
        self.faults.look(now_ns, links, front_ns, frozenset(held))

    def member(self, number: int) -> Member:
        return self.members.by_ip[back(number)]

    def row(self, number: int) -> ServerState | None:
        """What the server's row says instead of what it says itself."""
        return self.member(number).standing.state

    def why(self, number: int) -> str:
        return self.member(number).standing.why


def planned_by(farm: Farm) -> desired.Rows:
    numbers = pools.number_pools(pools.definitions(config()))
    return desired.plan(config(), ["web"], numbers, farm.members, {}, LATER_NS)


def test_all_is_well() -> None:
    farm = Farm()
    assert [farm.why(number) for number in (1, 2, 3)] == ["", "", ""]
    assert farm.faults.hears == hearing(2, 3)
    assert not farm.faults.uneasy


def test_a_front_that_is_out_takes_its_server_out_and_then_down() -> None:
    farm = Farm()
    farm.says[2] = {"fault": int(Fault.FRONT_CARRIER)}
    farm.beat(LATER_NS)
    assert (farm.row(2), farm.why(2)) == (MAINT, "its front interface has no carrier")
    farm.beat(LATER_NS + FRONT_DOWN_NS - 1)
    assert farm.row(2) is MAINT, "a plug in another socket, and connections live"
    farm.beat(LATER_NS + FRONT_DOWN_NS)
    assert farm.row(2) is DOWN
    del farm.says[2]
    farm.beat(LATER_NS + FRONT_DOWN_NS + 1)
    assert (farm.row(2), farm.why(2)) == (None, "")


def test_our_own_front_is_out() -> None:
    farm = Farm()
    farm.beat(LATER_NS, Fault.FRONT_NEIGHBOUR)
    assert (farm.faults.mine, farm.row(1)) == (Fault.FRONT_NEIGHBOUR, MAINT)
    assert [farm.row(2), farm.row(3)] == [None, None]


def test_fronts_that_are_all_out_take_nobody_out() -> None:
    farm = Farm()
    farm.says = {number: {"fault": int(Fault.FRONT_CARRIER)} for number in (2, 3)}
    farm.beat(LATER_NS, Fault.FRONT_CARRIER)
    assert [farm.row(number) for number in (1, 2, 3)] == [None, None, None]
    farm.says.pop(3)
    farm.beat(LATER_NS + 1, Fault.FRONT_CARRIER)
    assert [farm.row(number) for number in (1, 2, 3)] == [MAINT, MAINT, None]
    farm.says[3] = {"state": int(ServerState.DRAIN)}
    farm.beat(LATER_NS + 2, Fault.FRONT_CARRIER)
    assert farm.row(1) is None, "one that takes nothing new is no better"


def test_a_farm_of_one_has_nobody_else() -> None:
    farm = Farm(servers=1)
    for fault in (Fault.FRONT_CARRIER, Fault.FRONT_NEIGHBOUR, Fault.BACK_CARRIER):
        farm.beat(LATER_NS, fault)
        assert (farm.faults.mine, farm.row(1)) == (fault, None)


def test_who_does_not_hear_us_is_out_and_then_down() -> None:
    farm = Farm()
    farm.says[2] = {"hears": hearing(3)}
    farm.beat(LATER_NS)
    assert (farm.row(2), farm.row(3)) == (MAINT, None)
    farm.beat(LATER_NS + DEAF_DOWN_NS)
    assert (farm.row(2), farm.why(2)) == (DOWN, "it does not hear us, though we hear it")


def test_a_loose_contact_is_believed_when_it_has_held() -> None:
    farm = Farm()
    now_ns = LATER_NS
    for _ in range(20):
        for hears in (hearing(3), hearing(1, 3), hearing(1, 3)):
            farm.says[2] = {"hears": hears}
            farm.beat(now_ns)
            assert farm.why(2)
            now_ns += 100 * MS
    farm.beat(now_ns + CALM_NS)
    assert farm.why(2) == ""


def test_a_moment_of_deafness_takes_nobody_for_dead() -> None:
    """A kernel asks by ARP once a second: who has just come back is not heard at once."""
    farm = Farm()
    now_ns = LATER_NS + 3_000 * MS
    farm.members.slept(3_000 * MS, now_ns)
    farm.faults.begin(now_ns)
    for after_ms in range(100, 4_000, 100):
        deaf = after_ms <= 1_100
        farm.says = {2: {"hears": hearing(3)}, 3: {"hears": hearing(2)}} if deaf else {}
        farm.beat(now_ns + after_ms * MS)
        assert [farm.row(2), farm.row(3)] == [None, None], f"{after_ms} ms after"


def test_who_is_deaf_for_one_beat_is_out_and_not_down() -> None:
    farm = Farm()
    farm.says[2] = {"hears": hearing(3)}
    farm.beat(LATER_NS)
    farm.says = {}
    for after_ms in range(100, CALM_NS // MS, 100):
        farm.beat(LATER_NS + after_ms * MS)
        assert farm.row(2) is MAINT
    farm.beat(LATER_NS + CALM_NS)
    assert farm.row(2) is None


def test_who_was_down_for_its_deafness_stays_so_until_it_has_heard_us_for_a_while() -> None:
    farm = Farm()
    farm.says[2] = {"hears": hearing(3)}
    farm.beat(LATER_NS)
    farm.beat(LATER_NS + DEAF_DOWN_NS)
    farm.says = {}
    farm.beat(LATER_NS + DEAF_DOWN_NS + CALM_NS - 1)
    assert farm.row(2) is DOWN
    farm.beat(LATER_NS + DEAF_DOWN_NS + CALM_NS)
    assert farm.row(2) is None


def test_an_agent_that_begins_to_speak_need_not_hear_us_yet() -> None:
    farm = Farm()
    farm.says[2] = {"hears": b"", "boot": WALL_MS}
    farm.beat(LATER_NS)
    assert farm.row(2) is None
    farm.beat(LATER_NS + OPENING_NS - 1)
    assert farm.row(2) is None
    farm.beat(LATER_NS + OPENING_NS)
    assert farm.row(2) is MAINT
    farm.says[2] = {"hears": None, "boot": WALL_MS}
    farm.beat(LATER_NS + 2 * OPENING_NS + CALM_NS)
    assert farm.row(2) is None, "an agent of before does not say whom it hears"


def test_who_comes_back_need_not_be_heard_at_once() -> None:
    """We were away: what the others say at first was said before they heard us again."""
    farm = Farm()
    away_ns = LATER_NS + 5_000 * MS
    farm.says = {2: {"hears": hearing(3)}, 3: {"hears": hearing(2)}}
    farm.beat(away_ns, pause=True)
    assert [farm.why(2), farm.why(3)] == ["", ""]
    farm.says = {}
    farm.beat(away_ns + 100 * MS)
    farm.says = {2: {"hears": hearing(3)}}
    farm.beat(away_ns + 200 * MS)
    farm.faults.begin(away_ns + 200 * MS)
    for after_ms in range(300, 200 + OPENING_NS // MS, 100):
        farm.beat(away_ns + after_ms * MS)
        assert not farm.why(2), "nor when our own agent was stopped"
    farm.beat(away_ns + 200 * MS + OPENING_NS)
    assert farm.why(2)


def test_a_dead_agent_says_nothing_new_and_its_data_plane_answers() -> None:
    farm = Farm()
    farm.says[2] = {"hears": hearing(3)}
    farm.beat(LATER_NS)
    for after_ms in range(100, 2000, 100):
        now_ns = LATER_NS + after_ms * MS
        farm.members.answered(back(2), state(2).mac, now_ns)
        farm.beat(now_ns, silent=(2,))
    assert farm.member(2).age(now_ns) is Age.STALE
    assert farm.row(2) is None, "question and answer have come through"
    assert farm.faults.hears == hearing(2, 3)


def test_without_our_back_nobody_can_be_reached() -> None:
    farm = Farm()
    farm.beat(LATER_NS, Fault.BACK_CARRIER)
    assert [farm.row(number) for number in (1, 2, 3)] == [None, MAINT, MAINT]


def test_the_newcomer_of_two_with_one_name_loses() -> None:
    farm = Farm()
    farm.says[3] = {"server": "s2", "boot": WALL_MS}
    farm.beat(LATER_NS)
    assert farm.member(3).standing.refused
    assert farm.why(3) == (
        "10.77.0.2 has the name s2 too, and was there before: give each server its own"
    )
    assert (farm.row(2), farm.why(2)) == (None, "")
    assert [one.fault for one in advertised(farm.members)] == ["", "", farm.why(3)]
    planned = planned_by(farm)
    assert {state(3).mac} & planned.members.keys() == set()
    assert front(3) not in {key.ip for key in planned.addresses}
    assert front(3) not in desired.foreign_addresses(farm.members)
    assert [one.server for one in planned.pools[0].candidates] == [1, 2]


def test_an_address_of_two_servers_is_the_first_ones() -> None:
    farm = Farm(addresses=[int(front(2)), int(front(9))], boot=WALL_MS - 2000)
    farm.says[3] = {"addresses": [int(front(3)), int(front(9))]}
    farm.beat(LATER_NS)
    assert "10.77.0.2 has the address 203.0.113.9 too" in farm.why(3)
    planned = planned_by(farm)
    assert {key.ip: row.holder for key, row in planned.addresses.items()}[front(9)] == 2


def test_where_routers_are_told_several_servers_may_have_an_address() -> None:
    farm = Farm(addresses=[int(front(2)), int(front(9))], boot=WALL_MS - 2000, shared=True)
    farm.says[3] = {"addresses": [int(front(3)), int(front(9))]}
    farm.beat(LATER_NS)
    assert farm.why(3) == ""
    planned = planned_by(farm)
    assert front(9) in {key.ip for key in planned.addresses}


def test_there_too_a_servers_first_address_is_its_own() -> None:
    farm = Farm(boot=WALL_MS - 2000, shared=True)
    farm.says[3] = {"addresses": [int(front(3)), int(front(2))]}
    farm.beat(LATER_NS)
    assert farm.why(3) == "", "it stands in for the other one"
    planned = planned_by(farm)
    assert {row.holder for key, row in planned.addresses.items() if key.ip == front(2)} == {2}
    farm.says[3] = {"addresses": [int(front(2))]}
    farm.beat(LATER_NS + 100 * MS)
    assert "10.77.0.2 has the address 203.0.113.2 too" in farm.why(3)


def test_a_newcomer_refuses_to_serve_itself() -> None:
    farm = Farm(server="s1", boot=WALL_MS - 2000)
    assert farm.faults.mine is Fault.DUPLICATE
    assert (farm.row(1), farm.row(2)) == (MAINT, None)
    planned = planned_by(farm)
    assert planned.pools[0].candidates == (), "and sends nobody to others either"


def test_who_has_lost_stays_out_when_the_other_agent_is_restarted() -> None:
    farm = Farm(server="s1", boot=WALL_MS - 2000)
    farm.says[2]["boot"] = WALL_MS
    farm.beat(LATER_NS + 100 * MS)
    assert farm.faults.mine is Fault.DUPLICATE
    farm.beat(LATER_NS + GONE_NS, silent=(2,))
    assert farm.faults.mine is Fault.DUPLICATE, "it may be back"
    farm.beat(LATER_NS + 101 * MS + GONE_NS, silent=(2,))
    assert (farm.faults.mine, farm.row(1)) == (Fault.NONE, None)


def test_who_has_lost_serves_when_the_other_says_good_bye() -> None:
    farm = Farm(server="s1", boot=WALL_MS - 2000)
    farm.says[2] |= {"state": int(DOWN), "boot": WALL_MS}
    farm.beat(LATER_NS + 1)
    assert farm.faults.mine is Fault.NONE


def test_a_second_machine_with_a_back_address_is_not_believed() -> None:
    farm = Farm()
    raw = message.encode(state(2, mac=b"\2\0\0\0\0\x99", boot=WALL_MS, hears=b""), KEY)
    assert farm.members.receive(raw, int(back(2)), NOW_NS + MS, WALL_MS) is None
    (trouble,) = farm.members.troubles(NOW_NS + MS)
    assert "02:00:00:00:00:02 and then 02:00:00:00:00:99" in trouble.text
    assert farm.members.receive(raw, int(back(2)), NOW_NS + 900 * MS, WALL_MS), "a new board"


def test_whose_clock_and_whose_tag_are_wrong_is_named() -> None:
    farm = Farm()
    late = message.encode(state(2, sequence=9, sent_ms=WALL_MS - 12_000), KEY)
    assert farm.members.receive(late, int(back(2)), NOW_NS, WALL_MS) is None
    other = message.encode(state(3, sequence=9), bytes(16))
    assert farm.members.receive(other, int(back(3)), NOW_NS, WALL_MS) is None
    assert farm.members.receive(other, int(back(77)), NOW_NS, WALL_MS) is None
    clock, tag = farm.members.troubles(NOW_NS)
    assert clock.text.startswith("10.77.0.2: the clock of s2 and ours are 12 s apart")
    assert tag.text.startswith("10.77.0.3: its datagrams fail the farm's tag")
    assert farm.members.troubles(NOW_NS + 5_000 * MS) == []


def test_who_runs_another_release_is_named_and_gets_nothing() -> None:
    farm = Farm()
    before = b"\1" + message.encode(state(3, sequence=9), KEY)[1:]
    assert farm.members.receive(before, int(back(3)), NOW_NS, WALL_MS) is None
    (trouble,) = farm.members.troubles(NOW_NS)
    assert trouble.text.startswith("10.77.0.3: its datagrams are of version 1, not 3: it runs")
    assert trouble.text.endswith("run one release on all servers")
