// One alert: how bad, what, where, when, how it stands, what people and the centre did, and what to do next.
import { CheckOutlined } from "@ant-design/icons";
import { Button } from "antd";
import type { ReactElement, RefObject } from "react";
import { memo, useEffect, useRef } from "react";

import type { Alert } from "../api";
import { isWaiting } from "../board";
import { rings } from "../sound";
import { siteTime, useText, worded } from "../text/language";
import type { Actions } from "./actions";
import { CallDesk } from "./CallDesk";
import { useNow } from "./clock";
import type { Tone } from "./Mark";
import { Mark } from "./Mark";

export interface AlertCardProps {
  alert: Alert; calling: boolean; mayAct: boolean; busy: boolean; onAcknowledge: (alert: Alert) => unknown; onResolve: (alert: Alert) => void;
  /** Absent for who may not open doors. */
  onAnswer?: Actions["answer"] | undefined;
}
const SEVERITY_TONES: Record<string, Tone> = { urgent: "danger", major: "warn", minor: "caution", info: "note" };
const WORKFLOW_TONES: Record<string, Tone> = { new: "warn", escalated: "danger" };
const DELIVERY_TONES: Record<string, Tone> = { delivered: "good", dead: "danger" };

/** Drawn again only when its alert changes: in a storm the others stay as they are. */
export const AlertCard = memo(function AlertCard({ alert, calling, mayAct, busy, onAcknowledge, onResolve, onAnswer }: AlertCardProps): ReactElement {
  const text = useText();
  const kind = worded(text.kind, alert.kind);
  const waiting = isWaiting(alert);
  const [next, keepFocus] = useKeptFocus(waiting, calling);
  const answer: Actions["answer"] = (...given) => { keepFocus(); return onAnswer?.(...given) ?? Promise.resolve(false); };
  const procedure = Object.hasOwn(text.procedure, alert.kind) ? text.procedure[alert.kind] : undefined;
  const classes = ["alert", `alert-${alert.severity}`, rings(alert, calling) ? "alert-loud" : "", alert.workflow === "resolved" ? "alert-resolved" : ""];
  return (
    <article className={classes.join(" ")} aria-label={`${worded(text.severity, alert.severity)} ${kind} ${alert.place.name}`} data-alert={alert.id}>
      <div className="alert-what">
        <h3>
          <Mark loud tone={SEVERITY_TONES[alert.severity] ?? "calm"} word={worded(text.severity, alert.severity)} />
          <span>{kind}</span>
        </h3>
        <p className="alert-where"><strong>{alert.place.name}</strong> <Address alert={alert} /></p>
        <Standing alert={alert} calling={calling} />
        {waiting && procedure !== undefined && (alert.kind !== "door_call" || calling) && <p className="hint"><b>{text.alerts.procedure}</b> {procedure}</p>}
        {onAnswer !== undefined && calling && <CallDesk alert={alert} busy={busy} onAnswer={answer} />}
        <Receipts alert={alert} />
      </div>
      {mayAct && alert.workflow !== "resolved" && (
        <div className="alert-do">
          {waiting && (
            <Button
              type={calling ? "default" : "primary"} size="large" icon={<CheckOutlined aria-hidden />} loading={busy} onClick={() => { keepFocus(); onAcknowledge(alert); }}
              aria-label={text.alerts.acknowledgeOf(kind, alert.place.name)}
            >
              {text.alerts.acknowledge}
            </Button>
          )}
          <Button ref={next} size={waiting ? "middle" : "large"} disabled={busy} onClick={() => { onResolve(alert); }} aria-label={text.alerts.resolveOf(kind, alert.place.name)}>
            {text.alerts.resolve}
          </Button>
        </div>
      )}
    </article>
  );
});

/** The button that was pressed goes away: leave the keyboard on the next one of its alert, without scrolling there. */
function useKeptFocus(waiting: boolean, calling: boolean): [RefObject<HTMLButtonElement | null>, () => void] {
  const ref = useRef<HTMLButtonElement>(null);
  const pressed = useRef(false);
  useEffect(() => {
    if (!pressed.current) return;
    const kept = document.activeElement !== document.body; // an answered call may stay, with its buttons, until the edge has ended it
    if (!kept) ref.current?.focus({ preventScroll: true });
    pressed.current = kept && (waiting || calling);
  }, [waiting, calling]);
  return [ref, () => { pressed.current = true; }];
}

function Address({ alert: { place } }: { alert: Alert }): ReactElement {
  return <span className="faint">{[place.site_name, place.address].filter((part) => part !== "").join(" · ")}</span>;
}

function At({ at, zone }: { at: string; zone: string | undefined }): ReactElement {
  const now = useNow();
  return <time dateTime={at}>{siteTime(at, { now, zone })}</time>;
}

function Standing({ alert, calling }: { alert: Alert; calling: boolean }): ReactElement {
  const text = useText();
  const now = useNow();
  const zone = alert.place.timezone;
  const time = (at: string): string => siteTime(at, { now, zone });
  const { since, answeredBy, endedAt } = text.atDoors.call;
  const call = alert.kind === "door_call";
  const by = call ? answeredBy : text.alerts.acknowledgedBy;
  return (
    <p className="alert-how">
      {calling ? <strong>{since(time(alert.raised_at))}</strong> : <span title={text.alerts.raised}><At at={alert.raised_at} zone={zone} /></span>}
      <Mark tone={alert.condition === "active" ? "danger" : "good"} word={worded(text.condition, alert.condition)} />
      <Mark tone={WORKFLOW_TONES[alert.workflow] ?? "calm"} word={worded(text.workflow, alert.workflow)} />
      {alert.late && <Mark loud tone="note" word={text.alerts.late} title={text.alerts.lateHelp} />}
      {alert.exercise && <Mark loud tone="note" word={text.alerts.exercise} title={text.alerts.exerciseHelp} />}
      {alert.count > 1 && <Mark tone="calm" word={text.alerts.count(alert.count)} title={text.alerts.countHelp} />}
      {alert.cleared_at !== null && <span className="faint">{(call ? endedAt : text.alerts.clearedAt)(time(alert.cleared_at))}</span>}
      {alert.acknowledged_at !== null && (
        <span className="faint">{by(alert.acknowledged_by ?? "—", time(alert.acknowledged_at))}</span>
      )}
      {alert.disposition != null && (
        <span className="faint">{text.alerts.resolvedAs(worded(text.disposition, alert.disposition), alert.resolved_by ?? "—", time(alert.resolved_at ?? alert.raised_at))}</span>
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
      {delivery !== "" && <Mark tone={DELIVERY_TONES[alert.delivery] ?? "calm"} word={delivery} />}
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
