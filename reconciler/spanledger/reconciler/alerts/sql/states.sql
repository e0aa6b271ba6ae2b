SELECT org_id, kind, subject, state, severity, title, text, value, threshold, changed_at, undelivered, version
FROM spanledger.alert_versions FINAL
ORDER BY org_id, kind, subject
