"""Publication: the flows of the commit that was looked at, with their schedules, on the server that lasts."""

from ridgeway.actions.build import Building


def publish_flows(*, job: Building) -> str:
    """What was published, in a sentence.

    Raises:
        UsageError: A flow does not import; what was published before is untouched.
    """
    return job.publish()
