"""The status page: what the gateway does, what is wrong and why, for people and as JSON.

`gateway.observing` takes a frozen `Snapshot`, `diagnose` finds what is wrong in it, `render` and `as_json`
show both.
"""
