"""Which step comes next; above all: when a node makes a cluster, and when it never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eaves.node.clusters.model import ClusterRecord, OrdersDone, Step
from eaves.node.clusters.plan import Plan, View, plan_step
from eaves.node.desired.cluster_model import ClusterDatastore, ClusterMember, ClusterOrders, DesiredCluster
from eaves.node.desired.secret import Secret
from eaves.node.observed_cluster import ClusterState

FIRST = DesiredCluster(
    id="id",
    name="shop",
    node_name="a",
    is_server=True,
    interface_label="",
    address="10.0.0.1",
    prefix_length=24,
    join_address="10.0.0.1",
    token=Secret("t"),
)
MEMBERS = (ClusterMember("1", "a", "10.0.0.1", is_server=True), ClusterMember("2", "b", "10.0.0.2", is_server=True))
JOINER = replace(FIRST, address="10.0.0.2", node_name="b")
AGENT = replace(JOINER, is_server=False)
RECORD = ClusterRecord(id="id", node_name="a", is_server=True, is_installed=True, started_spec="s")
EMPTY = View(ClusterRecord())


def test_without_cluster_nothing_happens() -> None:
    assert plan_step(None, EMPTY).step is Step.NONE


def test_a_config_without_cluster_makes_a_member_leave() -> None:
    assert plan_step(None, View(RECORD, is_running=True)).step is Step.LEAVE


def test_a_cluster_that_cannot_be_understood_makes_nobody_leave() -> None:
    assert plan_step(None, View(RECORD, is_running=True), is_refused=True).step is Step.KEEP
    assert plan_step(None, EMPTY, is_refused=True).step is Step.NONE


def test_after_a_reboot_it_starts_again_from_its_files_although_the_config_is_not_understood() -> None:
    assert plan_step(None, View(RECORD), is_refused=True).step is Step.START


def test_a_departure_that_was_cut_off_goes_on_before_anything_else() -> None:
    assert plan_step(FIRST, View(replace(RECORD, is_leaving=True))).step is Step.LEAVE


@pytest.mark.parametrize("changes", [{"id": "other"}, {"is_server": False}, {"node_name": "z"}])
def test_another_membership_begins_with_leaving_the_former(changes: dict[str, object]) -> None:
    assert plan_step(replace(FIRST, **changes), View(RECORD, is_running=True)).step is Step.LEAVE


def test_images_are_waited_for() -> None:
    plan = plan_step(FIRST, View(ClusterRecord(), missing_images=("k3s v1",)))
    assert (plan.step, plan.state, plan.waiting_for) == (Step.WAIT, ClusterState.DOWNLOADING, "image k3s v1")


def test_the_former_version_runs_until_the_next_is_here() -> None:
    view = View(RECORD, is_running=True, is_ready=True, missing_images=("k3s v2",))
    plan = plan_step(FIRST, view)
    assert (plan.step, plan.state) == (Step.KEEP, ClusterState.READY)


def test_a_lone_first_server_makes_the_cluster() -> None:
    plan = plan_step(FIRST, EMPTY)
    assert (plan.step, plan.is_first) == (Step.START, True)


def test_before_a_cluster_is_made_the_other_servers_are_asked() -> None:
    cluster = replace(FIRST, members=MEMBERS)
    asked = plan_step(cluster, EMPTY)
    assert asked.asks_servers
    assert asked.step is Step.WAIT
    plan = plan_step(cluster, View(ClusterRecord(), was_asked=True))
    assert (plan.step, plan.is_first) == (Step.START, True)


def test_a_first_server_that_finds_its_cluster_joins_it() -> None:
    view = View(ClusterRecord(), was_asked=True, other_server="10.0.0.2")
    plan = plan_step(replace(FIRST, members=MEMBERS), view)
    assert (plan.step, plan.is_first, plan.join) == (Step.START, False, "10.0.0.2")


@pytest.mark.parametrize(
    ("cluster", "record"),
    [
        (replace(FIRST, is_initialized=True), ClusterRecord()),
        (FIRST, replace(RECORD, has_been_ready=True)),
        (replace(FIRST, datastore=ClusterDatastore.SQLITE, is_initialized=True), ClusterRecord()),
    ],
)
def test_a_cluster_that_existed_is_never_made_anew(cluster: DesiredCluster, record: ClusterRecord) -> None:
    plan = plan_step(cluster, View(record, was_asked=True))
    assert plan.step is Step.WAIT
    assert "not made anew" in plan.message


@given(
    has_data=st.booleans(),
    is_initialized=st.booleans(),
    has_been_ready=st.booleans(),
    was_asked=st.booleans(),
    other=st.sampled_from(["", "10.0.0.2"]),
    is_own=st.booleans(),
    datastore=st.sampled_from([ClusterDatastore.EMBEDDED_ETCD, ClusterDatastore.SQLITE]),
)
def test_a_second_cluster_is_never_made(
    has_data: bool,
    is_initialized: bool,
    has_been_ready: bool,
    was_asked: bool,
    other: str,
    is_own: bool,
    datastore: ClusterDatastore,
) -> None:
    cluster = replace(FIRST if is_own else JOINER, members=MEMBERS, is_initialized=is_initialized, datastore=datastore)
    record = replace(RECORD, has_been_ready=has_been_ready, node_name=cluster.node_name)
    view = View(record, has_data=has_data, was_asked=was_asked, other_server=other)
    plan = plan_step(cluster, view)
    if plan.is_first and not has_data:
        assert not is_initialized
        assert not has_been_ready
        if datastore is ClusterDatastore.EMBEDDED_ETCD:
            assert is_own
            assert was_asked
            assert not other


def test_a_server_that_was_taken_out_waits_for_its_controller() -> None:
    cluster, record = replace(FIRST, member_since=10), replace(RECORD, member_since=10, has_been_ready=True)
    view = View(record, was_removed=True, was_asked=True, other_server="10.0.0.2")
    assert plan_step(cluster, replace(view, is_running=True)).step is Step.STOP
    for wish, is_refused in ((cluster, False), (replace(cluster, join_address="10.0.0.2"), False), (None, True)):
        plan = plan_step(wish, view, is_refused=is_refused)
        assert (plan.step, plan.waiting_for) == (Step.WAIT, "its controller")
        assert "taken this server out" in plan.message
    # It has forgotten that one, and wants another member of it.
    again = replace(cluster, join_address="10.0.0.2", member_since=11)
    plan = plan_step(again, view)
    assert (plan.step, plan.is_first, plan.joins_anew) == (Step.START, False, True)
    assert plan_step(None, view).step is Step.LEAVE
    assert plan_step(replace(cluster, orders=ClusterOrders(restore=1)), view).step is Step.RESTORE


def test_a_server_of_another_controller_that_was_taken_out_does_as_k3s_does() -> None:
    view = View(replace(RECORD, has_been_ready=True), was_removed=True, was_asked=True, other_server="10.0.0.2")
    plan = plan_step(replace(FIRST, members=MEMBERS), view)
    assert (plan.step, plan.is_first, plan.join) == (Step.START, False, "10.0.0.2")
    assert plan_step(FIRST, replace(view, other_server="")).step is Step.WAIT


def test_a_member_that_is_entered_anew_joins_without_what_it_had() -> None:
    cluster = replace(JOINER, member_since=11)
    record = replace(RECORD, node_name="b", member_since=10, has_been_ready=True)
    assert plan_step(cluster, View(record, is_running=True, is_ready=True)).step is Step.STOP
    assert plan_step(cluster, View(record, has_data=True, was_asked=True, join_problem="dead")).step is Step.WAIT
    plan = plan_step(cluster, View(record, has_data=True, was_asked=True))
    assert (plan.step, plan.joins_anew) == (Step.START, True)
    # Not one of an older entry, nor one that noted none, nor who is to make the cluster, nor one whose state is elsewhere.
    for same, noted in (
        (replace(cluster, member_since=9), record),
        (cluster, replace(record, member_since=0)),
        (replace(cluster, join_address=cluster.address), record),
        (replace(cluster, datastore=ClusterDatastore.EXTERNAL), record),
    ):
        assert plan_step(same, View(noted, is_running=True, is_ready=True)).step is Step.KEEP
        assert not plan_step(same, View(noted, has_data=True)).joins_anew


def test_with_its_data_a_server_starts_whoever_is_away() -> None:
    view = View(replace(RECORD, has_been_ready=True), has_data=True, join_problem="dead", was_asked=True)
    assert plan_step(replace(FIRST, is_initialized=True), view).step is Step.START
    joiner = replace(RECORD, node_name="b", has_been_ready=True)
    assert plan_step(JOINER, replace(view, record=joiner)).step is Step.START


def test_a_joiner_waits_until_the_server_answers_for_this_cluster() -> None:
    assert plan_step(JOINER, EMPTY).asks_servers
    view = View(ClusterRecord(), was_asked=True, join_problem="it is not ready yet")
    plan = plan_step(JOINER, view)
    assert (plan.step, plan.state, plan.waiting_for) == (
        Step.WAIT,
        ClusterState.WAITING_FOR_SERVER,
        "server 10.0.0.1",
    )
    assert plan_step(JOINER, View(ClusterRecord(), was_asked=True)).step is Step.START
    assert plan_step(AGENT, View(ClusterRecord(), was_asked=True)).step is Step.START


def test_a_joiner_takes_another_server_when_the_named_one_is_dead() -> None:
    view = View(ClusterRecord(), was_asked=True, join_problem="dead", other_server="10.0.0.3")
    assert plan_step(AGENT, view).join == "10.0.0.3"


def test_an_agent_that_has_joined_starts_without_asking_anybody() -> None:
    record = ClusterRecord(id="id", node_name="b", is_installed=True, has_been_ready=True)
    assert plan_step(AGENT, View(record)).step is Step.START


def test_another_spec_restarts() -> None:
    running = View(RECORD, is_running=True, is_ready=True, wanted_digest="s")
    assert plan_step(FIRST, running).step is Step.KEEP
    assert plan_step(FIRST, replace(running, wanted_digest="other")).step is Step.STOP
    assert plan_step(FIRST, replace(running, wanted_digest="")).step is Step.KEEP


def test_an_order_to_rotate_certificates_stops_k3s_once() -> None:
    cluster = replace(FIRST, orders=ClusterOrders(rotate_certificates=2))
    running = View(RECORD, is_running=True, wanted_digest="s")
    assert plan_step(cluster, running).step is Step.STOP
    done = replace(RECORD, done=OrdersDone(rotate_certificates=2))
    assert plan_step(cluster, replace(running, record=done)).step is Step.KEEP


@pytest.mark.parametrize("is_ready", [True, False])
def test_certificates_that_end_restart_servers_and_agents(*, is_ready: bool) -> None:
    due = View(RECORD, is_running=True, is_ready=is_ready, is_renewal_due=True)
    assert plan_step(FIRST, due).message == "restart to renew the certificates"
    agent = replace(due, record=replace(RECORD, node_name="b", is_server=False))
    # It gets its own from a server, and would be worse off without one.
    asking = plan_step(AGENT, agent)
    assert (asking.step, asking.asks_servers) == (Step.KEEP, True)
    asked = replace(agent, was_asked=True)
    alone = plan_step(AGENT, replace(asked, join_problem="dead"))
    assert (alone.step, alone.asks_servers) == (Step.KEEP, False)
    for view in (asked, replace(asked, join_problem="dead", other_server="10.0.0.3")):
        assert plan_step(AGENT, view).step is Step.STOP


def test_a_restore_is_obeyed_once_and_by_servers_only() -> None:
    orders = ClusterOrders(restore=1, restore_snapshot="s")
    assert plan_step(replace(FIRST, orders=orders), View(RECORD, is_running=True)).step is Step.RESTORE
    done = replace(RECORD, done=OrdersDone(restore=1))
    assert plan_step(replace(FIRST, orders=orders), View(done, has_data=True)).step is Step.START
    agent = ClusterRecord(id="id", node_name="b", has_been_ready=True)
    assert plan_step(replace(AGENT, orders=orders), View(agent)).step is Step.START


def test_a_crash_is_waited_out() -> None:
    view = View(RECORD, has_data=True, start_after=10.0, now=4.0, end_message="K3s ended with exit status 1")
    plan = plan_step(FIRST, view)
    assert plan.step is Step.WAIT
    assert "started again in 6 s" in plan.message
    assert plan_step(FIRST, replace(view, now=11.0)).step is Step.START


def test_a_stopped_cluster_keeps_its_data_and_does_not_run() -> None:
    cluster = replace(FIRST, is_stopped=True)
    assert plan_step(cluster, View(RECORD, is_running=True)).step is Step.STOP
    plan = plan_step(cluster, View(RECORD))
    assert (plan.step, plan.state) == (Step.WAIT, ClusterState.STOPPED)


def test_running_but_not_ready_says_what_it_waits_for() -> None:
    plan = plan_step(FIRST, View(RECORD, is_running=True, wanted_digest="s"))
    assert isinstance(plan, Plan)
    assert plan.state is ClusterState.STARTING
    assert plan.waiting_for == "API of this server"
