"""What became of answers: facts of connections, gathered from headers and from the findings of answers.

`tracker` is the one entrance. It decides nothing: `inspector.judge.outcome` and `inspector.judge.cause` do, from the
facts. Every table is bounded, whatever is sent.
"""
