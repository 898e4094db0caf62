"""A job's metrics as pure functions of the job and the time, one theme a file. docs/metrics.md lists what they give.

What has no source is absent, never 0. Labels are bounded: no pod, node, device or step, and no text that a user writes but the
team's name, and the stages and gates of a compression, of which a spec may have eight and sixteen.
"""
