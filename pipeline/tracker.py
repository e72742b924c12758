"""The tracker for users of the whole package: `from pipeline.tracker import TokenTracker`.

Belongs here: these names. Does not belong here: any code; the tracker is a separate package (tracker/).
"""

from token_analytics_tracker import TokenTracker as TokenTracker
from token_analytics_tracker.sinks import FolderSink as FolderSink
from token_analytics_tracker.sinks import RedisSink as RedisSink
