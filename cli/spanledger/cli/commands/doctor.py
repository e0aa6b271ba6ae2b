"""``spanledger doctor``: what is wrong here, and how to mend it."""

from __future__ import annotations

from spanledger.cli import options, output


def doctor(
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Check packages, ports, disk, store, clock, prices, SDK versions and double instrumentation.

    Every finding says how to mend it. Exit code 1 when something does not work.
    """
    from spanledger.cli.doctor import Level, Place, examine

    findings = examine(Place(data, clickhouse))
    if as_json:
        output.print_json(
            [{"level": each.level, "subject": each.subject, "what": each.what, "mend": each.mend} for each in findings]
        )
    else:
        marks = {Level.ok: "ok  ", Level.warn: "warn", Level.fail: "FAIL"}
        for each in findings:
            output.say(f"{marks[each.level]}  {each.subject:<12} {each.what}")
            if each.mend:
                output.say(f"{'':>19}→ {each.mend}")
    return 1 if any(each.level is Level.fail for each in findings) else 0
