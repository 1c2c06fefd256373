// One alert: how bad, what, where, when, how it stands, what people and the centre did, and what to do next.
import { CheckOutlined } from "@ant-design/icons";
import { Button, Tag, Tooltip } from "antd";
import type { ReactElement } from "react";

import type { Alert } from "../api";
import { isWaiting } from "../board";
import { siteTime, useText, worded } from "../text/language";
import { useNow } from "./clock";

export interface AlertCardProps { alert: Alert; busy: boolean; onAcknowledge: () => void; onResolve: () => void }
const SEVERITY_COLOURS: Record<string, string> = { urgent: "red", major: "volcano", minor: "gold", info: "blue" };
const DELIVERY_COLOURS: Record<string, string> = { pending: "default", delivered: "green", dead: "red" };

export function AlertCard({ alert, busy, onAcknowledge, onResolve }: AlertCardProps): ReactElement {
  const text = useText();
  const kind = worded(text.kind, alert.kind);
  const waiting = isWaiting(alert);
  const procedure = Object.hasOwn(text.procedure, alert.kind) ? text.procedure[alert.kind] : undefined;
  const classes = ["alert", `alert-${alert.severity}`, waiting ? "alert-waiting" : "", alert.workflow === "resolved" ? "alert-resolved" : ""];
  return (
    <article className={classes.join(" ")} aria-label={`${worded(text.severity, alert.severity)} ${kind} ${alert.place.name}`} data-alert={alert.id}>
      <div className="alert-what">
        <h3>
          <Tag variant="solid" color={SEVERITY_COLOURS[alert.severity] ?? "default"}>{worded(text.severity, alert.severity)}</Tag>
          <span>{kind}</span>
        </h3>
        <p className="alert-where"><strong>{alert.place.name}</strong> <Address alert={alert} /></p>
        <Standing alert={alert} />
        {waiting && procedure !== undefined && <p className="hint"><b>{text.alerts.procedure}</b> {procedure}</p>}
        <Receipts alert={alert} />
      </div>
      {alert.workflow !== "resolved" && (
        <div className="alert-do">
          {waiting && (
            <Button
              type="primary" size="large" icon={<CheckOutlined aria-hidden />} loading={busy} onClick={onAcknowledge}
              aria-label={text.alerts.acknowledgeOf(kind, alert.place.name)}
            >
              {text.alerts.acknowledge}
            </Button>
          )}
          <Button size={waiting ? "middle" : "large"} disabled={busy} onClick={onResolve} aria-label={text.alerts.resolveOf(kind, alert.place.name)}>
            {text.alerts.resolve}
          </Button>
        </div>
      )}
    </article>
  );
}

function Address({ alert: { place } }: { alert: Alert }): ReactElement {
  return <span className="faint">{[place.site_name, place.address].filter((part) => part !== "").join(" · ")}</span>;
}

function At({ at, zone }: { at: string; zone: string | undefined }): ReactElement {
  const now = useNow();
  return <time dateTime={at}>{siteTime(at, { now, zone })}</time>;
}

function Standing({ alert }: { alert: Alert }): ReactElement {
  const text = useText();
  const now = useNow();
  const zone = alert.place.timezone;
  const time = (at: string): string => siteTime(at, { now, zone });
  return (
    <p className="alert-how">
      <span title={text.alerts.raised}><At at={alert.raised_at} zone={zone} /></span>
      <Tag color={alert.condition === "active" ? "red" : "green"}>{worded(text.condition, alert.condition)}</Tag>
      <Tag color={alert.workflow === "new" ? "orange" : alert.workflow === "escalated" ? "magenta" : "default"}>
        {worded(text.workflow, alert.workflow)}
      </Tag>
      {alert.late && <Tooltip title={text.alerts.lateHelp}><Tag color="purple">{text.alerts.late}</Tag></Tooltip>}
      {alert.exercise && <Tooltip title={text.alerts.exerciseHelp}><Tag color="cyan">{text.alerts.exercise}</Tag></Tooltip>}
      {alert.count > 1 && <Tooltip title={text.alerts.countHelp}><Tag>{text.alerts.count(alert.count)}</Tag></Tooltip>}
      {alert.cleared_at !== null && <span className="faint">{text.alerts.clearedAt(time(alert.cleared_at))}</span>}
      {alert.acknowledged_at !== null && (
        <span className="faint">{text.alerts.acknowledgedBy(alert.acknowledged_by ?? "—", time(alert.acknowledged_at))}</span>
      )}
    </p>
  );
}

function Receipts({ alert }: { alert: Alert }): ReactElement | null {
  const text = useText();
  const zone = alert.place.timezone;
  const delivery = worded(text.alerts.delivery, alert.delivery);
  if (alert.receipts.length === 0 && delivery === "") return null;
  return (
    <div className="alert-centre">
      {delivery !== "" && <Tag color={DELIVERY_COLOURS[alert.delivery] ?? "default"}>{delivery}</Tag>}
      {alert.receipts.length > 0 && (
        <ol aria-label={text.alerts.receipts}>
          {alert.receipts.map((receipt) => (
            <li key={`${receipt.state} ${receipt.at}`}>
              {worded(text.receipt, receipt.state)} <At at={receipt.at} zone={zone} />{" "}
              <span className="faint">{[receipt.reference, receipt.note].filter(Boolean).join(" · ")}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}
