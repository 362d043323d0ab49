"""The errors a user can meet. Each says what is wrong and what to do, and carries its exit code."""


class GovernanceError(Exception):
    """Base of every error that is explained to the user in one line.

    Attributes:
        exit_code: what the command line returns for it (documented in ``governance --help``).
    """

    exit_code = 1


class InvalidInputError(GovernanceError):
    """Something the user typed or supplied cannot be used as it is."""

    exit_code = 2


class RefusedError(GovernanceError):
    """The workflow forbids the step: illegal transition, four eyes, a missing role, a failed gate.

    Attributes:
        cause: one word or two for those who count refusals.
    """

    exit_code = 3
    cause = "workflow"


class GateError(RefusedError):
    """A figure fails a gate of the policy."""

    cause = "gate"


class FourEyesError(RefusedError):
    """Somebody would decide on what they did themselves."""

    cause = "four eyes"


class NotFoundError(GovernanceError):
    """A workspace, record, file or directory that was named does not exist."""

    exit_code = 4


class ConflictError(GovernanceError):
    """Somebody else changed the same thing in the meantime."""

    exit_code = 5


class IntegrityError(GovernanceError):
    """A digest does not match, or the record contradicts itself."""

    exit_code = 6


class UnavailableError(GovernanceError):
    """An outside system (database, MLflow, a weights download) cannot be used now."""

    exit_code = 7
