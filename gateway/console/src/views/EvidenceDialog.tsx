// What was counted of false matches at a site, what radius that carries for how many people, and counting anew.
import { Button, Empty, Select, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useId, useMemo, useState } from "react";

import type { Gateway } from "../api";
import type { Calibration, Counted } from "../office";
import { calibrations, counts, orderCount } from "../office";
import { siteTime, useText, worded } from "../text/language";
import { useNow } from "./clock";
import { Frame, page, useActing, Why } from "./Dialog";
import { Mark } from "./Mark";
import type { DialogProps } from "./Office";

const WIDTH_PX = 860;
const DIGITS = 2;
const ASK_MS = 500;
const WAITING = "waiting";

export function EvidenceDialog({ gateway, doors, onExpired, onClose }: DialogProps): ReactElement {
  const text = useText().faces.evidence;
  const { busy, failure, act } = useActing(onExpired, text.reason);
  const sites = useMemo(() => [...new Set([...doors.values()].map((door) => door.site_id))].sort(), [doors]);
  const siteId = useId();
  const [chosen, setChosen] = useState(sites[0] ?? "");
  const [why, setWhy] = useState("");
  const [held, setHeld] = useState<Calibration[] | null>(null);
  const [counted, setCounted] = useState<Counted[]>([]);
  const load = useCallback(() => act(async () => { if (chosen !== "") setHeld(await calibrations(gateway, chosen)); }), [act, chosen, gateway]);
  useEffect(() => { void load(); }, [load]);
  const count = (): void => {
    void act(async () => {
      await countAll(gateway, chosen, { why, onNews: setCounted });
      setHeld(await calibrations(gateway, chosen));
    });
  };
  const counting = <Button key="count" type="primary" loading={busy} disabled={chosen === ""} onClick={count}>{busy ? text.counting : text.count}</Button>;
  return (
    <Frame title={text.title} width={WIDTH_PX} onClose={onClose} failure={failure} footer={counting}>
      <p className="hint">{text.help}</p>
      <Why value={why} onChange={setWhy} />
      {sites.length > 1 && (
        <p className="at-door">
          <label htmlFor={siteId}>{text.site}</label>
          <Select id={siteId} value={chosen} getPopupContainer={page} options={sites.map((value) => ({ value, label: value }))} onChange={(site) => { setHeld(null); setChosen(site); }} />
        </p>
      )}
      <ul aria-live="polite">{counted.map((each) => <li key={each.edge_id}><Outcome counted={each} /></li>)}</ul>
      {held === null && failure === null && <Skeleton active />}
      {held?.length === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.none} />}
      {held !== null && held.length > 0 && <List held={held} />}
    </Frame>
  );
}

/** Order a count of every edge and follow it until each has answered; the gateway ends the wait for one that does not. */
async function countAll(gateway: Gateway, siteId: string, { why, onNews }: { why: string; onNews: (counted: Counted[]) => void }): Promise<void> {
  let counted = await orderCount(gateway, siteId, why);
  onNews(counted);
  while (counted.some((each) => each.state === WAITING)) {
    await new Promise((resolve) => { setTimeout(resolve, ASK_MS); });
    counted = await counts(gateway, siteId);
    onNews(counted);
  }
}

function Outcome({ counted: { edge_id, state, reason, detail } }: { counted: Counted }): ReactElement {
  const text = useText().faces.evidence;
  if (state === WAITING) return <Mark tone="note" word={text.countingAt(edge_id)} />;
  if (state === "confirmed") return <Mark tone="good" word={text.done(edge_id)} />;
  const why = reason !== null && Object.hasOwn(text.reason, reason) ? worded(text.reason, reason) : detail !== "" ? detail : reason ?? state;
  return <Mark tone="warn" word={text.failedAt(edge_id, why)} />;
}

function List({ held }: { held: Calibration[] }): ReactElement {
  const text = useText().faces.evidence;
  const now = useNow();
  const newest = useMemo(() => [...held].sort((one, other) => Number(other.in_force) - Number(one.in_force) || Date.parse(other.at) - Date.parse(one.at)), [held]);
  return (
    <div className="wide" role="region" tabIndex={0} aria-label={text.title}>
      <table className="evidence">
        <thead>
          <tr><th scope="col">{text.at}</th><th scope="col">{text.source}</th><th scope="col" className="number">{text.persons}</th><th scope="col" className="number">{text.pairs}</th><th scope="col">{text.carries}</th></tr>
        </thead>
        <tbody>
          {newest.map((each) => (
            <tr key={each.id} data-calibration={each.id}>
              <td><time dateTime={each.at}>{siteTime(each.at, { now })}</time> <Mark tone={each.in_force ? "good" : "calm"} word={each.in_force ? text.inForce : text.older} /></td>
              <td>{worded(text.sources, each.source)} <small className="faint">{each.edge_id}</small></td>
              <td className="number">{text.number(each.persons)}</td>
              <td className="number">{text.number(each.pairs)}</td>
              <td><ul>{each.carries.map((one) => <li key={one.people}>{one.radius > 0 ? text.carried(one.people, one.radius.toFixed(DIGITS)) : text.notCarried(one.people, one.needed_pairs)}</li>)}</ul></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
