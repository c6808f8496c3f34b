"""Every word that conditions and Events may say: stable, for programs. docs/reference/operator.md explains each."""

from __future__ import annotations

import enum


class ConditionType(enum.StrEnum):
    """Conditions of both kinds, in the order in which they are written."""

    READY = "Ready"
    POLICY_PUBLISHED = "PolicyPublished"
    COMPONENTS_READY = "ComponentsReady"
    HALTED = "Halted"


class Reason(enum.StrEnum):
    """Why a condition is what it is."""

    # Ready.
    RUNNING = "Running"
    STARTING = "Starting"
    STOP_UNREACHABLE = "StopUnreachable"
    EXECUTION_UNREACHABLE = "ExecutionUnreachable"
    LEASE_EXPIRED = "LeaseExpired"
    POLICY_NOT_CONFIRMED = "PolicyNotConfirmed"
    # Whether policy and stop belong together.
    NO_EMERGENCY_STOP = "NoEmergencyStop"
    SEVERAL_EMERGENCY_STOPS = "SeveralEmergencyStops"
    POLICY_NOT_FOUND = "PolicyNotFound"
    # PolicyPublished.
    PUBLISHED = "Published"
    ON_HOLD = "OnHold"
    INVALID = "Invalid"
    REFUSED = "Refused"
    STORE_UNAVAILABLE = "StoreUnavailable"
    BACKUP_UNAVAILABLE = "BackupUnavailable"
    NOT_PUBLISHED = "NotPublished"
    # ComponentsReady.
    ALL_READY = "AllReady"
    PROGRESSING = "Progressing"
    NOT_READY = "NotReady"
    IMAGE_NOT_PULLED = "ImageNotPulled"
    CRASH_LOOP = "CrashLoop"
    OUT_OF_MEMORY = "OutOfMemory"
    CONFIG_MISSING = "ConfigMissing"
    CLAIM_PENDING = "ClaimPending"
    UNSCHEDULABLE = "Unschedulable"
    PODS_REFUSED = "PodsRefused"
    APPLY_FAILED = "ApplyFailed"
    # Halted.
    ARMED = "Armed"
    DISABLED = "Disabled"
    TRIPPED = "Tripped"
    COOLING_DOWN = "CoolingDown"
    HALTED_BY_PERSON = "HaltedByPerson"
    UNKNOWN = "Unknown"


class EventReason(enum.StrEnum):
    """Reasons of the Events on the two resources. Normal unless `WARNINGS` has it."""

    READY = "Ready"
    NOT_READY = "NotReady"
    POLICY_PUBLISHED = "PolicyPublished"
    POLICY_NOT_PUBLISHED = "PolicyNotPublished"
    COMPONENTS_READY = "ComponentsReady"
    COMPONENTS_NOT_READY = "ComponentsNotReady"
    GATE_OPEN = "GateOpen"
    GATE_REDUCE_ONLY = "GateReduceOnly"
    STOP_ARMED = "StopArmed"
    STOP_DISABLED = "StopDisabled"
    STOP_TRIPPED = "StopTripped"
    STOP_COOLING_DOWN = "StopCoolingDown"
    STOP_REARMED = "StopRearmed"
    REQUEST_ACCEPTED = "RequestAccepted"
    REQUEST_REFUSED = "RequestRefused"
    CHILD_RESTORED = "ChildRestored"
    CHILD_DELETED = "ChildDeleted"


WARNINGS = frozenset(
    {
        EventReason.NOT_READY,
        EventReason.POLICY_NOT_PUBLISHED,
        EventReason.COMPONENTS_NOT_READY,
        EventReason.GATE_REDUCE_ONLY,
        EventReason.STOP_DISABLED,
        EventReason.STOP_TRIPPED,
        EventReason.REQUEST_REFUSED,
        EventReason.CHILD_RESTORED,
    }
)
