-- What the invoice charges beside the booked spend: the residuals of the period's tie-out.
SELECT
    tieout.provider AS provider,
    residual.connection AS connection,
    residual.residual AS residual,
    residual.day AS day,
    residual.model AS model,
    residual.token_class AS class,
    residual.project AS project,
    residual.workspace AS workspace,
    residual.cause AS cause,
    sum(residual.amount_usd) AS amount,
    if(countIf(residual.quantity IS NULL) = 0, sum(residual.quantity), NULL) AS quantity
FROM spanledger.tieout_residuals AS residual
INNER JOIN spanledger.tieouts AS tieout
    ON tieout.org_id = residual.org_id AND tieout.connection = residual.connection AND tieout.period = residual.period
WHERE residual.org_id = {org:String} AND residual.period = {period:String}
GROUP BY provider, connection, residual, day, model, class, project, workspace, cause
HAVING amount != 0
ORDER BY ALL
