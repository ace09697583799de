"""Commands on their way: from a signed envelope to what became of it."""

from govraft.node.submissions.answers import Done
from govraft.node.submissions.submissions import SUBMISSION_CHANNEL, Submissions

__all__ = ["SUBMISSION_CHANNEL", "Done", "Submissions"]
