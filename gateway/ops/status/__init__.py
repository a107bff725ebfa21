"""The status page: what the gateway does and why, in one look, for people and as JSON.

`collect` makes a frozen `Snapshot` of the sources; `diagnose` says in words what is wrong with it; `render`
and `as_json` show both.
"""
