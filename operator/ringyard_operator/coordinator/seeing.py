"""What the plan gets to see of the group: members, progress, hangs, and why it waits, as plain `GroupSeen`.

Called by `job.Coordinator.seen`. It reads the group and changes nothing. Times become Unix seconds here.
"""

from __future__ import annotations

from ringyard_api.protos import coordinator_pb2 as pb

from ringyard_operator.coordinator.group import Group
from ringyard_operator.observed import GroupSeen, HangSeen, MemberSeen
from ringyard_operator.orders import Report
from ringyard_operator.views import Attendee

AGENT_SILENT_SECONDS = 10.0  # at the least, before a worker whose agent is silent is given up


def group_seen(group: Group, now: float) -> GroupSeen:
    """The group as of now."""
    if group.script:
        return _script_seen(group, now)
    membership, view = group.membership, group.membership.view
    in_view = {m.key for m in view.members} if view is not None else set()
    to_wall = group.wall() - now
    members = [_member(a, a.key in in_view, to_wall) for a in membership.attendees.values()]
    last = group.last_progress or pb.Progress()
    return GroupSeen(
        term=group.term,
        epoch=view.number if view is not None else 0,
        members=tuple(sorted(members, key=lambda m: (m.index, m.process))),
        view_size=len(in_view),
        waiting_reason=membership.waiting if view is None else "",
        phase=pb.Progress.Phase.Name(last.phase) if view is not None else "WAITING",
        step=last.step,
        total_steps=last.total_steps,
        data_epoch=last.epoch,
        loss=last.loss if last.step > 0 else None,
        samples_per_second=last.samples_per_second or None,
        best_metric=last.best_metric or None,
        note=group.note,
        view_changes=membership.view_changes,
        first_step_at=group.first_step_at,
        below_minimum_since=group.below_since,
        hangs=_hangs(group, now),
        view_reason=view.reason if view is not None else "",
        lost_members=membership.lost_members,
        finishing=group.agents.finishing,
    )


def _member(attendee: Attendee, in_view: bool, to_wall: float) -> MemberSeen:
    arrival = attendee.arrival
    return MemberSeen(
        index=arrival.worker,
        process=arrival.process,
        uid=arrival.incarnation,
        process_attempt=arrival.process_attempt,
        phase=attendee.phase,
        step=attendee.step,
        address=arrival.address,
        in_view=in_view,
        entered_op=attendee.entered_op,
        progress_at=attendee.progress_at + to_wall,
        metrics_address=arrival.metrics_address,
    )


def _hangs(group: Group, now: float) -> tuple[HangSeen, ...]:
    """Who was blamed, who is frozen while its agent says that it runs, and whose agent is silent with it."""
    found: dict[tuple[str, int], HangSeen] = {}
    stall = group.membership.wanted.stall_seconds
    attending = {a.arrival.incarnation for a in group.membership.attendees.values()}
    for uid, report in group.agents.reports.items():
        blamed = group.membership.hangs.get(report.process)
        gone = group.membership.gone.get(report.process)
        sentence = ""
        silent = uid not in attending and now - group.agents.heard_at[uid] >= max(stall, AGENT_SILENT_SECONDS)
        if silent:
            heard = now - group.agents.heard_at[uid]
            sentence = f"worker {report.index} and its agent have not been heard of for {heard:.0f} s"
        elif report.running and blamed is not None:
            sentence = blamed.reason
        elif report.running and gone is not None and now - gone[1] >= stall:
            sentence = f"worker {report.index} has been frozen for {now - gone[1]:.0f} s"
        if sentence and not group.agents.fenced(report):
            found[report.process] = HangSeen(
                uid=uid,
                index=report.index,
                process_attempt=report.process_attempt,
                reason=sentence,
                agent_silent=silent,
            )
    return tuple(sorted(found.values(), key=lambda h: (h.index, h.uid)))


def _script_seen(group: Group, now: float) -> GroupSeen:
    gang = group.scripts.gang
    members = [_script_member(group, report, now) for report in group.agents.reports.values()]
    present = sorted((m for m in members if m is not None), key=lambda m: m.index)
    too_few = group.scripts.too_few_since
    return GroupSeen(
        term=group.term,
        epoch=gang.number if gang is not None else 0,
        members=tuple(present),
        view_size=len(gang.members) if gang is not None else 0,
        waiting_reason=group.scripts.waiting,
        phase="TRAINING" if present else "WAITING",
        view_changes=group.scripts.changes,
        below_minimum_since=too_few + group.wall() - now if too_few is not None else None,
        hangs=tuple(h for h in _hangs(group, now) if h.agent_silent),
        finishing=group.agents.finishing,
    )


def _script_member(group: Group, report: Report, now: float) -> MemberSeen | None:
    """A process of the gang that runs, that has ended well, or that its agent is starting right now."""
    gang = group.scripts.gang
    member = gang.members.get(report.index) if gang is not None else None
    if member is None or member[0] != report.uid:
        return None
    started = report.process == member and not report.is_new
    if started and not report.running and report.exit_code != 0:
        return None
    if not started and group.agents.remaining_delay(report, now) > 0:
        return None
    running = "TRAINING" if report.running else "FINISHED"
    return MemberSeen(
        index=report.index,
        process=0,
        uid=report.uid,
        process_attempt=member[1],
        phase=running if started else "LOADING",
        step=0,
        address="",
        in_view=True,
        entered_op=0,
        progress_at=group.wall(),
    )
