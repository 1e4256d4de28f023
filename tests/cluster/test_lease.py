"""Who is in office: one at a time, whatever happens to it; each holding has a higher term."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import pytest
from api_gate import access_of, through_a_gate
from kubectl import Kubectl
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import LEASES
from ringyard_operator.kube.lease import Leadership

NAME = "office"


def candidate(api: Api, kubectl: Kubectl, identity: str) -> Leadership:
    """With a Lease of 5 s instead of 10, so that a test need not wait long for it to run out."""
    return Leadership(api, namespace=kubectl.namespace, name=NAME, identity=identity, duration=5.0, renew=0.5)


def test_a_holder_that_leaves_is_followed_at_once_and_each_holding_has_a_higher_term(kubectl: Kubectl) -> None:
    async def story() -> None:
        async with Api(access_of(kubectl)) as api:
            first, second = candidate(api, kubectl, "first"), candidate(api, kubectl, "second")
            terms = [await first.acquire()]
            waiting = asyncio.create_task(second.acquire())
            await renewed(api, kubectl)
            assert first.held() and not waiting.done()
            holder, other = first, second
            for _ in range(4):
                await holder.release()
                assert not holder.held() and holder.lost.is_set()
                terms.append(await waiting)
                assert other.held() and not other.lost.is_set()
                holder, other = other, holder
                waiting = asyncio.create_task(other.acquire())
            await holder.release()
            terms.append(await waiting)
            await other.release()
            assert terms == sorted(set(terms))
            assert "holderIdentity" not in kubectl.get("lease", NAME)["spec"]

    asyncio.run(story())


def test_a_killed_holder_is_replaced_when_its_lease_has_run_out(kubectl: Kubectl) -> None:
    async def story() -> None:
        async with Api(access_of(kubectl)) as api:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            holder = context.Process(target=hold_until_killed, args=(kubectl.kubeconfig, kubectl.namespace, theirs))
            holder.start()
            try:
                term = await asyncio.to_thread(ours.recv)
                standby = candidate(api, kubectl, "standby")
                waiting = asyncio.create_task(standby.acquire())
                await renewed(api, kubectl)
                assert not waiting.done()
            finally:
                os.kill(holder.pid or 0, signal.SIGKILL)
                holder.join()
            assert await waiting > term
            await standby.release()

    asyncio.run(story())


@pytest.mark.parametrize("cut", ["connections break", "nothing comes through"])
def test_a_holder_that_is_cut_off_stands_back_before_another_takes_over(kubectl: Kubectl, cut: str) -> None:
    async def story() -> None:
        access = access_of(kubectl)
        async with through_a_gate(access) as (detour, gate), Api(access) as direct:
            holder, standby = candidate(detour, kubectl, "holder"), candidate(direct, kubectl, "standby")
            term = await holder.acquire()
            waiting = asyncio.create_task(standby.acquire())
            await renewed(direct, kubectl)
            if cut == "connections break":
                await gate.shut()
            else:
                gate.hold()
            while not waiting.done():
                assert not (holder.held() and standby.held())
                await asyncio.sleep(0.01)
            assert holder.lost.is_set() and not holder.held()
            assert waiting.result() > term
            if cut == "connections break":
                await gate.open()
                back = asyncio.create_task(holder.acquire())
                await standby.release()
                assert await back > waiting.result()
                await holder.release()
            await standby.release()

    asyncio.run(story())


def test_a_lease_that_somebody_annotates_stays_and_one_that_is_deleted_ends_the_term(kubectl: Kubectl) -> None:
    async def story() -> None:
        async with Api(access_of(kubectl)) as api:
            holder = candidate(api, kubectl, "holder")
            term = await holder.acquire()
            await api.patch(LEASES, NAME, kubectl.namespace, {"metadata": {"annotations": {"seen": "yes"}}})
            await renewed(api, kubectl)
            assert holder.held() and holder.term == term
            assert (await api.get(LEASES, NAME, kubectl.namespace))["metadata"]["annotations"] == {"seen": "yes"}
            await api.delete(LEASES, NAME, kubectl.namespace)
            await asyncio.wait_for(holder.lost.wait(), 30)
            assert not holder.held()
            assert await holder.acquire() > term
            await holder.release()

    asyncio.run(story())


async def renewed(api: Api, kubectl: Kubectl) -> None:
    """Returns when the holder has renewed its Lease twice more."""
    seen = set()
    async with asyncio.timeout(30):
        while len(seen) < 3:
            seen.add((await api.get(LEASES, NAME, kubectl.namespace))["spec"]["renewTime"])
            await asyncio.sleep(0.05)


def hold_until_killed(kubeconfig: str, namespace: str, ready: Connection) -> None:
    async def story() -> None:
        async with Api(Access.from_kubeconfig(kubeconfig)) as api:
            holder = Leadership(api, namespace=namespace, name=NAME, identity="victim", duration=5.0, renew=0.5)
            ready.send(await holder.acquire())
            await asyncio.Event().wait()

    asyncio.run(story())
